#!/usr/bin/env bash
# Boot guard: a server starts as nobody's replica, and becomes more only when its peers prove that this is safe.
# docs/boot-guard.md has the rules, why they hold, and what each message asks for.
#
#   boot-guard pre               prints the arguments that guard a start
#   boot-guard pre COMMAND ...   runs COMMAND with these arguments behind it
#   boot-guard post              behind the start: watches for a while, and decides once
#   boot-guard decide            the rules alone: observations on standard input, a decision a line
#   boot-guard check             whether its settings can be used
#
# The environment has its settings:
#   KEYDB_GUARD_NODE            name of this node
#   KEYDB_GUARD_NODES           every node of the group, this one too, as its peers reach it: "NAME=HOST:PORT ..."
#   KEYDB_GUARD_CONFIG          the server's configuration file
#   KEYDB_GUARD_AUTH            file (mode 0600) with the line AUTH USER PASSWORD of the operator's user
#   KEYDB_GUARD_TLS_CA          file with the CA's certificates, if the group speaks TLS
#   KEYDB_GUARD_WAIT            seconds that post watches; 60
#   KEYDB_GUARD_ACCEPT_AOF_GAP  yes: a primary with an AOF may lack the seconds that appendfsync leaves out; no
#
# Needs bash 4.4 or newer, GNU grep, and openssl for TLS. No password is ever in an argument, in the environment or in
# the log.
set -uf
export LC_ALL=C

GUARD=255.255.255.255
PATIENCE=2
LOADING="is loading its data"
# What comes from elsewhere is calculated with only if it looks like this: the shell would run what it finds in it.
NUMBER='^(0|[1-9][0-9]{0,17})$'
RECORD='^[0-9a-f]{40}:(0|[1-9][0-9]{0,17})$'
RECORDS_KEPT=32

declare -a names=()
declare -A seen=()
self='' accept_gap=no verdict='' target='' reason='' silent='' silent_names='' lost=''

# What a stranger answered may have anything in it.
log() { printf 'boot-guard: %s\n' "${*//[^[:print:]]/?}" >&2; }

fail() {
    log "error: $*"
    exit 2
}

# --- The rules. They know nothing but "seen", where each node has these fields:
#
#   answer   yes, or why it could not be asked, in words that go behind its name
#   role     primary or replica;  guarded: yes or no
#   source   the node that it follows, or that its file named as its primary when it was started guarded; ? is nobody
#   id       its replication id, "" where a start from an AOF forgot it;  offset: how much of this stream it has
#   former   the streams that its data descend from, ID:LAST_OFFSET, newest first, with commas between
#   records  those of them that are recorded in the data (runbook:lineage)
#   epoch    runbook:epoch, "" is unknown;  keys: how many it holds
#   fsync    its appendfsync;  priority: its replica-priority
#
# A function called refuse_... succeeds if there is a reason against it.

decide() {
    verdict=guarded target='' reason=''
    local node primaries=''
    if [[ ${seen[$self.answer]} != yes ]]; then
        reason="my own server ${seen[$self.answer]}; see its log"
        return
    fi
    if [[ ${seen[$self.role]} == primary || ${seen[$self.guarded]} == no ]]; then
        verdict='done' reason="it is no longer guarded: somebody gave it its role"
        return
    fi
    find_silent
    for node in "${names[@]}"; do
        [[ ${seen[$node.answer]} == yes && ${seen[$node.role]} == primary ]] && primaries+="${primaries:+ and }$node"
    done
    case $primaries in
    '') refuse_to_lead || verdict=primary target=$self ;;
    *' and '*) reason="$primaries are primaries at once; run status" ;;
    *) refuse_to_follow "$primaries" || verdict=follow target=$primaries ;;
    esac
    return 0
}

find_silent() {
    local node
    silent='' silent_names=''
    for node in "${names[@]}"; do
        [[ ${seen[$node.answer]} == yes ]] && continue
        silent+="${silent:+, }$node ${seen[$node.answer]}"
        silent_names+="${silent_names:+ and }$node"
    done
}

# Whether this node may not follow the one primary that answers.
refuse_to_follow() {
    refuse_minority || refuse_emptied "$1" || refuse_superseded "$1" || refuse_unnamed "$1" && return 0
    if [[ ${seen[$self.keys]} == 0 ]]; then
        return 1
    elif [[ -z ${seen[$self.id]} ]]; then
        [[ ${seen[$self.source]} == "$1" ]] && same_reign "$self" "$1" && return 1
        reason="my AOF does not tell whether I hold more than $1, which became primary since then; run rejoin"
    else
        relate "$self" "$1"
        case $lost in
        0) return 1 ;;
        unknown) reason="I share no known history with $1, which is primary; run rejoin" ;;
        *) reason="I hold $lost bytes that $1, which is primary, never had; run rejoin" ;;
        esac
    fi
}

# Whoever hears a minority only may take a primary that was replaced for the primary.
refuse_minority() {
    local node answering=0 all=0
    for node in "${names[@]}"; do
        all=$((all + 1))
        [[ ${seen[$node.answer]} == yes ]] && answering=$((answering + 1))
    done
    ((answering * 2 > all)) && return 1
    reason="only $answering of $all nodes answer, and the others may have another primary; start $silent_names"
}

refuse_emptied() {
    [[ ${seen[$1.keys]} == 0 && ${seen[$self.keys]} != 0 ]] || return 1
    reason="$1 is primary and holds nothing, but I hold ${seen[$self.keys]} keys; run failover"
}

refuse_superseded() {
    local node
    for node in "${names[@]}"; do
        [[ ${seen[$node.answer]} == yes ]] && newer "$node" "$1" || continue
        reason="$1 is the primary of epoch ${seen[$1.epoch]}, but $node holds data of epoch ${seen[$node.epoch]}; "
        reason+="stop $1, then run failover"
        return 0
    done
    return 1
}

# A node's file may be newer than its data, so these can't tell that another primary came behind the one it names.
refuse_unnamed() {
    local source=${seen[$self.source]}
    [[ $source == "$1" || -z $silent ]] && return 1
    [[ $source == '?' ]] && source="no node of this group"
    reason="$1 is primary, but my file names $source, and $silent; start $silent_names, or run rejoin"
}

# Whether this node may not be the primary: again, or in the place of one whose disk has less than its own.
refuse_to_lead() {
    local node last=${seen[$self.source]}
    if [[ $last == '?' ]]; then
        reason="my file names no node of this group as the last primary; run failover"
        return 0
    elif [[ $silent ]]; then
        reason="$last was the primary, but $silent, and every peer must answer; start $silent_names, or run failover"
        return 0
    elif [[ ${seen[$self.keys]} == 0 ]]; then
        reason="I hold nothing: I must be nobody's source; run failover if no other node takes the role"
        return 0
    elif [[ $last != "$self" && -z ${seen[$self.id]} ]]; then
        reason="$last was the primary, and my AOF does not tell whether I hold more; "
        reason+="see its boot-guard, or run failover"
        return 0
    fi
    for node in "${names[@]}"; do
        [[ $node == "$self" ]] && continue
        if refuse_stray "$node" || refuse_newer "$node" || refuse_ahead "$node"; then
            reason="$last was the primary, but $reason; run failover if no other node takes the role"
            return 0
        fi
    done
    [[ $last != "$self" ]] && refuse_to_take_over "$last"
}

# Whether this node, which holds all that any node holds, must leave the role to another one.
refuse_to_take_over() {
    local node
    if [[ -z ${seen[$self.epoch]} ]]; then
        reason="$1 was the primary and holds less than I, but my data have no epoch; run failover"
        return 0
    elif [[ ${seen[$self.priority]} == 0 ]]; then
        reason="$1 was the primary and holds less than I, but my replica-priority is 0; run failover"
        return 0
    fi
    for node in "${names[@]}"; do
        [[ $node == "$self" ]] && continue
        relate "$self" "$node"
        [[ $lost == 0 ]] && before "$node" "$1" || continue
        reason="$node holds as much as I and comes before me; see its boot-guard, or run failover"
        return 0
    done
    return 1
}

# Of nodes that hold the same the last primary ($2) comes first, then as failover ranks them: by priority, by name.
before() {
    local its=${seen[$1.priority]} mine=${seen[$self.priority]}
    [[ $1 == "$2" ]] && return 0
    [[ $its == 0 ]] && return 1
    ((its < mine)) || { ((its == mine)) && [[ $1 < $self ]]; }
}

refuse_stray() {
    local source=${seen[$1.source]} verb=follows
    [[ $source == "${seen[$self.source]}" ]] && return 1
    [[ $source == '?' ]] && source="no node of this group"
    [[ ${seen[$1.guarded]} == yes ]] && verb="was started with a file that names"
    [[ $source == "$1" ]] && source="itself as the last primary"
    reason="$1 $verb $source"
}

refuse_newer() {
    newer "$1" "$self" || [[ ${seen[$1.epoch]} && -z ${seen[$self.epoch]} ]] || return 1
    reason="$1 holds data of epoch ${seen[$1.epoch]}, and mine are of epoch ${seen[$self.epoch]:-unknown}"
}

# Whether a peer holds, or may hold, what this node lacks.
refuse_ahead() {
    if [[ ${seen[$1.keys]} == 0 ]]; then
        reason="$1 holds nothing, and its disk may have held more than mine: is it there?"
        return 0
    elif [[ -z ${seen[$self.id]} ]]; then
        refuse_aof "$1"
        return
    elif [[ -z ${seen[$1.id]} ]]; then
        reason="the AOF of $1 does not tell whether it holds more"
        return 0
    fi
    relate "$1" "$self"
    case $lost in
    0) return 1 ;;
    unknown) reason="$1 shares no history with me that I know" ;;
    *) reason="$1 holds $lost bytes that I lack" ;;
    esac
}

refuse_aof() {
    if ! same_reign "$1" "$self"; then
        reason="the data of $1 were not recorded under the same primary as mine"
    elif [[ ${seen[$self.fsync]} == always || $accept_gap == yes ]]; then
        return 1
    else
        reason="my AOF may lack its last seconds (appendfsync ${seen[$self.fsync]}), and $1 may have them"
    fi
}

# Sets "lost" to the bytes of the stream that $1 has and $2 never had, 0 or "unknown"; docs/lineage.md.
relate() {
    local ancestor last=unknown
    if [[ ${seen[$1.id]} == "${seen[$2.id]}" ]]; then
        last=${seen[$2.offset]}
    else
        for ancestor in ${seen[$2.former]//,/ }; do
            [[ ${ancestor%%:*} == "${seen[$1.id]}" ]] || continue
            last=${ancestor##*:}
            break
        done
    fi
    lost=unknown
    [[ $last == unknown ]] && return
    lost=$((seen[$1.offset] - last))
    ((lost > 0)) || lost=0
}

# Whether the data of $1 were written by the primary $2 in the same epoch, before or since $2 was started last.
same_reign() {
    local newest=${seen[$1.records]%%,*}
    [[ ${seen[$1.epoch]} && ${seen[$1.epoch]} == "${seen[$2.epoch]}" ]] || return 1
    [[ -z $newest || ",${seen[$2.records]}," == *",$newest,"* ]]
}

newer() { [[ ${seen[$1.epoch]} && ${seen[$2.epoch]} ]] && ((seen[$1.epoch] > seen[$2.epoch])); }

# Reads cases: a line "SELF ACCEPT_GAP", then a line "NODE FIELD=VALUE ..." for each node, then an empty line.
decide_cases() {
    local words word node
    self=''
    while read -r -a words || [[ ${words[*]-} ]]; do
        if [[ -z ${words[*]-} ]]; then
            decide
            printf '%s\t%s\t%s\n' "$verdict" "$target" "$reason"
            names=() seen=() self=''
        elif [[ -z $self ]]; then
            self=${words[0]} accept_gap=${words[1]}
        else
            node=${words[0]}
            names+=("$node")
            for word in "${words[@]:1}"; do seen[$node.${word%%=*}]=${word#*=}; done
        fi
    done
}

# --- Asking. A connection is a process between two pipes, so that one with TLS looks like one without.

declare -a lines=()
declare -A host=() port=() from=() to=() pid=() dead=()
token='' ca=''

open_all() {
    local node fd pipe
    token=end-$RANDOM$RANDOM$RANDOM
    for node in "${names[@]}"; do
        # Open for both ways it holds nobody up, and is gone with who has it open.
        pipe=$(mktemp -u) && mkfifo -m 600 "$pipe" && exec {fd}<>"$pipe" || fail "no pipe in ${TMPDIR:-/tmp}"
        rm -f "$pipe"
        from[$node]=$fd
        exec {fd}> >(connect "$node" >&"${from[$node]}" 2>/dev/null)
        to[$node]=$fd pid[$node]=$!
        send "$node" "$(<"$KEYDB_GUARD_AUTH")"
    done
}

# Runs in a process of its own. It ends with its input: a lock is gone with the one who held it.
connect() {
    local fd address=${host[$1]} kind=hostname
    for fd in "${to[@]}"; do exec {fd}>&-; done
    # A line that never ends must not fill this machine's memory.
    ulimit -v 262144
    [[ $address == *:* || $address =~ ^[0-9.]+$ ]] && kind=ip
    if [[ $ca ]]; then
        [[ $address == *:* ]] && address="[$address]"
        # Without no_ign_eof it outlives its input; with it a text that begins with Q, R or K is an order to
        # it, so commands are sent in small letters.
        timeout 60 openssl s_client -quiet -no_ign_eof -verify_quiet -verify_return_error -CAfile "$ca" \
            "-verify_$kind" "${host[$1]}" -connect "$address:${port[$1]}" | leave_out_strangers
    elif exec 3<>"/dev/tcp/$address/${port[$1]}"; then
        leave_out_strangers <&3 &
        trap 'kill $!; exit' TERM
        cat >&3
        kill $!
    fi
    echo '!'
}

# Of a list of clients this script reads who has a runbook's name: a shell takes seconds for thousands of others.
# With exec, since a child of what is killed above would keep the connection, and with it the lock.
leave_out_strangers() { exec timeout 60 grep -aE --line-buffered '^($|[^i]|i[^d]|id[^=])| name=runbook:'; }

close_all() {
    local node fd
    for node in "${!to[@]}"; do
        fd=${to[$node]}
        exec {fd}>&-
        fd=${from[$node]}
        exec {fd}>&-
        # One that is still connecting doesn't see that its input ended.
        [[ ${dead[$node]-} ]] && kill "${pid[$node]}" 2>/dev/null
    done
    to=() from=() pid=() dead=()
}

send() {
    local node=$1
    shift
    printf '%s\r\n' "$@" 2>/dev/null >&"${to[$node]}"
}

# Reads answers into "lines" until the one to "ping $token"; else "dead" gets the reason.
hear() {
    local node=$1 line end=$((SECONDS + PATIENCE))
    lines=()
    # Neither one that falls silent nor one that never ends may keep the others waiting.
    while ((SECONDS <= end)) && read -r -t "$PATIENCE" -u "${from[$node]}" line; do
        line=${line%$'\r'}
        case $line in
        "$token") return 0 ;;
        '!') break ;;
        -LOADING*) dead[$node]=$LOADING ;;
        -*) dead[$node]="answers ${line#-}" ;;
        *) lines+=("$line") ;;
        esac
        [[ ${dead[$node]-} ]] && return 1
    done
    dead[$node]="does not answer"
    return 1
}

# Sends the same to every node that answered so far, then hears them all; fails if one of them is silent.
ask() {
    local node learn=$1 complete=0
    shift
    for node in "${names[@]}"; do
        [[ ${dead[$node]-} ]] || send "$node" "$@" "ping $token"
    done
    for node in "${names[@]}"; do
        [[ ${dead[$node]-} ]] && continue
        if hear "$node"; then "$learn" "$node"; else complete=1; fi
    done
    return $complete
}

observe() {
    local node
    seen=()
    ask learn info "ping @epoch" "get runbook:epoch" "ping @lineage" "get runbook:lineage" \
        "ping @settings" "config get min-replicas-to-write" "config get *appendfsync*"
    for node in "${names[@]}"; do
        [[ ${dead[$node]-} ]] && seen[$node.answer]=${dead[$node]}
    done
}

learn() {
    local node=$1 part=@info setting='' line
    local -A info=() told=([@epoch]='' [@lineage]='')
    seen[$node.keys]=0 seen[$node.priority]=0 seen[$node.answer]=yes seen[$node.epoch]='' seen[$node.records]=''
    for line in "${lines[@]}"; do
        if [[ $line == @* ]]; then
            part=$line
        elif [[ $line == [\$*][0-9-]* ]]; then
            continue
        elif [[ $part == @info ]]; then
            learn_field "$node" "${line%%:*}" "${line#*:}"
        elif [[ $part != @settings ]]; then
            told[$part]=$line
        elif [[ -z $setting ]]; then
            setting=$line
        else
            told[$setting]=$line setting=''
        fi
    done
    [[ ${told[@epoch]} =~ $NUMBER ]] && seen[$node.epoch]=${told[@epoch]}
    # As everywhere, a record that can't be read is not known.
    for line in ${told[@lineage]//,/ }; do
        [[ $line =~ $RECORD ]] && seen[$node.records]+="${seen[$node.records]:+,}$line"
    done
    learn_settings "$node"
    learn_role "$node"
    learn_history "$node"
}

learn_field() {
    case $2 in
    role | loading | redis_mode | server_mode | aof_enabled | master_host | master_port | master_1_host | \
        master1_host | master_replid | master_replid2)
        info[$2]=$3
        ;;
    master_repl_offset | slave_repl_offset | slave_read_repl_offset | second_repl_offset)
        [[ $3 =~ $NUMBER ]] && info[$2]=$3
        ;;
    slave_priority)
        [[ $3 =~ $NUMBER ]] && seen[$1.priority]=$3
        ;;
    db[0-9]*)
        [[ $3 =~ ^keys=([1-9][0-9]{0,15}), ]] && seen[$1.keys]=$((seen[$1.keys] + BASH_REMATCH[1]))
        ;;
    esac
}

learn_settings() {
    seen[$1.min]=${told[min-replicas-to-write]-} seen[$1.fsync]=${told[appendfsync]-unknown}
    [[ ${seen[$1.min]} =~ $NUMBER ]] || seen[$1.answer]="does not tell its min-replicas-to-write"
    [[ ${info[master_replid]-}:${info[master_repl_offset]-} =~ $RECORD ]] || seen[$1.answer]="does not tell its offset"
    # Otherwise it answers without a sync while a child of it writes a file.
    [[ ${told[no-appendfsync-on-rewrite]-} == no ]] || seen[$1.fsync]+=" with no-appendfsync-on-rewrite"
}

learn_role() {
    local node=$1 address="${info[master_host]-} ${info[master_port]-}"
    seen[$node.role]=replica seen[$node.guarded]=no seen[$node.source]=''
    case ${info[role]-}:${info[redis_mode]-}${info[server_mode]-}:${info[master_1_host]-}${info[master1_host]-} in
    master:standalone:) seen[$node.role]=primary ;;
    slave:standalone:)
        if [[ $address == "$GUARD "* ]]; then
            seen[$node.guarded]=yes
            name_of_mark "${address#* }"
        else
            name_of_address "$address"
        fi
        seen[$node.source]=$name
        ;;
    *) seen[$node.answer]="is no server of this kind (role ${info[role]-unknown}, see status)" ;;
    esac
    [[ ${info[loading]-0} == 0 ]] || seen[$node.answer]=$LOADING
}

learn_history() {
    local node=$1 key former
    seen[$node.stream]=${info[master_replid]-} seen[$node.own]=${info[master_repl_offset]-} seen[$node.offset]=0
    # A paused replica has received more than it applied: all of it counts.
    for key in master_repl_offset slave_repl_offset slave_read_repl_offset; do
        ((${info[$key]:-0} > seen[$node.offset])) && seen[$node.offset]=${info[$key]}
    done
    seen[$node.id]=${seen[$node.stream]}
    [[ ${info[aof_enabled]-0} == 1 && ${seen[$node.guarded]} == yes ]] && seen[$node.id]=''
    former="${info[master_replid2]-}:$((${info[second_repl_offset]:-0} - 1))"
    [[ $former =~ $RECORD ]] || former=''
    seen[$node.former]="$former,${seen[$node.records]}"
}

# --- The lock: one at a time, operators first. A claim on every node that answers, then a look at all of them
# (operations/lock.py). Of two claims the smaller wins, and an operator's is smaller than any of these.

rival='' rival_waits='' identity=''

lock() {
    local who="boot-guard/$self@${HOSTNAME:-unknown}" end=$((SECONDS + PATIENCE))
    who=${who//[^A-Za-z0-9_.@\/-]/-}
    printf -v identity 'ffffffff%04x%04x' $RANDOM $RANDOM
    ask ignore "client setname runbook:$identity:claim:$who" || return 1
    while :; do
        rival='' rival_waits=''
        ask find_rivals "client list" || return 1
        [[ $rival ]] && return 1
        [[ $rival_waits ]] || break
        ((SECONDS > end)) && rival=$rival_waits && return 1
    done
    ask ignore "client setname runbook:$identity:held:$who"
}

ignore() { :; }

find_rivals() {
    local line other state who
    for line in "${lines[@]}"; do
        [[ $line == *" name=runbook:"* ]] || continue
        line=${line#* name=runbook:}
        line=${line%% *}
        IFS=: read -r other state who <<<"$line"
        [[ $other == "$identity" ]] && continue
        if [[ $state == held || $other < "$identity" ]]; then rival=$who; else rival_waits=$who; fi
    done
}

# --- The steps.

name=''

name_of_address() {
    local node
    name='?'
    for node in "${names[@]}"; do
        [[ "${host[$node]} ${port[$node]}" == "$1" ]] && name=$node
    done
}

name_of_mark() {
    local node
    name='?'
    for node in "${names[@]}"; do
        mark_of "$node"
        [[ $mark == "$1" ]] && name=$node
    done
}

# The mark of a node: a port out of its name, so that it means the same whatever the order of the nodes.
mark=''
mark_of() {
    local rest=$1 code
    mark=0
    while [[ $rest ]]; do
        printf -v code %d "'$rest"
        mark=$(((mark * 31 + code) % 64000))
        rest=${rest:1}
    done
    mark=$((mark + 1000))
}

settings() {
    local key word node marks=' '
    for key in NODE NODES CONFIG "$@"; do
        key=KEYDB_GUARD_$key
        [[ ${!key-} ]] || fail "$key is not set"
    done
    self=$KEYDB_GUARD_NODE
    for word in $KEYDB_GUARD_NODES; do
        [[ $word =~ ^([A-Za-z0-9_.-]+)=(.+):([0-9]+)$ ]] || fail "KEYDB_GUARD_NODES: '$word' is not NAME=HOST:PORT"
        node=${BASH_REMATCH[1]}
        names+=("$node")
        host[$node]=${BASH_REMATCH[2]} port[$node]=${BASH_REMATCH[3]}
        mark_of "$node"
        [[ $marks == *" $mark "* ]] && fail "KEYDB_GUARD_NODES: $node has another node's mark; rename it"
        marks+="$mark "
    done
    [[ ${host[$self]-} ]] || fail "KEYDB_GUARD_NODE: '$self' is not in KEYDB_GUARD_NODES"
    [[ -r $KEYDB_GUARD_CONFIG ]] || fail "KEYDB_GUARD_CONFIG: '$KEYDB_GUARD_CONFIG' can't be read"
}

# Sets "mark" to the one of the last primary that the configuration file names; 1 is nobody.
read_config() {
    local words source=''
    while read -r -a words || [[ ${words[*]-} ]]; do
        words=("${words[@]//\"/}")
        case "${words[*],,}" in
        'replicaof no one' | 'slaveof no one') source='' ;;
        'replicaof '* | 'slaveof '*) source="${words[1]-} ${words[2]-}" ;;
        'include '*)
            fail "$KEYDB_GUARD_CONFIG has '${words[*]}': what stands there is not read; move it into this file"
            ;;
        'active-replica yes'* | 'multi-master yes'* | 'cluster-enabled yes'*)
            fail "$KEYDB_GUARD_CONFIG has '${words[*]}': such a server takes writes whatever it follows"
            ;;
        'replica-read-only no'* | 'slave-read-only no'*)
            fail "$KEYDB_GUARD_CONFIG has '${words[*]}': guarded it would take writes; set it to yes"
            ;;
        esac
    done <"$KEYDB_GUARD_CONFIG"
    name='?'
    case $source in
    '') name=$self ;;
    "$GUARD "*) name_of_mark "${source#* }" ;;
    *) name_of_address "$source" ;;
    esac
    mark=1
    [[ $name == '?' ]] || mark_of "$name"
}

can_ask() {
    local program
    [[ -r $KEYDB_GUARD_AUTH ]] || fail "KEYDB_GUARD_AUTH: '$KEYDB_GUARD_AUTH' can't be read"
    accept_gap=${KEYDB_GUARD_ACCEPT_AOF_GAP:-no} ca=${KEYDB_GUARD_TLS_CA-}
    [[ -z $ca || -r $ca ]] || fail "KEYDB_GUARD_TLS_CA: '$ca' can't be read"
    [[ ${KEYDB_GUARD_WAIT:=60} =~ $NUMBER ]] || fail "KEYDB_GUARD_WAIT: '$KEYDB_GUARD_WAIT' is no number of seconds"
    [[ $accept_gap == yes || $accept_gap == no ]] || fail "KEYDB_GUARD_ACCEPT_AOF_GAP: allowed are yes and no"
    for program in cat grep mktemp mkfifo rm sleep timeout ${ca:+openssl}; do
        type -P "$program" >/dev/null || fail "there is no $program on PATH"
    done
}

pre() {
    settings
    read_config
    log "guarded start: the last primary that my file names is $name"
    [[ $# == 0 ]] || exec "$@" --replicaof "$GUARD" "$mark"
    echo "--replicaof $GUARD $mark"
}

post() {
    local end told=''
    settings AUTH
    can_ask
    end=$((SECONDS + KEYDB_GUARD_WAIT))
    trap '' PIPE
    trap close_all EXIT
    while :; do
        open_all
        observe
        decide
        if [[ $verdict == follow || $verdict == primary ]]; then act; fi
        close_all
        [[ $verdict == guarded ]] || break
        # However long it loads, the time to watch the others begins behind that.
        [[ ${seen[$self.answer]} == "$LOADING" ]] && end=$((SECONDS + KEYDB_GUARD_WAIT))
        ((SECONDS < end)) || break
        [[ $reason == "$told" ]] || log "waiting: $reason"
        told=$reason
        # In the first minute things move, and not all look at the same moment.
        ((SECONDS < 60)) && sleep "0.$((RANDOM % 3 + 2))" || sleep "$((RANDOM % 3 + 2))"
    done
    log "$verdict: $reason"
}

# Under the lock everything is looked at and decided again, since somebody may have been at work until then.
act() {
    local wanted="$verdict $target"
    verdict=guarded
    if ! lock; then
        reason="${rival:+another run is at work: $rival}"
        reason=${reason:-"a node did not answer while I took the lock"}
        return
    fi
    observe
    decide
    if [[ "$verdict $target" != "$wanted" ]]; then
        verdict=guarded reason=${reason:-"the group changed while I looked"}
    elif [[ $verdict == follow ]]; then
        change "replicaof ${host[$target]} ${port[$target]}"
        reason="$target, which is primary (epoch ${seen[$target.epoch]:-unknown}); it has all that I hold$problem"
    else
        lead
    fi
}

# The server's stream has a new name from here on, and whoever comes back with the former one must be recognised:
# that is recorded before anybody can attach. The epoch counts promotions: who is primary again was not promoted.
lead() {
    local record lineage="${seen[$self.stream]}:${seen[$self.own]}" number=1 epoch=${seen[$self.epoch]}
    for record in ${seen[$self.records]//,/ }; do
        number=$((number + 1))
        ((number > RECORDS_KEPT)) || lineage+=",$record"
    done
    # Without replicas a write may be refused: what asks for them is off for a moment.
    local -a commands=("config set min-replicas-to-write 0" "replicaof no one" "set runbook:lineage $lineage")
    reason="every peer answers, and had me as its primary"
    if [[ ${seen[$self.source]} != "$self" ]]; then
        epoch=$((epoch + 1))
        commands+=("set runbook:epoch $epoch")
        reason="every peer answers, and had ${seen[$self.source]} as its primary, which holds less than I"
    fi
    change "${commands[@]}" "config set min-replicas-to-write ${seen[$self.min]}"
    reason+="; nobody holds what I lack (epoch ${epoch:-unknown})$problem"
}

# All in one write, so that a death can't come between; what is saved last takes nothing back.
problem=''
change() {
    problem=''
    send "$self" "$@" "config rewrite" "ping $token"
    hear "$self" || problem="; but it ${dead[$self]}: look at it"
}

case ${1-} in
pre) shift && pre "$@" ;;
post) post ;;
check)
    settings AUTH
    can_ask
    ;;
decide) decide_cases ;;
*) fail "say pre, post, check or decide; the head of this file says more" ;;
esac
