"""The verbs that are killed and disturbed: what each finds, what is asked of it, and what finishes it.

A new verb is a row in ``VERBS`` and a function that makes its world.
"""

from __future__ import annotations

import atexit
import hashlib
import json
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from functools import cache
from pathlib import Path

import redis
from kit import NODES, Sandbox, eventually
from logins import ROLES, link_anew, logs_in, previous, renew
from moments import Moment, run_at
from versions import renamed, version_of

from keydb_runbooks.connectors.programs import find_server

ENDLESS = 10**12
GUARD = ("REPLICAOF", "255.255.255.255", "1")


@dataclass(frozen=True)
class Places:
    """Which node plays which part in a round."""

    primary: str
    target: str
    sibling: str

    @property
    def names(self) -> dict[str, str]:
        return {self.primary: "primary", self.target: "target", self.sibling: "sibling", "proxy-1": "proxy"}


@dataclass(frozen=True)
class World:
    """What a verb finds: the parts of the nodes, the options that it is given, and who is the primary in the end."""

    places: Places
    data: dict[str, str]
    primary: str
    lossy: tuple[float, float] | None = None
    """Acknowledged writes of this time (monotonic seconds) may be lost."""

    own: str = ""
    """A key that one node alone holds, or what else the world had of its own."""

    replaced_since: float | None = None
    """What was acknowledged since then (monotonic seconds) is replaced, until a promotion; nothing is behind that."""


def nothing_before(_group: Sandbox) -> None:
    """What has to be there before clients write, for most verbs."""


def nothing_else(_group: Sandbox, _world: World) -> None:
    """What a verb keeps that promises no more than a healthy group."""


@dataclass(frozen=True)
class Verb:
    """A verb, a world for it, and what else has to be run until everybody is back.

    :param kept: sees what the verb promises besides a healthy group, as soon as it is done
    :param then: deploys with their options, in which a part stands for its node
    :param slowly: whether its time grows with the number of keys, so that clients write few
    :param startable: whether ``start`` can start everybody at any moment of it
    :param before: makes what has to be there before clients write
    :param always: sees what holds at any time, however a run ended
    """

    deploy: str
    world: Callable[[Sandbox, Places], World]
    then: tuple[str, ...] = ()
    kept: Callable[[Sandbox, World], None] = field(default=nothing_else)
    slowly: bool = False
    startable: bool = True
    before: Callable[[Sandbox], None] = field(default=nothing_before)
    always: Callable[[Sandbox, World], None] = field(default=nothing_else)

    def behind(self, world: World) -> list[tuple[str, dict[str, str]]]:
        """The deploys that are run behind the verb, with their options."""
        parts = {part: place for place, part in world.places.names.items()}
        rows = []
        for line in self.then:
            deploy, *options = line.split()
            given = dict(option.split("=") for option in options)
            rows.append((deploy, {name: parts.get(value, value) for name, value in given.items()}))
        return rows


def places_of(sandbox: Sandbox) -> Places:
    """The parts in the group as it is now, which is healthy."""
    primary = sandbox.primaries()[0]
    target, sibling = (node for node in NODES if node != primary)
    return Places(primary, target, sibling)


def _healthy(sandbox: Sandbox, places: Places) -> World:
    return World(places, {"to": places.target}, places.target)


def _primary_killed(sandbox: Sandbox, places: Places) -> World:
    """The one with more becomes the target, as failover chooses by itself."""
    began = time.monotonic()
    sandbox.kill(places.primary)
    lossy = (began - 1, time.monotonic())
    for node in (places.target, places.sibling):
        eventually(lambda node=node: sandbox.info(node)["master_link_status"] == "down", f"{node} notices it")
    offset = {node: int(str(sandbox.info(node)["slave_repl_offset"])) for node in (places.target, places.sibling)}
    if offset[places.sibling] > offset[places.target]:
        places = Places(places.primary, places.sibling, places.target)
    return World(places, {"to": places.target}, places.target, lossy)


def _stray_and_paused(sandbox: Sandbox, places: Places) -> World:
    """A replica was started guarded, and a dead run left its pause on the primary."""
    sandbox.ask(places.sibling, *GUARD)
    sandbox.ask(places.primary, "CLIENT", "PAUSE", ENDLESS, "WRITE")
    return World(places, {}, places.primary)


def _two_dead(sandbox: Sandbox, places: Places) -> World:
    sandbox.kill(places.sibling)
    sandbox.kill("proxy-1")
    return World(places, {}, places.primary)


def _superseded(sandbox: Sandbox, places: Places) -> World:
    """A switchover died before the old primary followed, so that is a primary still, and holds writes back."""
    behind_the_sibling = Moment("sibling: REPLICAOF target + CONFIG REWRITE #1", "answered")
    died = run_at(sandbox, "switchover", behind_the_sibling, "kill", places.names, to=places.target)
    assert died.code == -9, died.text
    return World(places, {"node": places.primary}, places.target)


def _alone(sandbox: Sandbox, places: Places) -> World:
    """Both replicas died: nobody follows, and ``min-replicas-to-write`` keeps clients from writing."""
    for node in (places.target, places.sibling):
        sandbox.kill(node)
    eventually(lambda: sandbox.info(places.primary)["connected_slaves"] == 0, "nobody follows the primary")
    return World(places, {"node": places.primary, "accept_minority_lock": "yes"}, places.primary)


def _to_fence(_sandbox: Sandbox, places: Places) -> World:
    return World(places, {"node": places.primary}, places.primary)


def _fenced(sandbox: Sandbox, places: Places) -> World:
    sandbox.run("fence", node=places.primary).ok()
    return World(places, {"node": places.primary}, places.primary)


def _paused(sandbox: Sandbox, places: Places) -> World:
    """As a switchover that died before its promotion."""
    sandbox.ask(places.primary, "CLIENT", "PAUSE", ENDLESS, "WRITE")
    return World(places, {}, places.primary)


def _diverged(sandbox: Sandbox, places: Places) -> World:
    """A replica was a primary for a moment, in which it took a write, and is guarded."""
    own = _write_alone(sandbox, places.sibling, ("REPLICAOF", "NO", "ONE"), GUARD)
    return World(places, {"accept_loss": places.sibling}, places.primary, own=own)


NOTED_LATER_SECONDS = 0.25


def _two_primaries(sandbox: Sandbox, places: Places) -> World:
    """A switchover died before the old primary followed, and that took a write since."""
    _superseded(sandbox, places)
    began = time.monotonic()
    own = _write_alone(sandbox, places.primary, ("CLIENT", "UNPAUSE"), ("PING",))
    # A proxy that looked just then took it for the primary, too; a busy writer notes its answer a little later.
    lossy = (began, time.monotonic() + NOTED_LATER_SECONDS)
    return World(places, {"accept_loss": places.primary}, places.target, lossy, own)


def _write_alone(sandbox: Sandbox, node: str, *around: tuple[str, ...]) -> str:
    """A write on one node between two commands, so fast that hardly any proxy sees it take writes."""
    for path in (sandbox.directory / node / "data").glob(f"{node}-*"):
        path.unlink()
    # Short, so that a file has it as it is.
    own = f"own:{secrets.token_hex(4)}"
    operator, application = sandbox.client(node), sandbox.client(node, "application")
    application.ping()
    first, last = around
    operator.pipeline(transaction=False).execute_command("CONFIG", "SET", "min-replicas-to-write", "0").execute_command(
        *first
    ).execute()
    application.set(own, "x")
    operator.pipeline(transaction=False).execute_command("CONFIG", "SET", "min-replicas-to-write", "1").execute_command(
        *last
    ).execute()
    for client in (operator, application):
        client.connection_pool.disconnect()
    return own


def _to_restart(sandbox: Sandbox, places: Places) -> World:
    """Another run knows by their age whom a killed one restarted, and servers tell that in whole seconds."""
    eventually(lambda: min(ages(sandbox)) >= 4, "everybody has run for a while")
    since = datetime.now(timezone.utc) + timedelta(seconds=2 - min(ages(sandbox)))
    data = {"to": places.target, "since": since.strftime("%Y-%m-%dT%H:%M:%SZ")}
    return World(places, data, places.target, own=" ".join(processes(sandbox)))


def _to_upgrade(sandbox: Sandbox, places: Places) -> World:
    """To a newer program, or back from it in the round behind that."""
    present = find_server(sandbox.engine)[1]
    newer = newer_than(present)
    program = present if version_of_node(sandbox, places.primary) == version_of(newer) else newer
    return World(places, {"to": places.target, "keydb_server": program}, places.target)


@cache
def newer_than(program: str) -> str:
    """A program of a newer version, which is there until this process ends."""
    directory = Path(tempfile.mkdtemp(prefix="kr-", dir="/tmp"))
    atexit.register(shutil.rmtree, directory)
    path = directory / Path(program).name
    renamed(program, path)
    return str(path)


def version_of_node(sandbox: Sandbox, node: str) -> str:
    """What a server says that its version is."""
    info = sandbox.info(node)
    return str(info.get("valkey_version") or info["redis_version"])


def ages(sandbox: Sandbox) -> list[int]:
    return [int(str(sandbox.info(node)["uptime_in_seconds"])) for node in NODES]


def processes(sandbox: Sandbox) -> list[str]:
    """What tells a server's process from the one before."""
    return [str(sandbox.info(node)["run_id"]) for node in NODES]


def _empty(sandbox: Sandbox, places: Places) -> World:
    """The primary lost its disk and was started without its guard, while its replicas followed nobody."""
    began = time.monotonic()
    for node in (places.target, places.sibling):
        sandbox.ask(node, *GUARD)
    sandbox.kill(places.primary)
    lossy = (began - 1, time.monotonic())
    data = sandbox.directory / places.primary / "data"
    shutil.rmtree(data)
    data.mkdir(mode=0o700)
    sandbox.boot(places.primary)
    assert sandbox.keys(places.primary) == 0
    offset = {node: int(str(sandbox.info(node)["slave_repl_offset"])) for node in (places.target, places.sibling)}
    if offset[places.sibling] > offset[places.target]:
        places = Places(places.primary, places.sibling, places.target)
    return World(places, {"to": places.target}, places.target, lossy)


def _without_one(sandbox: Sandbox, places: Places) -> World:
    """A machine that is empty: what it had left the group, and its disk is a new one."""
    sandbox.run("remove_node", node=places.sibling).ok()
    shutil.rmtree(sandbox.directory / places.sibling)
    return World(places, {"node": places.sibling}, places.primary)


def _to_remove(_sandbox: Sandbox, places: Places) -> World:
    return World(places, {"node": places.sibling}, places.primary)


def backups_of(sandbox: Sandbox) -> Path:
    return sandbox.directory / "backups"


def _to_back_up(sandbox: Sandbox, places: Places) -> World:
    return World(places, {"node": places.sibling, "save_to": str(backups_of(sandbox))}, places.primary)


def _backed_up(sandbox: Sandbox) -> None:
    sandbox.run("backup", save_to=str(backups_of(sandbox))).ok()


def _to_restore(sandbox: Sandbox, places: Places) -> World:
    """Clients have written since the backup."""
    (file,) = backups_of(sandbox).glob("*.rdb")
    own, began = f"own:{secrets.token_hex(4)}", time.monotonic()
    eventually(lambda: sandbox.writable(own), "clients write")
    data = {"backup": str(file), "accept_replace": "yes", "to": places.target}
    return World(places, data, places.target, own=own, replaced_since=began)


def _new_passwords(sandbox: Sandbox, places: Places) -> World:
    """Of everybody, in the inventory alone."""
    renew(sandbox)
    return World(places, {}, places.primary)


def _rotated(sandbox: Sandbox) -> None:
    """Servers take both passwords, and clients have the new one."""
    renew(sandbox)
    sandbox.run("rotate").ok()


def _to_finish(_sandbox: Sandbox, places: Places) -> World:
    return World(places, {"finish": "yes"}, places.primary)


# What a verb promises besides a healthy group


def _promoted(group: Sandbox, world: World) -> None:
    assert group.primaries() == [world.primary]
    assert group.on_disk(world.primary) == ""


def _follows(group: Sandbox, world: World) -> None:
    assert group.primaries() == [world.primary]
    assert group.on_disk(world.places.primary) == world.primary


def _restarted(group: Sandbox, world: World) -> None:
    assert not set(processes(group)) & set(world.own.split())


def _upgraded(group: Sandbox, world: World) -> None:
    wanted = version_of(world.data["keydb_server"])
    assert [version_of_node(group, node) for node in NODES] == [wanted] * len(NODES)


def _guarded(group: Sandbox, world: World) -> None:
    assert group.primaries() == []
    assert group.on_disk(world.places.primary) == " ".join(GUARD[1:])


def _takes_no_writes(group: Sandbox, world: World) -> None:
    assert not group.writable()
    assert "fenced" in group.findings()
    assert "fence-not-saved" not in group.findings()


def _takes_writes(group: Sandbox, _world: World) -> None:
    eventually(group.writable, "clients write")
    assert not {"fenced", "fence-not-saved"} & {*group.findings()}


def _saved_first(group: Sandbox, world: World) -> None:
    """What one node alone held is in a file with its description, and the list names it."""
    node = world.data["accept_loss"]
    files = [*(group.directory / node / "data").glob(f"{node}-*.rdb")]
    assert [file for file in files if world.own.encode() in file.read_bytes() and file.with_suffix(".json").exists()]
    lists = [*(group.directory / node / "data").glob(f"{node}-*.differences.json")]
    assert [file for file in lists if world.own in file.read_text()]


def _known(group: Sandbox, _world: World) -> None:
    assert "all as it should be" in group.run("drift").ok().text
    settings = [(group.directory / node / "boot-guard.env").read_text() for node in NODES]
    assert all(f"{node}=" in text for node in NODES for text in settings)


def _gone(group: Sandbox, world: World) -> None:
    node = world.data["node"]
    assert group.pid(node) is None
    assert [path.name for path in (group.directory / node).glob("*.env")] == []
    for other in (world.places.primary, world.places.target):
        assert f"{node}=" not in (group.directory / other / "boot-guard.env").read_text()
    assert f"server {node} " not in (group.directory / "proxy-1" / "haproxy.cfg").read_text()


def _only_whole(group: Sandbox, _world: World) -> None:
    """Whatever has a description is as that says; nothing else is taken for a backup."""
    for described in backups_of(group).glob("*.json"):
        told, file = json.loads(described.read_text()), described.with_suffix(".rdb")
        assert told["bytes"] == file.stat().st_size
        assert told["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()


def _one_more(group: Sandbox, world: World) -> None:
    """A whole backup of the node is there, and nothing else: neither here nor on a node."""
    _only_whole(group, world)
    files = {path.name for path in backups_of(group).iterdir()}
    whole = {path.stem for path in backups_of(group).glob("*.json")}
    assert whole and files == {f"{name}.{ending}" for name in whole for ending in ("json", "rdb")}
    assert not [path for node in NODES for path in (group.directory / node / "data").glob("backup-*")]


def _restored(group: Sandbox, world: World) -> None:
    """The backup's data are everywhere; what was written since is nowhere but in a file with its description."""
    eventually(lambda: len({group.keys(node) for node in NODES}) == 1, "everybody has the same")
    for node in NODES:
        assert group.ask(node, "EXISTS", world.own, role="application") == 0
        assert group.ask(node, "GET", "test:7", role="application") == "x" * 100
        assert not (group.directory / node / "data" / "restore").exists()
    files = [file for node in NODES for file in (group.directory / node / "data").glob(f"{node}-*.rdb")]
    assert [file for file in files if world.own.encode() in file.read_bytes() and file.with_suffix(".json").exists()]


def _takes_both(group: Sandbox, _world: World) -> None:
    """No client and none of ours is refused, whichever password it has, and replicas log in anew."""
    before = previous(group)
    for node in NODES:
        for passwords in (before, group.passwords):
            assert [role for role in ROLES if not logs_in(group, node, role, passwords[role])] == [], node
    link_anew(group)


def _takes_new(group: Sandbox, _world: World) -> None:
    before = previous(group)
    for node in NODES:
        assert [role for role in ROLES if logs_in(group, node, role, before[role])] == [], node
        assert [role for role in ROLES if not logs_in(group, node, role, group.passwords[role])] == [], node
    link_anew(group)


def _takes_any(group: Sandbox, _world: World) -> None:
    """A server that answers takes one of the two of each user."""
    before = previous(group)
    for node in filter(group.pid, NODES):
        for role in ROLES[:1] + ROLES[3:]:
            with suppress(redis.ConnectionError, redis.TimeoutError):
                assert any(logs_in(group, node, role, known[role]) for known in (before, group.passwords)), (node, role)


VERBS = {
    "switchover": Verb("switchover", _healthy),
    "failover": Verb("failover", _primary_killed, then=("start", "rejoin")),
    "failover-empty": Verb("failover", _empty, then=("rejoin",)),
    "rejoin": Verb("rejoin", _stray_and_paused),
    "rejoin-diverged": Verb("rejoin", _diverged, kept=_saved_first, slowly=True),
    "rejoin-two-primaries": Verb("rejoin", _two_primaries, kept=_saved_first, slowly=True),
    "promote": Verb("promote", _primary_killed, then=("start", "rejoin"), kept=_promoted),
    "demote": Verb("demote", _superseded, then=("rejoin",), kept=_follows),
    "demote-alone": Verb("demote", _alone, then=("start", "failover", "rejoin"), kept=_guarded),
    "fence": Verb("fence", _to_fence, then=("unfence node=primary",), kept=_takes_no_writes),
    "unfence": Verb("unfence", _fenced, kept=_takes_writes),
    "abort": Verb("abort", _paused),
    "restart": Verb("restart", _to_restart, kept=_restarted),
    "upgrade": Verb("upgrade", _to_upgrade, kept=_upgraded),
    "start": Verb("start", _two_dead, then=("rejoin",)),
    "add-node": Verb("add_node", _without_one, kept=_known, startable=False),
    "remove-node": Verb("remove_node", _to_remove, then=("add_node node=sibling",), kept=_gone, startable=False),
}
"""Every verb that moves or guards a role in a group that was founded; install's founding is told apart in its test."""

OTHERS = {
    "backup": Verb("backup", _to_back_up, kept=_one_more, always=_only_whole),
    "restore": Verb("restore", _to_restore, kept=_restored, slowly=True, before=_backed_up),
    "rotate": Verb("rotate", _new_passwords, kept=_takes_both, always=_takes_any),
    "rotate-finish": Verb("rotate", _to_finish, kept=_takes_new, before=_rotated, always=_takes_any),
}
"""Verbs about data and passwords, which are killed in tests of their own."""
