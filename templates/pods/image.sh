# Whether an image has what a pod's scripts call; it is tried in a pod of its own before anything is changed.
missing=''
for program in "$PROGRAM" base64 cat cut dirname grep head id mktemp mkfifo mv rm sha256sum sleep stat sync tail timeout; do
    command -v "$program" >/dev/null || missing="$missing $program"
done
[ "${BASH_VERSINFO[0]}${BASH_VERSINFO[1]}" -ge 44 ] || missing="$missing bash-4.4"
[ -z "$missing" ] || echo "it lacks$missing"
[ -z "$missing" ]
