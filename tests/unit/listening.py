"""A run of pyinfra on two machines: ``listening.py HOW FAULT PORT PORT``; the first one is struck in the middle of a command.

It prints as pyinfra does, then the seconds that it took and which hosts have failed.
"""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import logging  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402

from pyinfra import host  # noqa: E402
from pyinfra.api import Config, FunctionCommand, Inventory, State, operation  # noqa: E402
from pyinfra.api.connect import connect_all  # noqa: E402
from pyinfra.api.exceptions import PyinfraError  # noqa: E402
from pyinfra.api.operation import add_op  # noqa: E402
from pyinfra.api.operations import run_ops  # noqa: E402

from keydb_runbooks.connectors import pulse  # noqa: E402
from keydb_runbooks.connectors.quiet import run_quietly  # noqa: E402
from keydb_runbooks.operations import watching  # noqa: E402

pulse.BEAT_SECONDS, pulse.MISSED_BEATS = 0.4, 6
watching.LOGIN_SECONDS = 1
# Quiet for longer than anybody is waited for who says nothing.
LIVES = "sleep 5"
STRUCK = {"none": LIVES, "freeze": "kill -STOP $PPID; sleep 60", "kill": "kill -KILL $PPID; sleep 60"}


@operation()
def command(fault: str):
    yield STRUCK[fault] if host.name == "struck" else LIVES


@operation()
def question(fault: str):
    yield "true"
    yield f"echo {run_quietly(host, STRUCK[fault] if host.name == 'struck' else LIVES)}"


def ask(state, host, fault):
    return run_quietly(host, STRUCK[fault] if host.name == "struck" else LIVES) is not None


@operation()
def function(fault: str):
    yield FunctionCommand(ask, (fault,), {})


@operation()
def behind():
    yield "true"


logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
logging.getLogger("paramiko").setLevel(logging.CRITICAL)
how, fault, first, second = sys.argv[1:]
common = {"ssh_hostname": "127.0.0.1", "ssh_user": "x", "ssh_password": "x", "ssh_strict_host_key_checking": "off"}
given = {**common, "ssh_known_hosts_file": "/dev/null"}
machines = [("struck", {"ssh_port": int(first)}), ("other", {"ssh_port": int(second)})]
state = State(Inventory((machines, given)), Config(CONNECT_TIMEOUT=2))
watching.begin(state)
begun = time.monotonic()
try:
    connect_all(state)
    if how != "login":
        add_op(state, {one.__name__: one for one in (command, question, function)}[how], fault)
    add_op(state, behind)
    run_ops(state)
except PyinfraError as error:
    print(f"ended: {error}")
print(f"failed: {' '.join(one.name for one in state.failed_hosts)}")
print(f"seconds: {time.monotonic() - begun:.1f}")
