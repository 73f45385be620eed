"""The boot guard's rules, without servers: what was seen of a group is fed to the script itself, and it decides.

Worlds are built from sets of writes, so what a decision may never do is told without the script's own arithmetic.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path

import pytest

from keydb_runbooks.connectors.booting import settings_of
from keydb_runbooks.templates import render

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "templates" / "boot-guard.sh"
NODES = ("keydb-1", "keydb-2", "keydb-3")


@dataclass(frozen=True)
class Data:
    """What a node holds, and what its server can tell of that."""

    writes: frozenset[str]
    id: str
    offset: int = 0
    records: str = ""
    epoch: str = "1"

    @property
    def fields(self) -> dict[str, object]:
        return {
            "id": self.id,
            "offset": self.offset,
            "former": f",{self.records}",
            "records": self.records,
            "epoch": self.epoch,
            "keys": len(self.writes),
        }


def stream(name: str, last: int) -> frozenset[str]:
    """Ten bytes are a write."""
    return frozenset(f"{name}:{number}" for number in range(0, last, 10))


FIRST = "1" * 40
SECOND = "2" * 40
OLD = Data(stream("first", 50), FIRST, 50)
FORK = Data(stream("first", 100), FIRST, 100)
BEYOND = Data(stream("first", 150), FIRST, 150)
PROMOTED = Data(stream("first", 100) | stream("second", 40), SECOND, 40, f"{FIRST}:100", "2")
FOREIGN = Data(stream("foreign", 80), "f" * 40, 80)
TWICE = Data(PROMOTED.writes | stream("third", 20), "3" * 40, 20, f"{SECOND}:40,{FIRST}:100", "3")
"""Promoted again: the older one's stream is the second of its history."""
AGAIN = replace(TWICE, records=f"{FIRST}:100,{SECOND}:40,{FIRST}:50")
"""A history in which one stream stands twice: the newest entry counts."""
EMPTY = Data(frozenset(), "e" * 40, 0, "", "")
ALL_DATA = (OLD, FORK, BEYOND, PROMOTED, FOREIGN, EMPTY)


@dataclass(frozen=True)
class Seen:
    """A node as the script sees it: silent, a primary, a replica of ``source``, or guarded with its mark."""

    data: Data = FORK
    role: str = "replica"
    source: str = "keydb-1"
    guarded: bool = True
    answer: str = "yes"
    more: tuple[tuple[str, object], ...] = field(default=())

    @property
    def leads(self) -> bool:
        return self.answer == "yes" and self.role == "primary"

    def line(self, node: str) -> str:
        fields = {
            "answer": self.answer,
            "role": self.role,
            "guarded": "yes" if self.guarded else "no",
            "source": self.source,
            "fsync": "everysec",
            "priority": 100,
            **self.data.fields,
            **dict(self.more),
        }
        return " ".join([node, *(f"{key}={value}" for key, value in fields.items())])


def primary(data: Data, **more: object) -> Seen:
    return Seen(data, "primary", "", False, more=tuple(more.items()))


def guarded(data: Data, source: str = "keydb-1", **more: object) -> Seen:
    return Seen(data, source=source, more=tuple(more.items()))


def follows(data: Data, source: str = "keydb-1", **more: object) -> Seen:
    return Seen(data, source=source, guarded=False, more=tuple(more.items()))


def aof(seen: Seen, **more: object) -> Seen:
    """The same started from an AOF, which tells no position."""
    return replace(seen, more=(*seen.more, ("id", ""), ("offset", 0), *more.items()))


SILENT = Seen(answer="silent")


@dataclass(frozen=True)
class World:
    """What ``me`` sees; nodes in the order of their names."""

    nodes: tuple[Seen, ...]
    me: int = 0
    accept_gap: bool = False

    @property
    def mine(self) -> Seen:
        return self.nodes[self.me]

    @property
    def peers(self) -> tuple[Seen, ...]:
        return tuple(node for number, node in enumerate(self.nodes) if number != self.me)

    @property
    def text(self) -> str:
        head = f"{NODES[self.me]} {'yes' if self.accept_gap else 'no'}"
        return "\n".join([head, *(node.line(name) for name, node in zip(NODES, self.nodes, strict=True)), "", ""])


@dataclass(frozen=True)
class Decision:
    verdict: str
    target: str
    reason: str


def decide(worlds: Iterable[World]) -> list[Decision]:
    """Let the script decide each of them."""
    told = script("decide", text="".join(world.text for world in worlds))
    return [Decision(*line.split("\t")) for line in told.stdout.splitlines()]


def script(*words: str, text: str = "", **settings: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", str(SCRIPT), *words],
        input=text,
        env={"PATH": os.environ["PATH"], **{f"KEYDB_GUARD_{key}": str(value) for key, value in settings.items()}},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


# Every world


def every_world() -> Iterator[World]:
    """keydb-1 was started guarded, as a replica or as the primary; its peers are anything."""
    standings = [
        SILENT,
        *(primary(data) for data in ALL_DATA),
        *(guarded(data) for data in ALL_DATA),
        *(guarded(data, "keydb-2") for data in (OLD, BEYOND, PROMOTED)),
        *(follows(data) for data in (OLD, BEYOND, PROMOTED)),
        guarded(FORK, "keydb-3"),
    ]
    for data, source in product(ALL_DATA, NODES[:2]):
        for one, other in product(standings, standings):
            yield World((guarded(data, source), one, other))


@pytest.fixture(scope="module")
def decided() -> list[tuple[World, Decision]]:
    worlds = list(every_world())
    return list(zip(worlds, decide(worlds), strict=True))


def may_lead(world: World) -> bool:
    """All peers answer, none is primary, all name the same last primary, and this node holds all that any has."""
    mine = world.mine
    if any(
        peer.answer != "yes" or peer.leads or peer.source != mine.source or not peer.data.writes for peer in world.peers
    ):
        return False
    if not mine.data.writes or any(not peer.data.writes <= mine.data.writes for peer in world.peers):
        return False
    equals = [name for name, node in zip(NODES, world.nodes, strict=True) if node.data.writes == mine.data.writes]
    first = mine.source if mine.source in equals else min(equals)
    return NODES[world.me] == first


def may_follow(world: World, name: str) -> bool:
    """One primary and a majority answer, it is the one that is known or all answer, and it holds all there is."""
    chosen, mine = world.nodes[NODES.index(name)], world.mine
    silent = [peer for peer in world.peers if peer.answer != "yes"]
    if [peer for peer in world.peers if peer.leads] != [chosen] or len(silent) > 1:
        return False
    if not chosen.data.writes and mine.data.writes:
        return False
    if any(
        int(node.data.epoch or 0) > int(chosen.data.epoch)
        for node in world.nodes
        if node.answer == "yes" and chosen.data.epoch
    ):
        return False
    return (mine.source == name or not silent) and mine.data.writes <= chosen.data.writes


def test_in_every_world_it_leads_if_and_only_if_nothing_is_lost_and_nobody_else_may(decided):
    wrong = [(world.text, told) for world, told in decided if (told.verdict == "primary") != may_lead(world)]
    assert not wrong, f"{len(wrong)} of {len(decided)}: {wrong[0]}"
    assert sum(told.verdict == "primary" for _, told in decided) > 50


def test_in_every_world_it_follows_if_and_only_if_nothing_is_lost(decided):
    wrong = []
    for world, told in decided:
        allowed = [name for name in NODES[1:] if world.nodes[NODES.index(name)].leads and may_follow(world, name)]
        if allowed != ([told.target] if told.verdict == "follow" else []):
            wrong.append((world.text, told))
    assert not wrong, f"{len(wrong)} of {len(decided)}: {wrong[0]}"
    assert sum(told.verdict == "follow" for _, told in decided) > 50


def test_in_every_world_it_says_why_it_stays_guarded(decided):
    refused = [told for _, told in decided if told.verdict == "guarded"]
    assert {told.verdict for _, told in decided} == {"guarded", "follow", "primary"}
    assert all(re.search(r"; (run|start|stop|see) \S", told.reason) for told in refused)


def test_when_all_come_back_at_once_exactly_one_of_them_leads_if_one_holds_everything():
    groups = [
        tuple(guarded(one, source) for one, source in zip(data, sources, strict=True))
        for data in product(ALL_DATA, repeat=3)
        for sources in (*((node,) * 3 for node in NODES), NODES, ("keydb-2", "keydb-2", "keydb-3"))
    ]
    told = decide(World(group, me) for group in groups for me in range(3))
    for number, group in enumerate(groups):
        leaders = [one.verdict for one in told[3 * number : 3 * number + 3]].count("primary")
        everything = any(all(other.data.writes <= node.data.writes for other in group) for node in group)
        agreed = len({node.source for node in group}) == 1 and all(node.data.writes for node in group)
        assert leaders == (1 if everything and agreed else 0), group


# AOF: positions are unknown. A reign is one life of one primary: its epoch, and what it recorded when it began.

REIGN = f"{FIRST}:100"
LATER = f"{SECOND}:1,{REIGN}"
ALL_REIGNS = (
    Data(stream("a", 30), "", 0, "", "1"),
    Data(stream("a", 40), "", 0, REIGN, "1"),
    Data(stream("a", 50), "", 0, LATER, "1"),
    Data(stream("a", 60), "", 0, f"{'3' * 40}:1,{REIGN}", "2"),
    Data(stream("a", 70), "", 0, REIGN, ""),
    EMPTY,
)


def same_reign(older: Data, newer: Data) -> bool:
    """Whether ``older`` may be an earlier state of ``newer``, both written by one primary in one epoch."""
    known, newest = newer.records.split(","), older.records.split(",")[0]
    return bool(older.epoch) and older.epoch == newer.epoch and (not newest or newest in known)


def every_world_with_aof() -> Iterator[World]:
    standings = [
        SILENT,
        *(primary(data, id="9" * 40) for data in ALL_REIGNS[1:]),
        *(aof(guarded(data)) for data in ALL_REIGNS),
        *(follows(data, id="9" * 40, offset=900) for data in ALL_REIGNS[1:4]),
        aof(guarded(ALL_REIGNS[1], "keydb-2")),
    ]
    for data, source in product(ALL_REIGNS, NODES[:2]):
        for one, other in product(standings, standings):
            yield World((aof(guarded(data, source), fsync="always"), one, other))


def test_with_an_aof_it_leads_only_again_and_only_over_data_of_its_own_reign():
    worlds = list(every_world_with_aof())
    leads = returns = 0
    for world, told in zip(worlds, decide(worlds), strict=True):
        mine, peers = world.mine, world.peers
        allowed = (
            mine.source == "keydb-1"
            and bool(mine.data.writes)
            and all(peer.answer == "yes" and not peer.leads and peer.source == "keydb-1" for peer in peers)
            and all(peer.data.writes and same_reign(peer.data, mine.data) for peer in peers)
        )
        assert (told.verdict == "primary") == allowed, (world.text, told)
        leads += allowed
        if told.verdict == "follow":
            followed = world.nodes[NODES.index(told.target)]
            known = mine.source == told.target and same_reign(mine.data, followed.data)
            assert not mine.data.writes or known, (world.text, told)
            returns += bool(mine.data.writes)
    assert leads > 5 and returns > 5


# What it says

UNSYNCED = aof(guarded(ALL_REIGNS[0]))
SAYS = {
    "all are back": ([guarded(FORK)] * 3, "primary"),
    "a replica ran on": ([guarded(FORK), follows(FORK), guarded(OLD)], "primary"),
    "the primary holds less": ([guarded(FORK, "keydb-2"), guarded(OLD, "keydb-2"), guarded(OLD, "keydb-2")], "primary"),
    "its primary is there": ([guarded(OLD, "keydb-2"), primary(PROMOTED), SILENT], "follow"),
    "its primary was promoted twice since": ([guarded(FORK, "keydb-2"), primary(TWICE), SILENT], "follow"),
    "a stream that stands twice in a history": ([guarded(FORK, "keydb-2"), primary(AGAIN), SILENT], "follow"),
    "another primary is there, and all answer": ([guarded(OLD), primary(PROMOTED), guarded(FORK)], "follow"),
    "somebody gave it a role": ([follows(FORK), SILENT, SILENT], "done"),
    "somebody promoted it": ([primary(FORK), SILENT, SILENT], "done"),
    "its server is down": (
        [replace(SILENT, answer="does-not-answer"), SILENT, SILENT],
        "my own server NODE WHY; see its log",
    ),
    "two primaries": (
        [guarded(FORK), primary(FORK), primary(PROMOTED)],
        "NODE and NODE are primaries at once; run status",
    ),
    "a silent peer": (
        [guarded(FORK), SILENT, guarded(FORK)],
        "NODE was the primary, but NODE WHY, and every peer must answer; start NODE, or run failover",
    ),
    "an empty primary": (
        [guarded(FORK), primary(EMPTY), guarded(FORK)],
        "NODE is primary and holds nothing, but I hold N keys; run failover",
    ),
    "an older primary": (
        [guarded(PROMOTED), primary(FORK), SILENT],
        "NODE is the primary of epoch N, but NODE holds data of epoch N; stop NODE, then run failover",
    ),
    "a primary that the file does not name": (
        [guarded(OLD), primary(PROMOTED), SILENT],
        "NODE is primary, but my file names NODE, and NODE WHY; start NODE, or run rejoin",
    ),
    "a primary where the file names nobody": (
        [guarded(OLD, "?"), primary(PROMOTED), SILENT],
        "NODE is primary, but my file names no node of this group, and NODE WHY; start NODE, or run rejoin",
    ),
    "more than the primary": (
        [guarded(BEYOND, "keydb-2"), primary(PROMOTED), SILENT],
        "I hold N bytes that NODE, which is primary, never had; run rejoin",
    ),
    "a stranger to the primary": (
        [guarded(FOREIGN, "keydb-2"), primary(PROMOTED), SILENT],
        "I share no known history with NODE, which is primary; run rejoin",
    ),
    "an AOF beside a later primary": (
        [UNSYNCED, primary(PROMOTED), guarded(FORK)],
        "my AOF does not tell whether I hold more than NODE, which became primary since then; run rejoin",
    ),
    "no known primary": (
        [guarded(FORK, "?"), guarded(FORK), guarded(FORK)],
        "my file names no node of this group as the last primary; run failover",
    ),
    "an empty disk": (
        [guarded(EMPTY), follows(FORK), follows(FORK)],
        "I hold nothing: I must be nobody's source; run failover if no other node takes the role",
    ),
    "a replica with an AOF": (
        [aof(guarded(FORK, "keydb-2")), guarded(FORK, "keydb-2"), guarded(FORK, "keydb-2")],
        "NODE was the primary, and my AOF does not tell whether I hold more; see its boot-guard, or run failover",
    ),
    "a replica that ran on with more": (
        [guarded(OLD), follows(FORK), guarded(OLD)],
        "NODE was the primary, but NODE holds N bytes that I lack; run failover if no other node takes the role",
    ),
    "a stranger among the replicas": (
        [guarded(FORK), guarded(FOREIGN), guarded(FORK)],
        "NODE was the primary, but NODE shares no history with me that I know; "
        "run failover if no other node takes the role",
    ),
    "an AOF among the replicas": (
        [guarded(FORK), aof(guarded(FORK)), guarded(FORK)],
        "NODE was the primary, but the AOF of NODE does not tell whether it holds more; "
        "run failover if no other node takes the role",
    ),
    "an empty replica": (
        [guarded(FORK), guarded(EMPTY), guarded(FORK)],
        "NODE was the primary, but NODE holds nothing, and its disk may have held more than mine: is it there?; "
        "run failover if no other node takes the role",
    ),
    "a replica of somebody else": (
        [guarded(FORK), follows(FORK, "keydb-3"), guarded(FORK)],
        "NODE was the primary, but NODE follows NODE; run failover if no other node takes the role",
    ),
    "a replica of nobody in the group": (
        [guarded(FORK), follows(FORK, "?"), guarded(FORK)],
        "NODE was the primary, but NODE follows no node of this group; run failover if no other node takes the role",
    ),
    "another file names another": (
        [guarded(FORK), guarded(FORK, "keydb-3"), guarded(FORK)],
        "NODE was the primary, but NODE was started with a file that names NODE; "
        "run failover if no other node takes the role",
    ),
    "another file names itself": (
        [guarded(FORK), guarded(FORK, "keydb-2"), guarded(FORK)],
        "NODE was the primary, but NODE was started with a file that names itself as the last primary; "
        "run failover if no other node takes the role",
    ),
    "a later epoch": (
        [guarded(FORK), guarded(PROMOTED), guarded(FORK)],
        "NODE was the primary, but NODE holds data of epoch N, and mine are of epoch N; "
        "run failover if no other node takes the role",
    ),
    "another reign": (
        [aof(guarded(ALL_REIGNS[1])), aof(guarded(ALL_REIGNS[2])), aof(guarded(ALL_REIGNS[1]))],
        "NODE was the primary, but the data of NODE were not recorded under the same primary as mine; "
        "run failover if no other node takes the role",
    ),
    "an AOF that is not always synced": (
        [UNSYNCED] * 3,
        "NODE was the primary, but my AOF may lack its last seconds (appendfsync everysec), and NODE may have them; "
        "run failover if no other node takes the role",
    ),
    "no epoch": (
        [guarded(replace(FORK, epoch=""), "keydb-2"), *[guarded(replace(OLD, epoch=""), "keydb-2")] * 2],
        "NODE was the primary and holds less than I, but my data have no epoch; run failover",
    ),
    "never a primary": (
        [guarded(FORK, "keydb-2", priority=0), guarded(OLD, "keydb-2"), guarded(OLD, "keydb-2")],
        "NODE was the primary and holds less than I, but my replica-priority is N; run failover",
    ),
    "another one's turn": (
        [guarded(FORK, "keydb-2"), guarded(FORK, "keydb-2"), guarded(OLD, "keydb-2")],
        "NODE holds as much as I and comes before me; see its boot-guard, or run failover",
    ),
}


@pytest.mark.parametrize("title", SAYS)
def test_it_says_in_one_sentence_what_it_decided(title):
    nodes, expected = SAYS[title]
    told = decide([World(tuple(nodes))])[0]
    if expected in ("primary", "follow", "done"):
        assert told.verdict == expected, told
    else:
        assert (told.verdict, generalised(told.reason)) == ("guarded", expected)


def generalised(reason: str) -> str:
    reason = re.sub(r"keydb-\d (silent|does-not-answer)|(?<=my own server )does-not-answer", "NODE WHY", reason)
    return re.sub(r"\b\d+\b", "N", re.sub(r"keydb-\d", "NODE", reason))


MINORITY = "only N of N nodes answer, and the others may have another primary; start NODE and NODE"


def test_in_a_group_of_four_a_half_follows_nobody():
    nodes = [guarded(OLD, "keydb-2"), primary(PROMOTED), SILENT, SILENT]
    names = [*NODES, "keydb-4"]
    text = "\n".join(["keydb-1 no", *(node.line(name) for name, node in zip(names, nodes, strict=True)), "", ""])
    verdict, _, reason = script("decide", text=text).stdout.rstrip("\n").split("\t")
    assert (verdict, generalised(reason)) == ("guarded", MINORITY)


def test_every_silent_node_is_named():
    told = decide([World((guarded(FORK), SILENT, SILENT))])[0]
    assert "keydb-2 silent, keydb-3 silent, and every peer must answer; start keydb-2 and keydb-3, or" in told.reason


def test_the_page_explains_every_message_and_no_other():
    page = (ROOT / "docs" / "boot-guard.md").read_text()
    told = re.findall(r"^\| `(.+?)` \|", page[page.index("| message |") : page.index("## Each case")], re.MULTILINE)
    assert sorted(told) == sorted({MINORITY, *(sentence for _, sentence in SAYS.values() if " " in sentence)})


def test_each_reason_that_the_script_has_is_on_the_page():
    """No world above may be missing for a sentence: what stands in the script's text is looked for, piece by piece."""
    page = (ROOT / "docs" / "boot-guard.md").read_text()
    explained = " ".join(page[page.index("## What it says") : page.index("## Each case")].split())
    reasons = re.findall(r'reason\+?=(?:\$\{reason:-)?"([^"]+)"', SCRIPT.read_text())
    pieces = {generalised(piece).strip(" ;,()") for text in reasons for piece in re.split(r"\$\{[^}]*\}|\$\w+", text)}
    assert len(pieces) > 40
    assert [piece for piece in sorted(pieces) if piece not in explained] == []


def test_the_page_and_the_script_name_the_same_settings():
    page, text = (ROOT / "docs" / "boot-guard.md").read_text(), SCRIPT.read_text()
    listed = set(re.findall(r"^\| `(KEYDB_GUARD_\w+)` \|", page, re.MULTILINE))
    assert listed == set(re.findall(r"^#   (KEYDB_GUARD_\w+) ", text, re.MULTILINE))


def test_seconds_that_an_aof_may_lack_can_be_accepted():
    assert [decide([World((UNSYNCED,) * 3, accept_gap=accepted)])[0].verdict for accepted in (False, True)] == [
        "guarded",
        "primary",
    ]


@pytest.mark.parametrize(
    ("priorities", "leader"), [((100, 100), "keydb-2"), ((100, 50), "keydb-3"), ((0, 100), "keydb-3")]
)
def test_of_replicas_that_hold_the_same_priority_and_name_choose(priorities, leader):
    replicas = [guarded(FORK, priority=priority) for priority in priorities]
    told = decide(World((guarded(OLD), *replicas), me) for me in range(3))
    assert [NODES[me] for me in range(3) if told[me].verdict == "primary"] == [leader]


# Before the start


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, object]:
    (tmp_path / "keydb.conf").write_text("")
    return {
        "NODE": "keydb-1",
        "NODES": "keydb-1=10.0.0.1:6379 keydb-2=10.0.0.2:6379 keydb-3=fd00::3:6379",
        "CONFIG": tmp_path / "keydb.conf",
    }


def mark_of(node: str, settings: dict[str, object]) -> str:
    """The mark of the node that is started as a primary."""
    Path(str(settings["CONFIG"])).write_text("port 6379\n")
    words = script("pre", **{**settings, "NODE": node}).stdout.split()
    assert words[:2] == ["--replicaof", "255.255.255.255"]
    return words[2]


@pytest.mark.parametrize(
    ("line", "last"),
    [
        ("", "keydb-1"),
        ("replicaof no one", "keydb-1"),
        ("replicaof 10.0.0.2 6379", "keydb-2"),
        ("REPLICAOF 10.0.0.2 6379", "keydb-2"),
        ('slaveof "10.0.0.2" 6379', "keydb-2"),
        ("   replicaof\t10.0.0.2   6379  ", "keydb-2"),
        ("replicaof fd00::3 6379", "keydb-3"),
        ("replicaof 10.0.0.2 6379\nreplicaof fd00::3 6379", "keydb-3"),
        ("# replicaof 10.0.0.2 6379", "keydb-1"),
        ("replicaof 10.0.0.2 6380", "?"),
        ("replicaof 255.255.255.255 1", "?"),
        ("replicaof 255.255.255.255 MARK", "keydb-2"),
    ],
)
def test_the_mark_of_a_start_is_the_last_primary_of_the_file(settings, line, last):
    mark = "1" if last == "?" else mark_of(last, settings)
    Path(str(settings["CONFIG"])).write_text(f"port 6379\n{line.replace('MARK', mark_of('keydb-2', settings))}\ndir /x")
    told = script("pre", **settings)
    assert told.stdout == f"--replicaof 255.255.255.255 {mark}\n", told.stderr
    assert told.stderr.endswith(f"the last primary that my file names is {last}\n")


def test_a_mark_is_a_port_and_another_one_for_each_node_whatever_their_order(settings):
    marks = [mark_of(node, settings) for node in NODES]
    assert len(set(marks)) == 3
    assert all(1000 <= int(mark) < 65000 for mark in marks)
    settings["NODES"] = " ".join(reversed(str(settings["NODES"]).split()))
    assert [mark_of(node, settings) for node in NODES] == marks


def test_a_command_behind_pre_is_run_with_the_arguments_behind_it(settings):
    told = script("pre", "printf", "%s|", "one word", **settings)
    assert told.stdout.split("|")[:3] == ["one word", "--replicaof", "255.255.255.255"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"NODE": ""}, "KEYDB_GUARD_NODE is not set"),
        ({"NODES": ""}, "KEYDB_GUARD_NODES is not set"),
        ({"NODE": "keydb-9"}, "KEYDB_GUARD_NODE: 'keydb-9' is not in KEYDB_GUARD_NODES"),
        ({"NODES": "keydb-1"}, "'keydb-1' is not NAME=HOST:PORT"),
        ({"NODES": "keydb-1=10.0.0.1:6379 a b=x:1"}, "'a' is not NAME=HOST:PORT"),
        ({"NODES": "keydb-1=10.0.0.1:6379 keydb-1=10.0.0.2:6379"}, "keydb-1 has another node's mark; rename it"),
        ({"CONFIG": "/nowhere/keydb.conf"}, "'/nowhere/keydb.conf' can't be read"),
        ({"line": "include /etc/keydb/more.conf"}, "what stands there is not read; move it into this file"),
        ({"line": "active-replica yes"}, "such a server takes writes whatever it follows"),
        ({"line": "multi-master yes"}, "such a server takes writes whatever it follows"),
        ({"line": "cluster-enabled yes"}, "such a server takes writes whatever it follows"),
        ({"line": "replica-read-only no"}, "guarded it would take writes; set it to yes"),
        ({"line": "slave-read-only no"}, "guarded it would take writes; set it to yes"),
    ],
)
def test_what_can_not_be_guarded_is_not_started(settings, change, sentence):
    Path(str(settings["CONFIG"])).write_text(f"{change.pop('line', '')}\n")
    told = script("pre", "echo", "started", **{**settings, **change})
    assert (told.returncode, told.stdout) == (2, "")
    assert told.stderr.startswith("boot-guard: error: ")
    assert sentence in told.stderr


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({}, "KEYDB_GUARD_AUTH is not set"),
        ({"AUTH": "/nowhere/operator.auth"}, "'/nowhere/operator.auth' can't be read"),
        ({"AUTH": "/dev/null", "TLS_CA": "/nowhere/ca.pem"}, "'/nowhere/ca.pem' can't be read"),
        ({"AUTH": "/dev/null", "WAIT": "soon"}, "'soon' is no number of seconds"),
        ({"AUTH": "/dev/null", "WAIT": "x[$(touch /tmp/never)]"}, "is no number of seconds"),
        ({"AUTH": "/dev/null", "ACCEPT_AOF_GAP": "maybe"}, "allowed are yes and no"),
    ],
)
def test_what_post_can_not_use_is_told(settings, change, sentence):
    told = script("post", **settings, **change)
    assert told.returncode == 2
    assert sentence in told.stderr


def test_settings_that_can_be_used_are_no_error(settings, tmp_path):
    (tmp_path / "auth").write_text("AUTH operator secret\n")
    told = script("check", **settings, AUTH=tmp_path / "auth")
    assert (told.returncode, told.stdout, told.stderr) == (0, "", "")


def test_what_is_installed_can_be_used_whatever_its_paths_are(settings, tmp_path):
    odd = tmp_path / "it's a $(touch never) path"
    odd.mkdir()
    for name in ("keydb.conf", "operator.auth", "ca.pem"):
        (odd / name).write_text("")
    text = render(
        "boot-guard.env.j2",
        node="keydb-1",
        nodes=settings["NODES"],
        config=str(odd / "keydb.conf"),
        auth=str(odd / "operator.auth"),
        tls_ca=str(odd / "ca.pem"),
    )
    (odd / "boot-guard.env").write_text(text)
    shell = ["sh", "-c", 'set -a && . "$1" && exec bash "$2" check', "sh", str(odd / "boot-guard.env"), str(SCRIPT)]
    told = subprocess.run(shell, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (told.returncode, told.stderr) == (0, "")
    assert settings_of(odd)["KEYDB_GUARD_CONFIG"] == str(odd / "keydb.conf")
    assert not (tmp_path / "never").exists()


def test_nobody_at_all_answers(settings, tmp_path):
    (tmp_path / "auth").write_text("AUTH operator secret\n")
    told = script("post", **{**settings, "NODES": "keydb-1=127.0.0.1:1", "AUTH": tmp_path / "auth", "WAIT": 0})
    assert told.returncode == 0
    assert told.stderr == "boot-guard: guarded: my own server does not answer; see its log\n"


def test_an_unknown_step_is_told():
    told = script("after")
    assert (told.returncode, told.stderr) == (
        2,
        "boot-guard: error: say pre, post, check or decide; the head of this file says more\n",
    )
