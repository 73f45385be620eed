#!/usr/bin/env bash
# What the container of a pod runs: the server, started by its boot guard, and beside it what decides on its role.
#
# The server's file lies on the volume and stays there: it is made once, out of what install gave, and from then on the
# server writes its role into it. Passwords come from the Secret. Nothing here asks the API server.
#
# The environment has POD, the pod's name, POD_UID, and PROGRAM, the server's; docs/kubernetes.md has the rest.
set -uf
export LC_ALL=C
umask 077

GIVEN=/etc/keydb-runbooks
SECRETS=/etc/keydb-secrets
TLS=/etc/keydb-tls

fail() {
    printf 'start: %s\n' "$*" >&2
    exit 1
}

# As the servers read it back, whatever bytes it has.
quoted() {
    local rest=$1 out='' byte
    while [[ $rest ]]; do
        if [[ ${rest:0:1} == [A-Za-z0-9] ]]; then
            out+=${rest:0:1}
        else
            printf -v byte '%d' "'${rest:0:1}"
            printf -v byte '\\x%02x' $((byte & 255))
            out+=$byte
        fi
        rest=${rest:1}
    done
    printf '"%s"' "$out"
}

# Puts a user's password, and its SHA-256, where install left their names.
with_passwords() {
    local text role password digest
    text=$(<"$1")
    for role in application replication operator monitoring check; do
        [[ -r $SECRETS/$role ]] || fail "the Secret has no key $role: docs/kubernetes.md tells what it needs"
        password=$(<"$SECRETS/$role")
        digest=$(printf %s "$password" | sha256sum)
        text=${text//"@sha256-$role@"/"${digest%% *}"}
        text=${text//"@password-$role@"/"$(quoted "$password")"}
    done
    printf '%s\n' "$text"
}

# Whether a file lets the server speak TLS.
encrypts() { grep -q '^tls-port [1-9]' "$1"; }

# A group that was taken away and made again may speak otherwise than it did: the file is as it was but for that.
speak_as_given() {
    local directives='^(port|tls-[a-z-]+)[[:space:]]' given=$GIVEN/$POD.conf made
    [[ -r $given ]] || return 0
    if encrypts "$given"; then encrypts "$config" && return; else encrypts "$config" || return 0; fi
    made=$(grep -vE "$directives" "$config" && grep -E "$directives" "$given") || fail "$config can't be read"
    printf '%s\n' "$made" | put "$config"
}

# What the server starts with; install compares it with the Secret (renew.sh).
take_certificate() {
    local file digest
    for file in ca.crt tls.crt tls.key; do
        [[ -r $TLS/$file ]] || fail "the certificate's Secret has no key $file: docs/kubernetes.md tells what it needs"
    done
    digest=$(cat "$TLS/ca.crt" "$TLS/tls.crt" | sha256sum)
    printf '%s\n' "${digest%% *}" | put "$directory/certificate.sha256"
    export KEYDB_GUARD_TLS_CA=$TLS/ca.crt
}

# Either the old file or the whole new one.
put() { cat >"$1.new" && sync "$1.new" && mv "$1.new" "$1" || fail "$1 can't be written: see the volume"; }

# A lock on the volume, which the kernel lets go with the last process of the pod that has it. `mark` names it: the
# kernel, as it runs since it was booted, and the file as that knows it; "" if it can't be had, and nothing is known then.
# Who was deleted by force has to end first, where the kubelet is there for that.
hold() {
    local boot='' tries
    mark=''
    : >>"$directory/held" && exec {held}>>"$directory/held" || return 0
    read -r boot </proc/sys/kernel/random/boot_id && mark=$(stat -Lc "$boot/%d:%i" "$directory/held") || mark=''
    for ((tries = 50; tries; tries--)); do
        flock -n "$held" && return
        [[ $mark && $mark == "$1" ]] || break
        sleep 0.1
    done
    mark=''
}

# Each pod leaves on the volume that its server runs, and that it has ended; the next one keeps what it found: its own
# uid, that word, whose it is, and what that one had found. `known` is said of a pod that is the last one in doubt: it had
# a role, or found that those before it have ended. It has ended as well if this pod has the lock that it held. Whoever
# ends without a word, on a machine that is cut off for instance, may run on: failover asks for that (runbooks/anew.py).
greet() {
    local uid='' state='' its='' before='' found='' own=runs
    [[ ! -r $directory/running ]] || read -r uid state its <"$directory/running"
    hold "$its"
    if [[ $uid != "$POD_UID" ]]; then
        [[ ! -r $directory/forerunner ]] || read -r before found _ <"$directory/forerunner"
        [[ $uid && $before == "$uid" ]] || found=unknown
        if [[ $state == known ]]; then
            state=runs
            [[ ! $mark || $mark != "$its" ]] || state=ended
        fi
        printf '%s %s %s %s\n' "$POD_UID" "${state:-unknown}" "${uid:-nobody}" "${found:-unknown}" |
            put "$directory/forerunner" || return 1
    fi
    # Of another start of its container what is known stays known.
    [[ $state != ended && $state != known ]] || own=known
    printf '%s %s %s\n' "$POD_UID" "$own" "$mark" | put "$directory/running"
}

# Only a guard that comes to its end saw that the server has a role: not one that is ended, and not one that failed. A pod
# that is killed later can't tell any more, so it is told at once; unless another pod has the volume by now.
see_a_role() {
    local asking uid=''
    trap 'kill -TERM "$asking" 2>/dev/null' TERM
    bash "$GIVEN/boot-guard" post &
    asking=$!
    wait "$asking" || return
    [[ ! -r $directory/running ]] || read -r uid _ <"$directory/running"
    [[ -z ${POD_UID-} || $uid != "$POD_UID" ]] || printf '%s known %s\n' "$POD_UID" "$mark" | put "$directory/running"
}

# Unless another pod has the volume by now. Who never had a role knows no more of the one before it than it found.
farewell() {
    local uid='' state='' word=ended
    [[ ! -r $directory/running ]] || read -r uid state _ <"$directory/running"
    [[ $uid == "$POD_UID" ]] || return
    [[ $state == known ]] || read -r _ word _ <"$directory/forerunner" || word=unknown
    printf '%s %s\n' "$POD_UID" "$word" | put "$directory/running"
}

config=$(<"$GIVEN/config-path")
directory=${config%/*}
[[ -w $directory ]] || fail "$directory can't be written by user $(id -u): see the volume and its fsGroup"
if [[ ! -e $config ]]; then
    [[ -r $GIVEN/$POD.conf ]] || fail "there is no configuration for $POD: name it in the inventory, then run install"
    made=$(with_passwords "$GIVEN/$POD.conf") || exit 1
    printf '%s\n' "$made" | put "$config"
fi
speak_as_given
[[ ! -d $TLS ]] || take_certificate
for role in operator monitoring; do
    made=$(with_passwords "$GIVEN/$role.auth") || exit 1
    printf '%s\n' "$made" | put "$directory/$role.auth"
done

export KEYDB_GUARD_NODE=$POD KEYDB_GUARD_CONFIG=$config KEYDB_GUARD_AUTH=$directory/operator.auth
KEYDB_GUARD_NODES=$(<"$GIVEN/nodes")
# A pod may come back hours behind the others: they decide when it is there.
export KEYDB_GUARD_NODES KEYDB_GUARD_WAIT=1000000000
bash "$GIVEN/boot-guard" check || exit 1

# A pod of an older template has no name of its own for this, and on a full volume nothing can be said: without a word
# nobody is taken for ended.
if [[ -z ${POD_UID-} ]] || ! greet; then
    rm -f "$directory/running" "$directory/forerunner" || exit 1
fi
# The server is no first process of the container: nobody would collect what ended.
bash "$GIVEN/boot-guard" pre "$PROGRAM" "$config" --daemonize no &
server=$!
see_a_role &
guard=$!
trap 'kill -TERM "$server" 2>/dev/null' TERM INT
wait "$server"
code=$?
# A signal ends the waiting, not the server: it saves its data first.
while kill -0 "$server" 2>/dev/null; do
    wait "$server"
    code=$?
done
kill "$guard" 2>/dev/null
wait "$guard"
[[ -z ${POD_UID-} ]] || farewell
exit $code
