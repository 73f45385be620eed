"""A fact about a server's program on one host, for anybody's deploy. Nothing that runs is touched by asking."""

from __future__ import annotations

import re
from typing import TypedDict

from pyinfra.api import FactBase, StringCommand

from keydb_runbooks.connectors.shell import script
from keydb_runbooks.facts.machine import PROCESS, SERVERS

# $1 the pid file of the server that runs, $2 the program. A server of no port, in a directory of its own, saves nothing
# into a file when it ends, and the first bytes of that name the version of the format. What a running process was
# started from is still there when its file was replaced.
ASK = f"""
pid=$({PROCESS % SERVERS})
format() (
    dir=$(mktemp -d) && cd "$dir" || exit
    trap 'rm -rf "$dir"' EXIT
    printf '%s\\n' "port 0" "unixsocket s" "dir $dir" "save 3600 1" "appendonly no" "daemonize no" "pidfile $dir/p" >c
    "$1" c >out 2>&1 &
    n=0
    until [ -S s ]; do
        n=$((n+1))
        kill -0 $! 2>/dev/null && [ $n -le 500 ] || {{ kill $! 2>/dev/null; exit; }}
        sleep 0.02
    done
    kill $!
    wait $! 2>/dev/null
    head -c 9 dump.rdb 2>/dev/null
)
"$2" --version 2>/dev/null | head -n 1
echo "program $(format "$2")"
case $pid in ""|0) ;; *) echo "process $(format /proc/"$pid"/exe)" ;; esac
"""


class State(TypedDict):
    """What ``ServerProgram`` returns; None is unknown."""

    engine: str | None
    version: str | None
    format: int | None
    running_format: int | None


class ServerProgram(FactBase[State]):
    """Returns what a server's program is, and the versions of RDB files that it and the running process write.

    + program: its path
    + pid_file: where the server that runs writes its process id

    .. code:: python

        {"engine": "keydb", "version": "6.3.4", "format": 9, "running_format": 9}
    """

    def command(self, program: str, pid_file: str) -> StringCommand:
        return script(ASK, pid_file, program)

    def process(self, output: list[str]) -> State:
        text = "\n".join(output)
        told = re.search(r"^(KeyDB|Valkey|Redis) server v=(\S+)", text, re.MULTILINE)
        return State(
            engine=told[1].lower() if told else None,
            version=told[2] if told else None,
            format=_format("program", text),
            running_format=_format("process", text),
        )


def _format(what: str, text: str) -> int | None:
    found = re.search(rf"^{what} (?:REDIS|VALKEY)(\d+)$", text, re.MULTILINE)
    return int(found[1]) if found else None
