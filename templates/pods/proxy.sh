#!/bin/sh
# What the container of a proxy runs: HAProxy, with what its checks send where install left a mark for it.
#
#   proxy         the password of the check comes from the Secret, and stands in the pod's memory only
#   proxy stop    before it ends: new connections go to others, and those that are open have 30 s
#
# The environment has CONFIG and PID_FILE, paths, and CHECK_USER.
set -eu
umask 077

if [ "${1-}" = stop ]; then
    # Until every machine leads new connections elsewhere.
    sleep 3
    kill -USR1 1
    # It takes as long as clients stay, and ends this as well.
    sleep 60
fi

# One word as the servers' protocol writes it; its length is in bytes.
word() {
    length=$(printf %s "$1" | wc -c)
    printf '$%d\r\n%s\r\n' "$length" "$1"
}

password=$(cat /etc/keydb-secrets/check) || {
    echo "proxy: the Secret has no key check: docs/kubernetes.md tells what it needs" >&2
    exit 1
}
sent=$(
    {
        printf '*3\r\n'
        word AUTH
        word "$CHECK_USER"
        word "$password"
        printf '*2\r\n'
        word INFO
        word replication
        printf '*1\r\n'
        word QUIT
    } | od -An -v -tx1 | tr -d ' \n'
)
while IFS= read -r line; do
    case $line in
    *@check@*) line=${line%%@check@*}$sent${line#*@check@} ;;
    esac
    printf '%s\n' "$line"
done </etc/keydb-runbooks/haproxy.cfg >"$CONFIG"
echo $$ >"$PID_FILE"
exec haproxy -db -f "$CONFIG"
