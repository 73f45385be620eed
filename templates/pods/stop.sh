#!/usr/bin/env bash
# What kubelet runs before it ends a pod: a primary holds writes back until its replicas have all that it has.
# No role moves by it. A replica is ended at once. Whatever goes wrong here keeps no pod alive.
set -uf
export LC_ALL=C
WAIT=20

fields=''

tell() { printf 'stop: %s\n' "$*" >/proc/1/fd/2 2>/dev/null; }

# Each command, then its answer into "fields" if it has one.
ask() {
    local line length
    printf '%s\r\n' "$1" >&4
    read -r -t 2 line <&3 || return 1
    line=${line%$'\r'}
    [[ $line == -* ]] && tell "refused: ${line//[^[:print:]]/?}" && return 1
    [[ $line == \$[0-9]* ]] || return 0
    length=${line#\$}
    read -r -t 2 -N $((length + 2)) fields <&3
}

# Whether a replica in sync lacks something of what was written until now.
lacks() {
    local line offset=$1 has
    while read -r line; do
        [[ $line == slave[0-9]*:*state=online* ]] || continue
        has=${line##*offset=}
        has=${has%%,*}
        ((has < offset)) && return 0
    done <<<"$fields"
    return 1
}

config=$(</etc/keydb-runbooks/config-path)
. /etc/keydb-runbooks/connect || exit 0
ask "$(<"${config%/*}/operator.auth")" && ask "INFO replication" || exit 0
[[ $fields == *$'\r\nrole:master\r\n'* ]] || exit 0
# It ends with the process, and by itself if that is not ended.
ask "CLIENT PAUSE 60000 WRITE" && ask "INFO replication" || exit 0
offset=${fields##*master_repl_offset:}
offset=${offset%%[!0-9]*}
until ! lacks "$offset"; do
    ((SECONDS < WAIT)) || { tell "a replica still lacks writes after $WAIT s" && exit 0; }
    sleep 0.05
    ask "INFO replication" || exit 0
done
tell "writes are held back, and every replica in sync has all until offset $offset"
