# Whether an image has what a pod's scripts call; it is tried in a pod of its own before anything is changed.
missing=''
for program in "$PROGRAM" base64 cat cut dirname grep head id mktemp mkfifo mv rm sha256sum sleep stat sync tail timeout; do
    command -v "$program" >/dev/null || missing="$missing $program"
done
[ "${BASH_VERSINFO[0]}${BASH_VERSINFO[1]}" -ge 44 ] || missing="$missing bash-4.4"
if [ -n "${TLS-}" ]; then
    command -v openssl >/dev/null || missing="$missing openssl"
    # One that has TLS asks for a certificate then.
    case $(timeout 10 "$PROGRAM" --port 0 --tls-port 1 2>&1) in
    *tls-cert-file*) ;;
    *) missing="$missing TLS in $PROGRAM" ;;
    esac
fi
[ -z "$missing" ] || echo "it lacks$missing"
[ -z "$missing" ]
