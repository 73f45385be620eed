"""How plans and failures are laid out for a terminal of 80 columns."""

from worlds import group, guarded, orphan, primary, proxy, replica, silent

from keydb_runbooks.operations.show import WIDTH, failure_lines, plan_lines, refusal_lines
from keydb_runbooks.runbooks import failover, fence, promote, rejoin, switchover
from keydb_runbooks.runbooks.plan import Plan, Refusal, Request

HEALTHY = group(primary(1), replica(2), replica(3), proxy(1))


def shown(to: str | None = None) -> list[str]:
    plan = switchover.plan(HEALTHY, Request(to=to), 1)
    assert isinstance(plan, Plan)
    return plan_lines(plan)


def marked(lines: list[str]) -> list[str]:
    return [line for line in lines if line.startswith(">")]


def test_what_it_comes_to_stands_before_what_it_rests_on_and_commands_come_last():
    lines = shown()
    places = [lines.index(title) for title in ("evidence (UTC)", "candidates", "steps")]
    assert lines[0].startswith("plan: ")
    assert next(number for number, line in enumerate(lines) if line.startswith("predicted loss")) < places[0]
    assert places == sorted(places)


def test_the_last_line_of_a_plan_says_who_becomes_primary_and_what_that_may_lose():
    assert shown()[-1] == "keydb-2 becomes primary instead of keydb-1; predicted loss: 0 bytes"
    dead = failover.plan(group(silent(1, "refused", stopped=True), orphan(2), proxy()), Request(), 1)
    told = "keydb-2 becomes primary instead of keydb-1; predicted loss: unknown"
    assert plan_lines(dead)[-1] == told
    joined = rejoin.plan(group(primary(1), orphan(2, 9)), Request(), 1)
    assert plan_lines(joined)[-1] == "keydb-1 stays primary; predicted loss: 0 bytes"
    promoted = promote.plan(group(guarded(1), guarded(2)), Request(to="keydb-2"), 1)
    assert plan_lines(promoted)[-1] == "keydb-2 becomes primary; predicted loss: unknown"
    stopped = fence.plan(HEALTHY, Request(node="keydb-3"), 1)
    last = " ".join(" ".join(plan_lines(stopped)[-3:]).split())
    assert last.endswith(f"{stopped.outcome}; predicted loss: {stopped.loss.bytes} bytes")


def test_the_chosen_node_is_marked_and_why_if_it_is_not_the_first():
    assert [line.split()[1:3] for line in marked(shown())] == [["1.", "keydb-2"]]
    assert "chosen all the same" not in " ".join(shown())

    lines = shown("keydb-3")

    assert [line.split()[1:3] for line in marked(lines)] == [["2.", "keydb-3"]]
    assert "chosen all the same, by to=keydb-3" in " ".join(" ".join(lines).split())


def test_lines_fit_and_no_name_is_broken_at_its_hyphen():
    lines = [line for line in shown("keydb-3") if "set server" not in line]
    assert max(map(len, lines)) <= WIDTH
    assert not [line for line in lines if line.endswith("-") and line.strip() != "-" and not line.endswith(" -")]


def test_nobody_is_marked_in_a_refusal():
    refusal = failover.plan(group(orphan(2), orphan(3), silent(1), proxy()), Request(to="keydb-1"), 1)
    assert isinstance(refusal, Refusal)
    lines = refusal_lines(refusal)
    assert max(map(len, lines)) <= WIDTH
    assert marked(lines) == []


def test_the_command_that_goes_on_is_a_line_of_its_own():
    command = "pyinfra inventories/sandbox.py deploys/switchover.py --data to=keydb-1 --data group=demo"
    lines = failure_lines(f"failed and incomplete, 3 steps are left: run this to finish: {command}", command)
    assert lines == ["failed and incomplete, 3 steps are left: run this to finish:", f"  {command}"]
    assert failure_lines("refused: a b: c; d\nrefused: e f: g; h", None) == ["refused: a b: c; d", "refused: e f: g; h"]
