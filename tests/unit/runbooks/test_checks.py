"""Every pre-check: what makes it fail, word for word, for each verb; what overrides it; and that all are told at once."""

from dataclasses import replace
from pathlib import Path

import pytest
from worlds import GOOD, ROOMY, codes, group, link, orphan, primary, proxy, replica, silent

from keydb_runbooks.runbooks import failover, switchover
from keydb_runbooks.runbooks.checks import ACCEPT, CHECKS, ERROR, LAG, NONE, Findings, check, codes_that_can_be_accepted
from keydb_runbooks.runbooks.checks_server import Situation, enough
from keydb_runbooks.runbooks.made import HINTS as MADE
from keydb_runbooks.runbooks.plan import Plan, Refusal, Request
from keydb_runbooks.runbooks.proxy import Proxy, ProxyServer

PAGE = Path(__file__).parents[3] / "docs" / "checks.md"
TO_2 = Request(to="keydb-2")
DEAD = silent(1, "refused", stopped=True)


def told(verb: str, *members, request: Request = TO_2, min_replicas: int = 1) -> Findings:
    seen = group(*members)
    source = next(iter(seen.primaries), None)
    target = seen.node("keydb-2")
    others = tuple(node for node in seen.nodes if node not in (source, target))
    return check(verb, Situation(seen, target, source, others, request, min_replicas))


def lines(found: Findings) -> list[str]:
    return [*map(str, found.refusals), *(f"warning: {warning}" for warning in found.warnings)]


def how(**changes):
    return {"condition": replace(GOOD, **changes)}


def where(**changes):
    return {"machine": replace(ROOMY, **changes)}


def unreached(status: str = "DOWN", check_result: str = "L4CON") -> Proxy:
    servers = (ProxyServer("keydb-1", True, "UP", "L7OK", 0), ProxyServer("keydb-2", False, status, check_result, 0))
    return Proxy("proxy-1", "demo-write", "demo-read", servers, (), round_trip_seconds=0.002)


LOG = "look at its log and its disk"
CHOOSE = "look at its log and its disk, or choose another target"
FD = "the connection that has it can hang or be cut"
START = "run restart when the group is well: it gives every node a new process"

# (the members of the group, what a switchover to keydb-2 is told)
SWITCHOVERS = [
    ((primary(1, offset=49112), replica(2)), "refused: replica-lagging keydb-2: is 48,112 bytes behind; wait, or allow_lag=64k"),
    ((primary(1, offset=33769), replica(2)), "refused: replica-lagging keydb-2: is 32,769 bytes behind; wait, or allow_lag=64k"),
    ((primary(1), replica(2, **how(behind_bytes=48_112))), "refused: replica-lagging keydb-2: is 48,112 bytes behind; wait, or allow_lag=64k"),
    ((primary(1), replica(2, **how(saved=False, dumped=False))), f"refused: target-refuses-writes keydb-2: could not save its data, and refuses every write until it can (stop-writes-on-bgsave-error); {CHOOSE}"),
    ((primary(1), replica(2, **how(aof=True, logged=False))), f"refused: target-refuses-writes keydb-2: can't write its AOF, and refuses every write until it can; {CHOOSE}"),
    ((primary(1), replica(2, **how(saved=False, dumped=False, stops=False))), f"refused: persistence-failing keydb-2: could not save its data last time; {LOG}, or accept=persistence-failing"),
    ((primary(1), replica(2, **how(logged=False))), f"refused: persistence-failing keydb-2: could not write its AOF last time; {LOG}, or accept=persistence-failing"),
    ((primary(1), replica(2, **how(saves=False))), "warning: less-durable keydb-2 keeps nothing on disk, but keydb-1 did; a restart of it would be empty; choose another target"),
    ((primary(1, **how(saving=True)), replica(2)), "warning: saving keydb-1 is saving its data: it is slower meanwhile; wait if that matters"),
    ((primary(1), replica(2, **how(saving=True))), "warning: saving keydb-2 is saving its data: it is slower meanwhile; wait if that matters"),
    ((primary(1), replica(2, **where(disk_free=1024 * 1024 - 1))), "refused: disk-full keydb-2: has 1,048,575 bytes of free disk: its role and its data can't be saved; make room, or accept=disk-full"),
    ((primary(1), replica(2, **how(dataset_bytes=1_048_577), **where(disk_free=1_048_576))), "warning: disk-short keydb-2 has 1,048,576 bytes of free disk for 1,048,577 bytes of data; make room before it saves, or needs a full resync"),
    ((primary(1, memory_limit=1), replica(2, memory_used=1, memory_limit=1)), "warning: memory-nearly-full keydb-2 uses 1 bytes of 1; raise keydb_maxmemory soon"),
    ((primary(1, **where(disk_free=0)), replica(2)), "refused: disk-full keydb-1: has 0 bytes of free disk: its role and its data can't be saved; make room, or accept=disk-full"),
    ((primary(1, condition=replace(GOOD, dataset_bytes=9_000_000), **where(disk_free=8_999_999)), replica(2)), "warning: disk-short keydb-1 has 8,999,999 bytes of free disk for 9,000,000 bytes of data; make room before it saves, or needs a full resync"),
    ((primary(1), replica(2, memory_used=9, memory_limit=100)), "warning: memory-smaller keydb-2 has a memory limit of 100 bytes, keydb-1's is none; give all nodes the same keydb_maxmemory"),
    ((primary(1, memory_limit=2), replica(2, memory_used=0, memory_limit=1)), "warning: memory-smaller keydb-2 has a memory limit of 1 bytes, keydb-1's is 2 bytes; give all nodes the same keydb_maxmemory"),
    ((primary(1, memory_limit=101), replica(2, memory_used=9, memory_limit=100)), "warning: memory-smaller keydb-2 has a memory limit of 100 bytes, keydb-1's is 101 bytes; give all nodes the same keydb_maxmemory"),
    ((primary(1, memory_limit=100), replica(2, memory_used=90, memory_limit=100)), "warning: memory-nearly-full keydb-2 uses 90 bytes of 100; raise keydb_maxmemory soon"),
    ((primary(1), replica(2, memory_used=1001, **where(memory_available=1000))), "warning: fork-memory keydb-2 uses 1,001 bytes, and its machine has 1,000 more; a save or a full resync may run out of memory at worst"),
    ((primary(1, **how(clients_limit=9)), replica(2, **how(clients_limit=9))), "refused: clients-limit keydb-2: takes 9 clients, and keydb-1 has 10; raise its maxclients, or accept=clients-limit"),
    ((primary(1), replica(2, **how(clients_limit=9_999))), "warning: clients-fewer keydb-2 takes 9,999 clients, keydb-1 10,000; give all nodes the same maxclients"),
    ((primary(1, **how(blocked_clients=1)), replica(2)), "warning: clients-blocked keydb-1 has 1 clients that wait in a blocking command; they get -UNBLOCKED; see that they try again"),
    ((primary(1), replica(2, **where(descriptor="closed"))), f"refused: descriptor-target keydb-2: its file descriptor 0 is closed: {FD}; {START}, or accept=descriptor-target"),
    ((primary(1), replica(2, **where(descriptor="socket"))), f"refused: descriptor-target keydb-2: its file descriptor 0 is a client's: {FD}; {START}, or accept=descriptor-target"),
    ((primary(1), replica(2, **how(client_descriptor=True))), f"refused: descriptor-target keydb-2: its file descriptor 0 is a client's: {FD}; {START}, or accept=descriptor-target"),
    ((primary(1, **where(descriptor="closed")), replica(2)), f"warning: descriptor keydb-1 its file descriptor 0 is closed: {FD}; {START}"),
    ((primary(1), replica(2), replica(3, **how(client_descriptor=True))), f"warning: descriptor keydb-3 its file descriptor 0 is a client's: {FD}; {START}"),
    ((primary(1), replica(2, read_only=False)), "refused: target-writable keydb-2: is a replica that takes writes of its own: what it holds may differ; set replica-read-only yes and let it sync anew, or accept=target-writable"),
    ((primary(1), replica(2, **how(config_file=""))), "refused: no-config-file keydb-2: runs without a configuration file: its role can't be saved; start it from its file, or accept=no-config-file"),
    ((primary(1), replica(2, config_replicaof="")), "warning: not-saved keydb-2 runs with replicaof 10.0.0.1 6379, its file says none; this verb saves it"),
    ((primary(1, config_replicaof="10.0.0.2 6379"), replica(2)), "warning: not-saved keydb-1 runs with replicaof none, its file says 10.0.0.2 6379; this verb saves it"),
    ((primary(1), replica(2, **how(clock_seconds=1.5))), "warning: clock-skew keydb-2 its clock is 1.5 s ahead of keydb-1's: keys end that much early; look at its time service"),
    ((primary(1, **how(clock_seconds=3.0)), replica(2, **how(clock_seconds=1.0))), "warning: clock-skew keydb-2 its clock is 2.0 s behind keydb-1's: keys end that much late; look at its time service"),
    ((primary(1), replica(2, engine="redis")), "refused: engine-differs keydb-2: runs redis, but keydb-1 keydb: one may not read the other's data; choose another target, or accept=engine-differs"),
    ((primary(1, version="6.2.9"), replica(2)), "warning: version-newer keydb-2 runs 6.3.4, keydb-1 6.2.9: a full resync may fail there; upgrade keydb-1 soon"),
    ((primary(1), replica(2), unreached()), "refused: target-unreached keydb-2: proxy-1 gets no answer from it (DOWN, L4CON); mend the way from proxy-1, or wait for its next check, or accept=target-unreached"),
    ((primary(1, **how(input_bytes_per_second=20_000)), replica(2)), "warning: backlog-short keydb-2 its backlog of 1,000,000 bytes holds 50 s of writes at 20,000 bytes/s; raise keydb_backlog_size: who is away for longer needs a full resync"),
    ((primary(1), replica(2), replica(3, links=(link(1, up=False, syncing=True),))), "warning: sibling-syncing keydb-3 is in the middle of a full resync, and will begin anew; wait if that matters"),
    ((primary(1), replica(2, paused=None)), "warning: pause-unknown keydb-2 did not show whether it holds writes back; run this again if it is busy"),
    ((primary(1), replica(2, machine=None)), "warning: machine-unknown keydb-2 its machine did not tell of its disk; look at it yourself"),
    ((primary(1, **where(disk_free=None)), replica(2)), "warning: machine-unknown keydb-1 its machine did not tell of its disk; look at it yourself"),
]  # fmt: skip

# (the members of the group, what a failover to keydb-2 is told)
FAILOVERS = [
    ((orphan(2, **how(saved=False, dumped=False)),), f"refused: target-refuses-writes keydb-2: could not save its data, and refuses every write until it can (stop-writes-on-bgsave-error); {CHOOSE}"),
    ((orphan(2, **how(saved=False, dumped=False, stops=False)),), f"warning: accepted: persistence-failing keydb-2 could not save its data last time; {LOG}"),
    ((orphan(2, **how(saves=False)), orphan(3)), "warning: less-durable keydb-2 keeps nothing on disk, but keydb-3 did; a restart of it would be empty; choose another target"),
    ((orphan(2, **where(disk_free=0)),), "warning: disk-full keydb-2 has 0 bytes of free disk: its role and its data can't be saved; make room"),
    ((orphan(2, **where(descriptor="closed")),), f"warning: descriptor-target keydb-2 its file descriptor 0 is closed: {FD}; {START}"),
    ((orphan(2, **how(clock_seconds=-1.5)),), "warning: clock-skew keydb-2 its clock is 1.5 s behind the operator's: keys end that much late; look at its time service"),
    ((orphan(2, version="6.3.4"), orphan(3, version="6.2.9")), "warning: version-newer keydb-2 runs 6.3.4, keydb-3 6.2.9: a full resync may fail there; upgrade keydb-3 soon"),
    ((orphan(2), unreached("DOWN", "L4TOUT")), "refused: target-unreached keydb-2: proxy-1 gets no answer from it (DOWN, L4TOUT); mend the way from proxy-1, or wait for its next check, or accept=target-unreached"),
]  # fmt: skip


@pytest.mark.parametrize("uptime, there", [(4, False), (5, True), (None, True)])
def test_a_proxy_that_has_not_checked_again_says_nothing_of_a_server_that_was_just_started(uptime, there):
    found = told("failover", orphan(2, **how(uptime_seconds=uptime)), unreached())
    assert ("target-unreached" in " ".join(lines(found))) is there


@pytest.mark.parametrize("members, sentence", SWITCHOVERS)
def test_a_check_of_a_switchover_fails_in_these_words(members, sentence):
    assert lines(told("switchover", *members)) == [sentence]


@pytest.mark.parametrize("members, sentence", FAILOVERS)
def test_a_check_of_a_failover_fails_in_these_words(members, sentence):
    assert lines(told("failover", *members)) == [sentence.replace("accepted: ", "")]


def test_a_group_in_order_is_told_nothing():
    assert lines(told("switchover", primary(1), replica(2), replica(3), proxy(1))) == []
    assert lines(told("failover", orphan(2), orphan(3), proxy())) == []


@pytest.mark.parametrize(
    "members",
    [
        (primary(1), replica(2, paused=True, offset=0), replica(3)),
        (primary(1, offset=33768), replica(2)),
        (primary(1, offset=99_999), replica(2, **how(behind_bytes=0))),
        (primary(1), replica(2, memory_used=89, memory_limit=100), replica(3, memory_limit=100)),
        (primary(1, **how(clients=None, clients_limit=1)), replica(2, **how(clients_limit=1))),
        (primary(1), replica(2, **how(clients_limit=None))),
        (primary(1, **how(clients_limit=None, clients=None)), replica(2)),
        (primary(1, engine="redis", **where(descriptor="closed")), replica(2, engine="redis")),
        (primary(1), replica(2, **how(clock_seconds=1.0))),
        (primary(1, **how(clock_seconds=9.0)), replica(2, **how(clock_seconds=9.5))),
        (primary(1), replica(2, **how(dataset_bytes=1_048_576), **where(disk_free=1_048_576))),
        (primary(1), replica(2, **how(clock_seconds=None))),
        (primary(1, **how(clock_seconds=None)), replica(2, **how(clock_seconds=9.0))),
        (primary(1), replica(2, config_replicaof=None)),
        (primary(1, version="6.3.1"), replica(2)),
        (primary(1), replica(2), unreached("MAINT", "L4CON")),
        (primary(1), replica(2), unreached("DOWN", "L7RSP")),
        (primary(1), replica(2, paused=None, loading=True)),
        (primary(1, **how(input_bytes_per_second=16_666)), replica(2)),
        (primary(1, **how(input_bytes_per_second=None)), replica(2, backlog_size=0)),
        (primary(1, **how(input_bytes_per_second=20_000)), replica(2, backlog_size=1_200_000)),
        (primary(1, **how(clients_limit=10)), replica(2, **how(clients_limit=10))),
        (primary(1), replica(2, **how(logged=None, saved=None, stops=None, saves=None, saving=None, aof=None))),
        (primary(1), replica(2, **where(memory_available=None))),
        (primary(1, **how(dataset_bytes=None)), replica(2)),
        (primary(1), replica(2, memory_used=10, **where(memory_available=10))),
        (primary(1), replica(2), replica(3, links=())),
    ],
)
def test_what_is_in_order_or_unknown_fails_no_check(members):
    fine = [line for line in lines(told("switchover", *members)) if "memory-smaller" not in line]
    assert fine == []


def test_as_many_replicas_as_it_needs_will_follow_or_it_would_refuse_every_write():
    sentence = "will have 1 replicas of the 2 that it needs, and refuse every write"
    hint = "start and rejoin the others first, or lower min-replicas-to-write"
    found = told("switchover", primary(1), replica(2), min_replicas=2)
    assert lines(found) == [f"refused: too-few-replicas keydb-2: {sentence}; {hint}, or accept=too-few-replicas"]
    assert lines(told("failover", orphan(2), orphan(3), min_replicas=2)) == [
        f"warning: too-few-replicas keydb-2 {sentence}; {hint}"
    ]
    assert lines(told("switchover", primary(1), replica(2), replica(3), min_replicas=2)) == []
    # Without any other node the plan takes the setting back by itself.
    assert lines(told("failover", orphan(2), min_replicas=2)) == []


def test_a_lag_may_be_allowed_up_to_a_size():
    members = (primary(1, offset=49112), replica(2))
    assert lines(told("switchover", *members, request=Request(to="keydb-2", allow_lag=48112))) == []
    assert lines(told("switchover", *members, request=Request(to="keydb-2", allow_lag=48111))) != []
    assert lines(told("switchover", primary(1, offset=1001), replica(2), request=Request(allow_lag=0))) != []


@pytest.mark.parametrize("size, shown", [(1, "1k"), (1000, "1k"), (1001, "2k"), (48112, "64k"), (64000, "64k"), (64001, "128k")])  # fmt: skip
def test_the_lag_that_is_offered_is_enough(size, shown):
    assert enough(size) == shown


def test_an_accepted_error_becomes_a_warning_that_says_so():
    request = Request(to="keydb-2", accept=frozenset({"clients-limit"}))
    found = told("switchover", primary(1), replica(2, **how(clients_limit=9)), request=request)
    sentence = "keydb-2 takes 9 clients, and keydb-1 has 10; raise its maxclients"
    fewer = "clients-fewer keydb-2 takes 9 clients, keydb-1 10,000; give all nodes the same maxclients"
    assert (found.refusals, found.warnings) == ((), (f"accepted by accept=clients-limit: {sentence}", fewer))


@pytest.mark.parametrize("code", ["replica-lagging", "target-refuses-writes"])
def test_what_has_another_way_out_or_none_can_not_be_accepted(code):
    members = (primary(1, offset=49112), replica(2, **how(saved=False, dumped=False)))
    found = told("switchover", *members, request=Request(accept=frozenset({code})))
    assert {refusal.code for refusal in found.refusals} == {"replica-lagging", "target-refuses-writes"}


def test_all_that_fails_is_told_at_once_errors_first():
    bad = replica(2, config_replicaof="", read_only=False, **how(clients_limit=9, saving=True))
    answer = switchover.plan(group(primary(1), bad), TO_2, 1)
    assert isinstance(answer, Refusal)
    assert [line.split()[:2] for line in str(answer).splitlines()] == [
        ["refused:", "clients-limit"],
        ["refused:", "target-writable"],
        ["warning:", "saving"],
        ["warning:", "clients-fewer"],
        ["warning:", "not-saved"],
    ]


def test_harm_to_others_is_told_together_with_the_checks():
    answer = switchover.plan(group(primary(1), replica(2, read_only=False), orphan(3, offset=3345)), TO_2, 1)
    assert [line.split()[1] for line in str(answer).splitlines()] == ["diverged", "target-writable"]


def test_warnings_are_part_of_the_plan():
    answer = switchover.plan(group(primary(1), replica(2, **how(saving=True))), TO_2, 1)
    assert isinstance(answer, Plan)
    assert answer.warnings == ("saving keydb-2 is saving its data: it is slower meanwhile; wait if that matters",)


def test_failover_too_tells_its_checks_in_the_plan_or_refuses():
    members = (DEAD, orphan(2, **how(saved=False, dumped=False)))
    answer = failover.plan(group(*members), Request(), 0)
    assert isinstance(answer, Refusal) and answer.code == "target-refuses-writes" and answer.evidence
    plan = failover.plan(group(DEAD, orphan(2, **where(disk_free=0)), orphan(3)), TO_2, 1)
    assert [warning.split()[0] for warning in plan.warnings] == ["disk-full"]


def test_without_a_name_a_replica_that_fails_no_check_is_chosen():
    members = (primary(1), replica(2, **how(clients_limit=9)), replica(3))
    assert switchover.plan(group(*members), Request(), 1).primary == "keydb-3"
    members = (DEAD, orphan(2, **how(saved=False, dumped=False)), orphan(3))
    assert failover.plan(group(*members), Request(), 1).primary == "keydb-3"


def test_without_a_name_and_without_anybody_who_passes_the_best_ones_checks_are_told():
    bad = how(clients_limit=9)
    answer = switchover.plan(group(primary(1), replica(2, **bad), replica(3, priority=50, **bad)), Request(), 1)
    assert (answer.code, answer.where) == ("clients-limit", "keydb-3")
    bad = how(saved=False, dumped=False)
    answer = failover.plan(group(DEAD, orphan(2, **bad), orphan(3, priority=50, **bad)), Request(), 1)
    assert (answer.code, answer.where) == ("target-refuses-writes", "keydb-3")


def test_every_check_has_a_case_in_which_it_fails():
    cases = {sentence.split()[1] for _, sentence in [*SWITCHOVERS, *FAILOVERS]}
    assert {row.code for row in CHECKS} - cases == {"too-few-replicas", *MADE}, "test_made has the latter"


def test_codes_are_told_apart_and_each_override_is_one_of_two():
    codes = [row.code for row in CHECKS]
    assert len(set(codes)) == len(codes)
    assert {row.override for row in CHECKS} <= {"", LAG, ACCEPT}
    assert all(row.override == "" or ERROR in (row.switchover, row.failover) for row in CHECKS)
    assert all((row.switchover, row.failover) != (NONE, NONE) for row in CHECKS)
    assert codes_that_can_be_accepted() == tuple(row.code for row in CHECKS if row.override == ACCEPT)


def test_the_page_has_the_table_as_the_program_has_it():
    page = PAGE.read_text()
    rows = [
        f"| `{row.code}` | {row.must_hold} | {row.switchover.value} | {row.failover.value} | {row.override and f'`{row.override}`'} |"
        for row in CHECKS
    ]
    table = [line for line in page.splitlines() if line.startswith("| `") and line.count("|") == 6]
    assert table == [row.replace("|  |", "| |") for row in rows]


def test_every_refusal_of_both_verbs_has_a_row_on_the_page_or_has_a_case_elsewhere():
    rows = "\n".join(line for line in PAGE.read_text().splitlines() if line.startswith("| `"))
    told = codes("Refusal", "switchover", "failover", "refusals", "evidence")
    assert [code for code in sorted(told) if f"`{code.replace('*', '...')}`" not in rows] == []
