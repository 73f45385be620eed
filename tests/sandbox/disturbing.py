"""Faults of one node or the proxy that begin in the middle of a run and end behind it, and a person who mends the group."""

from __future__ import annotations

import json
import math
import re
import resource
import sys
import time
from contextlib import suppress
from pathlib import Path

import redis
from kit import NODES, Result, Sandbox, Writer, eventually
from moments import Moment, list_of, run_at
from verbs import NOTED_LATER_SECONDS, World

from demo.measure import find_lost, read_journal

FAULTS = ("killed", "frozen", "cut off", "slow", "full disk", "new password")
OF_PROXIES = ("killed", "frozen", "cut off", "slow")
"""A proxy has no disk that matters here and no password of ours."""

ENDS = ("done:", "nothing to do:", "refused:", "failed and unchanged", "failed and incomplete")

OPERATIONS = ("start", "add_node", "remove_node", "rotate")
"""Deploys that are several operations of pyinfra, which tells itself which of them failed where."""


# Faults


def begin(group: Sandbox, fault: str, node: str) -> str:
    """A command of the shell that begins a fault."""
    network = f"{sys.executable} -m keydb_runbooks.connectors.network"
    # Of whoever runs there then: a restart gives it another process.
    pid = f"$(cat {group.pid_file(node)})"
    return {
        "killed": f"kill -9 {pid}",
        "frozen": f"kill -STOP {pid}",
        "cut off": f"{network} cut {node}",
        "slow": f"{network} slow {node} --delay-ms 100",
        "full disk": f"prlimit --pid {pid} --fsize=0:",
        "new password": f"{sys.executable} {password_script(group, node)}",
    }[fault]


def password_script(group: Sandbox, node: str) -> Path:
    """A program that gives the operator another password on one server; its links stay logged in."""
    return operators_script(
        group,
        "rotate.py",
        node,
        "import json\nfrom pathlib import Path\n"
        "rows = [row.split() for row in server.execute_command('ACL LIST')]\n"
        "held = [word for row in rows if row[1] == 'operator' for word in row if word[0] == '#']\n"
        f"Path({str(held_before(group))!r}).write_text(json.dumps(held))\n"
        "server.execute_command('ACL SETUSER', 'operator', 'resetpass', '>another')\n",
    )


def held_before(group: Sandbox) -> Path:
    """Where the hashes of the operator's passwords are that one server held before."""
    return group.directory / "held.json"


def give_back(group: Sandbox, node: str) -> None:
    """The operator's passwords as they were; a run may have set them right itself."""
    client = group.client(node)
    client.connection_pool.connection_kwargs["password"] = "another"
    with suppress(redis.AuthenticationError):
        client.execute_command("ACL SETUSER", "operator", "resetpass", *json.loads(held_before(group).read_text()))
    client.connection_pool.disconnect()


def link_script(group: Sandbox, node: str) -> Path:
    """A program that waits until a replica has noticed that its link broke."""
    return operators_script(
        group,
        "noticed.py",
        node,
        "import time\n"
        "end = time.monotonic() + 20\n"
        "while server.info('replication').get('master_link_status') == 'up' and time.monotonic() < end:\n"
        "    time.sleep(0.01)\n",
    )


def operators_script(group: Sandbox, name: str, node: str, lines: str) -> Path:
    """A program of this name that has the operator's link to one server as ``server``."""
    path = group.directory / name
    path.write_text(
        f"import redis\nfor password in {operators_passwords(group)!r}:\n"
        f"    server = redis.Redis(host={group.address_of(node)!r}, port={group.port_of(node)}, username='operator',"
        " password=password, protocol=2, driver_info=None, decode_responses=True)\n"
        f"    try:\n        server.ping()\n        break\n    except redis.AuthenticationError:\n        pass\n{lines}"
    )
    return path


def operators_passwords(group: Sandbox) -> list[str]:
    """The inventory's, and the one before while passwords are rotated."""
    files = [path for name in ("passwords.json", "previous.json") if (path := group.directory / name).exists()]
    return [json.loads(path.read_text())["operator"] for path in files]


def end(group: Sandbox, fault: str, node: str) -> None:
    """End a fault; a dead server is started, guarded, by a person."""
    if fault == "killed":
        eventually(lambda: group.pid(node) is None, f"{node} is dead")
        started = group.run("start")
        # A node that has left has nothing to start any more.
        left = node in NODES and not group.config(node).exists()
        assert left or group.pid(node) is not None, started.text
    elif fault == "new password":
        give_back(group, node)
    elif fault in ("cut off", "slow"):
        group.network.heal()
    elif (pid := group.pid(node)) is not None:
        if fault == "frozen":
            group.thaw(node)
        else:
            _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))
    for one in NODES:
        if group.pid(one):
            eventually(lambda one=one: responds(group, one), f"{one} answers", 20)


def responds(group: Sandbox, node: str) -> bool:
    """Whether a server answers, be it that it doesn't take the password yet, or no writes since it could not save."""
    try:
        group.ask(node, "PING", timeout=0.2)
    except (redis.AuthenticationError, redis.ResponseError):
        return True
    except redis.RedisError:
        return False
    return True


# Runs


def told(deploy: str, result: Result) -> str:
    """How a run ended, in its own words; or in pyinfra's, where it is but operations."""
    assert "Traceback" not in result.text, result.text
    ends = [word for word in ENDS if said(word, result)]
    if deploy in OPERATIONS and "refused:" not in ends:
        failed = re.search(r"\] Error: executed", result.text)
        assert (result.code == 0) == (failed is None), result.text
        return "failed" if failed else "done:"
    assert ends, result.text
    assert (result.code == 0) == (ends[-1] in ("done:", "nothing to do:")), result.text
    return ends[-1]


def said(word: str, result: Result) -> bool:
    """Whether a run says this of its end; ``node-refused:`` is a node's."""
    return re.search(rf"(?<![\w-]){word}", result.text) is not None


class Person:
    """Does what is printed, and notes which loss was announced."""

    def __init__(self, group: Sandbox) -> None:
        self.group = group
        self.announced: list[str] = []
        self.log: list[str] = []

    def note(self, deploy: str, result: Result) -> None:
        self.log.append(f"{deploy}: {told(deploy, result)}\n{result.text}")
        if not said("refused:", result) and re.search(r"predicted loss +(unknown|[1-9])", result.text):
            self.announced.append(result.text)

    def run(self, deploy: str, **data: str) -> Result:
        result = self.group.run(deploy, **data)
        self.note(deploy, result)
        return result

    def finish(self, deploy: str, data: dict[str, str]) -> None:
        """The verb again, and whatever a refusal names, until the verb says that it is done; rejoin the same way."""
        self.insist(deploy, data)
        self.insist("rejoin", self.spared(self.log[-1]))

    def insist(self, deploy: str, data: dict[str, str]) -> Result:
        """Run a deploy, and whatever a refusal names, until it says that it is done."""
        wish = dict(data)
        deadline = time.monotonic() + 40
        while time.monotonic() < deadline:
            result = self.run(deploy, **wish)
            if result.code == 0:
                return result
            self.help(result, wish)
        raise AssertionError(f"{deploy} never ended in done:\n" + "\n".join(self.log))

    def help(self, result: Result, wish: dict[str, str]) -> None:
        """What a person does who reads a refusal."""
        # As it is read, over the ends of lines.
        text = " ".join(result.text.split())
        if found := re.search(r"run (failover|rejoin|start)\b", text[text.rfind("refused:") :]):
            self.follow(found[1])
        elif "accept_loss=" in text:
            wish.update(self.spared(text))
        else:
            time.sleep(0.5)

    def follow(self, deploy: str) -> None:
        result = self.run(deploy)
        if "accept_loss=" in result.text:
            self.run(deploy, **self.spared(result.text))

    def spared(self, text: str) -> dict[str, str]:
        names = sorted(set(re.findall(r"accept_loss=(keydb-\d)", text)))
        return {"accept_loss": ",".join(names)} if names else {}


def lost(group: Sandbox, writer: Writer, world: World) -> int:
    """How many acknowledged writes are gone that no dead primary took with it."""
    writer.stop()
    writes = read_journal(writer.journal)
    server = group.client("proxy-1", "application", timeout=10)
    try:
        gone = find_lost(writes, server)
    finally:
        server.connection_pool.disconnect()
    if world.replaced_since is not None:
        stay = [one.seconds for one in writes if one.seconds > world.replaced_since and one not in gone]
        late = [one for one in gone if one.seconds > min(stay, default=math.inf) + NOTED_LATER_SECONDS]
        assert not late, f"acknowledged behind the promotion, and gone: {late}"
    begin, end = world.lossy or (0.0, 0.0)
    return sum(1 for one in gone if not begin <= one.seconds <= end)


def disturbed(group: Sandbox, deploy: str, world: World, at: Moment, where: str, fault: str) -> tuple[Result, Person]:
    """A run that meets a fault of one place at a moment, and somebody who has read it; the fault is over again."""
    node = {place: name for name, place in world.places.names.items()}[where]
    result = run_at(group, deploy, at, begin(group, fault, node), world.places.names, **world.data)
    person = Person(group)
    person.note(deploy, result)
    print(f"{where}, {fault}, {at}: {told(deploy, result)}")
    assert "happened" in list_of(group).read_text().splitlines(), result.text
    end(group, fault, node)
    return result, person


def is_whole(group: Sandbox, writer: Writer, world: World, person: Person, patience_seconds: float) -> None:
    """In the end there is one primary, everybody is well, clients write, and what is lost was announced."""
    primaries = group.primaries()
    assert len(primaries) == 1, person.log
    group.healthy(primaries[0])
    writer.write_on(0.1, patience_seconds)
    assert lost(group, writer, world) == 0 or person.announced, "\n".join(person.log)
