"""Servers and proxies as processes that nobody watches over: the sandbox's way to start and to reload them.

A server is always started guarded: as nobody's replica, read-only, until a verb says what it is
(keydb-facts, "Empty primary").
"""

from __future__ import annotations

from collections.abc import Iterator

from pyinfra.api import StringCommand

from keydb_runbooks.connectors.shell import script
from keydb_runbooks.facts.haproxy import HaproxyProcess
from keydb_runbooks.facts.keydb import KeydbProcess
from keydb_runbooks.runbooks.replication import GUARD_ADDRESS

GUARD = ("--replicaof", GUARD_ADDRESS, "1")
"""Arguments that guard a start. Two words behind the option: as one argument the start fails."""

# $1 the boot guard's settings, then what is to be started. The boot guard says in place of the 1 whom the file names
# as the last primary (docs/boot-guard.md), so that other nodes' guards can see it.
GUARDED = f"""
settings=$1; shift
[ -e "$settings" ] || exec "$@" {" ".join(GUARD)}
set -a && . "$settings" && exec "${{settings%.env}}" pre "$@"
"""

# Two runs at once come here one after the other. What is locked is the pid file's directory; a server doesn't inherit
# the lock.
LOCKED = """
cd / && exec 9<"$(dirname "$file")" || exit 1
flock -w 30 9 || { echo "another run has been starting this for 30 s" >&2; exit 1; }
"""

# $1 a command that prints the process that runs, 0 if there is none; $2 the pid file; then what is to be started.
START = f"""
look=$1 file=$2; shift 2
{LOCKED}
case $(eval "$look") in
    0) ;;
    "") echo "it is unknown whether it runs; look at $file" >&2; exit 1 ;;
    *) exit 0 ;;
esac
# A server gives its umask to the files that it writes, keydb.conf with its password among them.
umask 077
rm -f "$file"
"$@" 9<&- || exit 1
n=0
# 10 s at most: a server that daemonizes has its pid file long before.
until [ -s "$file" ]; do
    n=$((n+1))
    [ $n -gt 500 ] && {{ echo "it was started, but there is no $file after 10 s; look at its log" >&2; exit 1; }}
    sleep 0.02
done
"""

# $1 a command that prints the process that runs, 0 if there is none; $2 the pid file. A server that is told to end
# saves its data first, for as long as systemd would wait. One that has ended is no more, or waits for its parent.
STOP = """
pid=$(eval "$1")
[ -n "$pid" ] || { echo "it is unknown whether it runs; look at $2" >&2; exit 1; }
if [ "$pid" != 0 ]; then
    kill "$pid" || exit 1
    n=0
    while grep -qs "^State:.[^Z]" /proc/"$pid"/status; do
        n=$((n+1))
        [ $n -gt 30000 ] && { echo "process $pid does not end within 600 s; look at its log" >&2; exit 1; }
        sleep 0.02
    done
fi
"""

# $1 the pid file, $2 the runtime socket, over which the listening sockets are handed on; then what is to be started.
RELOAD = f"""
file=$1 socket=$2; shift 2
{LOCKED}
"$@" -x "$socket" -sf $(cat "$file") 9<&-
"""


def start_server(program: str, config: str, guard_settings: str, pid_file: str) -> Iterator[StringCommand]:
    """Commands that start a server, guarded, unless it runs by now, and wait until it has written its pid file."""
    look = KeydbProcess().command(pid_file=pid_file)
    guarded = ("sh", "-c", GUARDED, "sh", guard_settings)
    yield script(START, look.get_raw_value(), pid_file, *guarded, program, config, "--set-proc-title", "no")


def restart_server(program: str, config: str, guard_settings: str, pid_file: str) -> StringCommand:
    """A command that ends a server, if it runs, and starts it guarded; once begun it needs nobody who waits for it."""
    look = KeydbProcess().command(pid_file=pid_file)
    guarded = ("sh", "-c", GUARDED, "sh", guard_settings)
    words = (look.get_raw_value(), pid_file, *guarded, program, config, "--set-proc-title", "no")
    return script(STOP + START, *words)


def end_server(pid_file: str) -> StringCommand:
    """A command that ends a server, if it runs."""
    return script(STOP, KeydbProcess().command(pid_file=pid_file).get_raw_value(), pid_file)


def start_proxy(program: str, config: str, pid_file: str) -> Iterator[StringCommand]:
    """Commands that start HAProxy, unless it runs by now, and wait until it has written its pid file."""
    look = HaproxyProcess().command(pid_file=pid_file)
    yield script(START, look.get_raw_value(), pid_file, program, "-D", "-f", config)


def reload_proxy(program: str, config: str, pid_file: str, socket: str) -> Iterator[StringCommand]:
    """Commands that replace HAProxy's process; the listening sockets are handed over, so nobody is refused."""
    yield script(RELOAD, pid_file, socket, program, "-D", "-f", config)
