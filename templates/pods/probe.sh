#!/usr/bin/env bash
# What kubelet asks of a server.
#
#   probe alive   whether it answers at all: one that loads, is busy or has no primary does
#   probe ready   whether its data are those of the primary: it is one, or follows one that it is in sync with
set -uf
export LC_ALL=C
PATIENCE=4

answer=''

# One answer into "answer": a line, or the text behind a line with its length.
hear() {
    read -r -t "$PATIENCE" answer <&3 || exit 1
    answer=${answer%$'\r'}
    [[ $answer == \$[0-9]* ]] || return 0
    local length=${answer#\$}
    read -r -t "$PATIENCE" -N $((length + 2)) answer <&3 || exit 1
}

. /etc/keydb-runbooks/connect || exit 1
case ${1-} in
alive)
    printf 'PING\r\n' >&4
    hear
    [[ $answer == [+-]* ]]
    ;;
ready)
    config=$(</etc/keydb-runbooks/config-path)
    printf '%s\r\nINFO replication\r\nINFO persistence\r\n' "$(<"${config%/*}/monitoring.auth")" >&4
    hear
    [[ $answer == +OK ]] || { echo "the monitoring user is refused: ${answer//[^[:print:]]/?}" && exit 1; }
    hear
    replication=$answer
    hear
    [[ $answer == *$'\r\nloading:0\r\n'* ]] || { echo "loads its data" && exit 1; }
    [[ $replication == *$'\r\nrole:master\r\n'* ]] && exit 0
    [[ $replication == *$'\r\nmaster_link_status:up\r\n'* ]] || { echo "not in sync with a primary" && exit 1; }
    [[ $replication == *$'\r\nmaster_sync_in_progress:0\r\n'* ]] || { echo "gets a full resync" && exit 1; }
    ;;
*)
    echo "say alive or ready" >&2
    exit 2
    ;;
esac
