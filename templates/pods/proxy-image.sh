# Whether an image has what a proxy's script calls; it is tried in a pod of its own before anything is changed.
missing=''
for program in haproxy cat od sleep tr wc; do
    command -v "$program" >/dev/null || missing="$missing $program"
done
if [ -n "${TLS-}" ]; then
    case $(haproxy -vv 2>&1) in
    *+OPENSSL*) ;;
    *) missing="$missing TLS in haproxy" ;;
    esac
fi
[ -z "$missing" ] || echo "it lacks$missing"
[ -z "$missing" ]
