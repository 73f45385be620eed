"""A fault of one node or the proxy in the middle of a verb, on real servers behind relays.

Every run ends in one of four ways, nothing is lost that the plan didn't call lost, and when the fault is gone a person
who does what is printed comes to a healthy group. ``make test`` tries each verb, node, fault and moment somewhere,
``make test-ci`` every pair of two of them, ``make test-all`` everything, on each engine.
"""

from __future__ import annotations

import re
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from kit import NODES, WRITES_PER_SECOND, Result, Sandbox, Writer, eventually, writing
from moments import Moment, list_of, run_at
from pairs import Row, each_value, every_row, pairs_of, pairwise
from verbs import VERBS, World, places_of

from demo.measure import find_lost, read_journal

PROMOTE = (
    "target: CONFIG SET min-replicas-to-write 0 + REPLICAOF NO ONE + SET runbook:epoch"
    " + CONFIG SET min-replicas-to-write 1 #1"
)
GUARD = "primary: CONFIG SET replica-read-only yes + REPLICAOF 255.255.255.255 1 + CONFIG REWRITE #1"
TRIAL = "primary: SET runbook:verify + EVAL return 1 0 #1"

MOMENTS = {
    "switchover": {
        "before": Moment("primary: CLIENT PAUSE 1500 WRITE #1", "before"),
        "within": Moment("primary: CLIENT PAUSE 1000000000000 WRITE #1", "answered"),
        "behind": Moment(PROMOTE, "answered"),
    },
    "failover": {
        "before": Moment(PROMOTE, "before"),
        "within": Moment(PROMOTE, "answered"),
        "behind": Moment("sibling: REPLICAOF target + CONFIG REWRITE #1", "answered"),
    },
    "failover-empty": {
        "before": Moment("primary: CLIENT PAUSE 1000000000000 WRITE #1", "before"),
        "within": Moment(PROMOTE, "before"),
        "behind": Moment("primary: REPLICAOF target + CONFIG REWRITE #1", "answered"),
    },
    "rejoin": {
        "before": Moment("primary: CLIENT UNPAUSE #1", "before"),
        "within": Moment("sibling: REPLICAOF primary + CONFIG REWRITE #1", "before"),
        "behind": Moment("sibling: REPLICAOF primary + CONFIG REWRITE #1", "answered"),
    },
    "rejoin-diverged": {
        "before": Moment("sibling: BGSAVE #1", "before"),
        "within": Moment("sibling: BGSAVE #1", "answered"),
        "behind": Moment("sibling: REPLICAOF primary + CONFIG REWRITE #1", "answered"),
    },
    "rejoin-two-primaries": {
        "before": Moment(GUARD, "before"),
        "within": Moment("primary: BGSAVE #1", "answered"),
        "behind": Moment("primary: REPLICAOF target + CONFIG REWRITE #1", "answered"),
    },
    "promote": {
        "before": Moment(PROMOTE, "before"),
        "within": Moment(PROMOTE, "answered"),
        "behind": Moment("target: CONFIG REWRITE #1", "answered"),
    },
    "demote": {
        "before": Moment("primary: REPLICAOF target + CONFIG REWRITE #1", "before"),
        "within": Moment("primary: REPLICAOF target + CONFIG REWRITE #1", "answered"),
        "behind": Moment("primary: CLIENT UNPAUSE #1", "answered"),
    },
    "demote-alone": {
        "before": Moment(GUARD, "before"),
        "within": Moment(GUARD, "answered"),
        "behind": Moment("primary: INFO #3", "answered"),
    },
    "restart": {
        "before": Moment("target: REPLICAOF primary + CONFIG REWRITE #1", "before"),
        "within": Moment(PROMOTE, "answered"),
        "behind": Moment("primary: REPLICAOF target + CONFIG REWRITE #2", "before"),
    },
    "fence": {
        "before": Moment("primary: ACL + CONFIG REWRITE #1", "before"),
        "within": Moment("primary: ACL + CONFIG REWRITE #1", "answered"),
        "behind": Moment(TRIAL, "answered"),
    },
    "unfence": {
        "before": Moment("primary: ACL + CONFIG REWRITE #1", "before"),
        "within": Moment("primary: ACL + CONFIG REWRITE #1", "answered"),
        "behind": Moment(TRIAL, "answered"),
    },
    "abort": {
        "before": Moment("primary: CLIENT UNPAUSE #1", "before"),
        "within": Moment("primary: CLIENT UNPAUSE #1", "answered"),
        "behind": Moment("proxy: SET runbook:verify #1", "answered"),
    },
}
"""Directly before the first change; when it is half done or not looked at yet; near the end."""

FACTORS = {
    "verb": tuple(MOMENTS),
    "where": ("primary", "target", "sibling", "proxy"),
    "fault": ("killed", "frozen", "cut off", "slow", "full disk", "new password"),
    "moment": ("before", "within", "behind"),
}

ENDS = ("done:", "nothing to do:", "refused:", "failed and unchanged", "failed and incomplete")

DEAD = {"failover": ("primary",), "promote": ("primary",), "demote-alone": ("target", "sibling")}
"""Who is dead already in the world that a verb finds."""


STAYS = ("promote", "demote", "restart", "fence", "unfence")
"""Whose promise still holds when everybody is back, unless the fault itself moved the role."""


def possible(row: Row) -> bool:
    """A proxy has no disk that matters here and no password of ours."""
    verb, where, fault, _ = row
    if where == "proxy":
        return fault not in ("full disk", "new password")
    return where not in DEAD.get(verb, ())


ROWS = every_row(FACTORS, possible)
CHOSEN = pairwise(ROWS)
FEW = each_value(CHOSEN)


def test_every_pair_of_values_is_tried() -> None:
    tried = {pair for row in CHOSEN for pair in pairs_of(row)}
    assert tried == {pair for row in ROWS for pair in pairs_of(row)}
    # As few rows as there can be: each has one pair of a verb and a fault.
    assert len(CHOSEN) == len(FACTORS["verb"]) * len(FACTORS["fault"])


@pytest.fixture
def networked(networked: Sandbox) -> Iterator[Sandbox]:
    yield networked
    list_of(networked).unlink(missing_ok=True)


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
        "new password": f"{sys.executable} {password_script(group, node, 'another')}",
    }[fault]


def password_script(group: Sandbox, node: str, new: str) -> Path:
    """A program that gives the operator another password on one server; its links stay logged in."""
    old = group.passwords["operator"] if new == "another" else "another"
    return operators_script(
        group,
        "rotate.py",
        node,
        old,
        f"server.execute_command('ACL SETUSER', 'operator', 'resetpass', {'>' + new!r})\n",
    )


def link_script(group: Sandbox, node: str) -> Path:
    """A program that waits until a replica has noticed that its link broke."""
    return operators_script(
        group,
        "noticed.py",
        node,
        group.passwords["operator"],
        "import time\n"
        "end = time.monotonic() + 20\n"
        "while server.info('replication').get('master_link_status') == 'up' and time.monotonic() < end:\n"
        "    time.sleep(0.01)\n",
    )


def operators_script(group: Sandbox, name: str, node: str, password: str, lines: str) -> Path:
    """A program of this name that has the operator's link to one server as ``server``."""
    path = group.directory / name
    path.write_text(
        f"import redis\nserver = redis.Redis(host={group.address_of(node)!r}, port={group.port_of(node)}, "
        f"username='operator', password={password!r}, protocol=2, driver_info=None)\n{lines}"
    )
    return path


def end(group: Sandbox, fault: str, node: str) -> None:
    """End a fault; a dead server is started, guarded, by a person."""
    if fault == "killed":
        eventually(lambda: group.pid(node) is None, f"{node} is dead")
        group.run("start").ok()
    elif fault == "frozen":
        group.thaw(node)
    elif fault in ("cut off", "slow"):
        group.network.heal()
    elif fault == "full disk":
        pid = group.pid(node)
        assert pid is not None
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))
    else:
        exec(password_script(group, node, group.passwords["operator"]).read_text(), {})
    for one in NODES:
        if group.pid(one):
            eventually(lambda one=one: group.answers(one), f"{one} answers", 20)


# Runs


def told(result: Result) -> str:
    """How a run ended, in its own words."""
    assert "Traceback" not in result.text, result.text
    ends = [word for word in ENDS if said(word, result)]
    assert ends, result.text
    assert (result.code == 0) == (ends[-1] in ("done:", "nothing to do:")), result.text
    return ends[-1]


def said(word: str, result: Result) -> bool:
    """Whether a run says this of its end; ``node-refused:`` is a node's."""
    return re.search(rf"(?<![\w-]){word}", result.text) is not None


class Person:
    """Does what is printed, and notes which loss was announced."""

    def __init__(self, group: Sandbox, verb: str, world: World) -> None:
        self.group = group
        self.wish = (VERBS[verb].deploy, dict(world.data))
        self.announced: list[str] = []
        self.log: list[str] = []

    def note(self, deploy: str, result: Result) -> None:
        self.log.append(f"{deploy}: {told(result)}\n{result.text}")
        if not said("refused:", result) and re.search(r"predicted loss +(unknown|[1-9])", result.text):
            self.announced.append(result.text)

    def run(self, deploy: str, **data: str) -> Result:
        result = self.group.run(deploy, **data)
        self.note(deploy, result)
        return result

    def finish(self) -> None:
        """The verb again, and whatever a refusal names, until the verb says that it is done; rejoin the same way."""
        for wish in (self.wish, ("rejoin", self.spared(self.log[-1]))):
            self.wish = wish
            deadline = time.monotonic() + 40
            while time.monotonic() < deadline:
                result = self.run(wish[0], **wish[1])
                if result.code == 0:
                    break
                self.help(result)
            else:
                raise AssertionError(f"{wish[0]} never ended in done:\n" + "\n".join(self.log))

    def help(self, result: Result) -> None:
        """What a person does who reads a refusal."""
        # As it is read, over the ends of lines.
        text = " ".join(result.text.split())
        if found := re.search(r"run (failover|rejoin|start)\b", text[text.rfind("refused:") :]):
            self.follow(found[1])
        elif "accept_loss=" in text:
            self.wish[1].update(self.spared(text))
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
    writer.stop()
    writes = read_journal(writer.journal)
    server = group.client("proxy-1", "application", timeout=10)
    try:
        gone = find_lost(writes, server)
    finally:
        server.connection_pool.disconnect()
    begin, end = world.lossy or (0.0, 0.0)
    return sum(1 for one in gone if not begin <= one.seconds <= end)


def disturb(group: Sandbox, row: Row) -> None:
    verb, where, fault, moment = row
    at = MOMENTS[verb][moment]
    with writing(group, 50 if VERBS[verb].slowly else WRITES_PER_SECOND) as writer:
        world = VERBS[verb].world(group, places_of(group))
        node = {name: place for place, name in world.places.names.items()}[where]
        disturbed = run_at(
            group,
            VERBS[verb].deploy,
            at,
            begin(group, fault, node),
            world.places.names,
            **world.data,
        )
        person = Person(group, verb, world)
        person.note(verb, disturbed)
        print(f"{', '.join(row)}: {told(disturbed)}")
        assert at.command in list_of(group).read_text().splitlines(), disturbed.text
        end(group, fault, node)
        for deploy, _ in VERBS[verb].behind(world):
            if deploy == "start":
                group.run("start").ok()
        person.finish()
        if verb in STAYS and group.primaries() == [world.primary]:
            VERBS[verb].kept(group, world)
        for deploy, data in VERBS[verb].behind(world):
            if deploy == "unfence":
                person.run(deploy, **data).ok()
        primaries = group.primaries()
        assert len(primaries) == 1, person.log
        group.healthy(primaries[0])
        writer.write_on(0.1, 20)
        assert lost(group, writer, world) == 0 or person.announced, "\n".join(person.log)


@pytest.mark.first_engine
@pytest.mark.parametrize("row", FEW, ids="-".join)
def test_a_fault_in_the_middle_of_a_verb_ends_well(networked: Sandbox, row: Row) -> None:
    disturb(networked, row)


@pytest.mark.in_ci
@pytest.mark.first_engine
@pytest.mark.parametrize("row", [row for row in CHOSEN if row not in FEW], ids="-".join)
def test_every_two_of_verb_node_fault_and_moment_end_well_together(networked: Sandbox, row: Row) -> None:
    disturb(networked, row)


@pytest.mark.slow
@pytest.mark.parametrize("row", [row for row in ROWS if row not in CHOSEN], ids="-".join)
def test_every_fault_at_every_moment_of_every_verb_ends_well(networked: Sandbox, row: Row) -> None:
    disturb(networked, row)


@pytest.mark.first_engine
def test_nobody_waits_for_a_replica_of_a_primary_that_no_longer_answers(networked: Sandbox) -> None:
    world = VERBS["failover"].world(networked, places_of(networked))
    placed = {place: name for name, place in world.places.names.items()}
    target = placed["target"]
    kill = f"{begin(networked, 'killed', target)}; {sys.executable} {link_script(networked, placed['sibling'])}"

    told = run_at(networked, "failover", MOMENTS["failover"]["behind"], kill, world.places.names, **world.data)

    assert f"{target}, its primary, no longer answers: the link to" in " ".join(told.text.split()), told.text
    assert said("failed and incomplete", told)
    assert "(3 s of 60 s" not in told.text
