"""Upgrade: who is restarted with which program, and which program nobody is restarted with."""

from dataclasses import replace

import pytest
from worlds import codes, group, lines, primary, proxy, replica, service

from keydb_runbooks.runbooks.plan import NothingToDo, Plan, Refusal, Request
from keydb_runbooks.runbooks.steps_restart import Restart, RestartAlone, UseProgram
from keydb_runbooks.runbooks.upgrade import Program, of_pods, planned

NEW = Program("/opt/keydb-server", "keydb", "6.3.5", 9, 9)
ANY = Request()
THREE = (primary(1), replica(2), replica(3), proxy(1))


def asked(*members, program=NEW, request=ANY, **others):
    programs = {f"keydb-{number}": program for number in (1, 2, 3)} | others
    return planned(programs)(group(*members), request, 1)


def turn(node):
    return [f"LookAgain keydb-{node}", f"UseProgram keydb-{node}", f"Restart keydb-{node}", f"BackInSync keydb-{node}"]


def test_each_node_gets_its_program_straight_before_it_is_restarted():
    plan = asked(*THREE)
    assert lines(plan)[:9] == [*turn(2), *turn(3), "LookAgain keydb-1"]
    assert lines(plan)[-4:] == turn(1)
    assert plan.verb == "upgrade"
    assert plan.steps[1] == UseProgram("keydb-2", "/opt/keydb-server")
    restarts = [step for step in plan.steps if isinstance(step, Restart)]
    assert {(step.told, step.version) for step in restarts} == {("KeyDB 6.3.4 -> 6.3.5", "6.3.5")}
    assert plan.again == ()


def test_the_only_node_gets_its_program_before_its_writes_are_held_back():
    plan = asked(primary(1), proxy(1, nodes=1))
    assert lines(plan)[:4] == ["LookAgain keydb-1", "UseProgram keydb-1", "Pause keydb-1", "RestartAlone keydb-1"]
    assert plan.steps[3] == RestartAlone("keydb-1", "run-1", "KeyDB 6.3.4 -> 6.3.5", "6.3.5", keys=True)


def test_who_runs_the_version_already_is_left_alone():
    plan = asked(THREE[0], replica(2, version="6.3.5"), *THREE[2:])
    assert lines(plan)[:5] == [*turn(3), "LookAgain keydb-1"]
    assert str(plan.evidence[1]).endswith(", is left alone: it runs what its program is")


def test_nothing_is_left_to_do_where_all_run_it():
    newer = [replace(node, version="6.3.5") for node in THREE[:3]]
    told = NothingToDo("already-done", "demo", "every node runs what its program is; keydb-1 is the primary")
    assert asked(*newer, proxy(1)) == told


def test_an_older_version_that_reads_the_same_files_is_all_right():
    assert isinstance(asked(*THREE, program=replace(NEW, version="6.3.3")), Plan)


REFUSALS = [
    (Program("/opt/x"), {}, "program-unknown keydb-1: its program /opt/x does not say its version; is it there, and may it be executed? See keydb_server"),
    (Program("/opt/x", "keydb"), {}, "program-unknown keydb-1: its program /opt/x does not say its version; is it there, and may it be executed? See keydb_server"),
    (replace(NEW, path="/opt/a-new-build-of-keydb-server"), {}, "program-unknown keydb-1: its program /opt/a-new-build-of-keydb-server has a name by which nobody would know its process as a server's; let its name begin with keydb-server"),
    (replace(NEW, path="/keydb/run"), {}, "program-unknown keydb-1: its program /keydb/run has a name by which nobody would know its process as a server's; let its name begin with keydb-server"),
    (replace(NEW, engine="redis", version="7.0.15"), {}, "other-engine keydb-1: runs KeyDB 6.3.4, and /opt/keydb-server is Redis 7.0.15; name a program of its engine by keydb_server"),
    (replace(NEW, format=None), {}, "format-unknown keydb-1: whether 6.3.5 reads what 6.3.4 writes is unknown: the one or the other did not tell; try the program there, or accept=older-format"),
    (replace(NEW, running_format=None), {}, "format-unknown keydb-1: whether 6.3.5 reads what 6.3.4 writes is unknown: the one or the other did not tell; try the program there, or accept=older-format"),
    (replace(NEW, format=8), {}, "older-format keydb-1: writes RDB version 9, and 6.3.5 reads 8 at most; it would neither load its file nor a full resync; accept=older-format if you know better"),
    (NEW, {"keydb-3": replace(NEW, version="6.3.6")}, "several-versions demo: the programs are 6.3.5 on keydb-2 and 6.3.6 on keydb-3; give all nodes the same one"),
]  # fmt: skip


@pytest.mark.parametrize(("program", "others", "sentence"), REFUSALS)
def test_a_refusal_names_the_fact_the_node_and_the_way_on(program, others, sentence):
    answer = asked(*THREE, program=program, **others)
    assert isinstance(answer, Refusal) and str(answer) == f"refused: {sentence}"


def test_every_refusal_has_a_case():
    assert codes("Refusal", "upgrade") - {"pods-unread"} == {sentence.split()[0] for *_, sentence in REFUSALS}


@pytest.mark.parametrize("program", [replace(NEW, format=8), replace(NEW, format=None)])
def test_what_a_refusal_offers_is_enough_to_go_on(program):
    assert isinstance(asked(*THREE, program=program, request=Request(accept=frozenset({"older-format"}))), Plan)


def test_the_format_of_who_is_left_alone_is_nobodys_business():
    newer = [replace(node, version="6.3.5") for node in THREE[:3]]
    assert isinstance(asked(*newer, program=replace(NEW, format=None)), NothingToDo)


def pods(*outdated, request=ANY):
    return of_pods(frozenset(outdated))(group(*THREE[:3], service(1)), request, 1)


def test_of_pods_those_are_replaced_that_run_as_they_were_installed_before():
    plan = pods("keydb-3")
    assert lines(plan) == ["LookAgain keydb-3", "Restart keydb-3", "BackInSync keydb-3", "LabelPods keydb-write"]
    (restart,) = [step for step in plan.steps if isinstance(step, Restart)]
    assert (restart.told, restart.version) == ("KeyDB 6.3.4 as it was installed before", None)
    assert str(plan.evidence[0]).endswith(", is left alone: it runs as it was installed last")
    assert isinstance(pods(), NothingToDo)


def test_a_primary_on_an_old_pod_gives_the_role_away_and_all_labels_are_set_at_the_end():
    told = lines(pods("keydb-1"))
    assert told[0] == "LookAgain keydb-1" and "MoveService keydb-write" in told
    assert told[-3:] == ["Restart keydb-1", "BackInSync keydb-1", "LabelPods keydb-write"]
    assert told.count("LabelPods keydb-write") == 1


def test_a_run_stays_with_the_processes_that_it_saw_first_whatever_their_pods_are_by_now():
    request = Request(processes=frozenset({THREE[1].run_id}))
    assert lines(pods("keydb-3", request=request))[0] == "LookAgain keydb-2"


def test_where_pods_cannot_be_told_apart_nothing_is_called_up_to_date():
    assert str(of_pods(frozenset(), unread="pods is forbidden")(group(*THREE[:3], service(1)), ANY, 1)) == (
        "refused: pods-unread demo: pods is forbidden; get the right to read pods and statefulsets "
        "(docs/kubernetes.md, Rights); or run restart"
    )
