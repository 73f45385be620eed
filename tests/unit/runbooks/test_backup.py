"""Backup: whose data are saved, and what a person is told of that; which backups go; what a check of a file says."""

from dataclasses import replace

import pytest
from worlds import codes, group, guarded, orphan, primary, proxy, replica, silent

from keydb_runbooks.runbooks import backup
from keydb_runbooks.runbooks.plan import Plan, Refusal, Request
from keydb_runbooks.runbooks.rdb import read_check
from keydb_runbooks.runbooks.rescue import Room
from keydb_runbooks.runbooks.shelf import Backup, Shelf, backup_name, expired, is_backup_of
from keydb_runbooks.runbooks.steps_backup import MakeBackup

SHELF = Shelf("backups", (Backup("old", 2.0), Backup("older", 9.0)), ("rest.part",))
HEALTHY = group(primary(1), replica(2), replica(3, offset=1001), proxy(1))


def plan(topology, shelf=SHELF, **wishes):
    return backup.plan(topology, Request(**wishes), 1, shelf)


@pytest.mark.parametrize(
    "topology, wishes, node, warned",
    [
        (HEALTHY, {}, "keydb-2", ""),
        (group(primary(1), replica(2), replica(3, priority=200)), {}, "keydb-3", ""),
        (group(primary(1), replica(2, priority=200), replica(3, priority=0)), {}, "keydb-3", ""),
        (group(primary(1, offset=10**9), replica(2, priority=0), replica(3, offset=10**9 - 2**24)), {}, "keydb-3", ""),
        (group(primary(1, offset=10**9), replica(2), replica(3, offset=10**9 - 2**24 - 1)), {}, "keydb-2", ""),
        (HEALTHY, {"node": "keydb-2"}, "keydb-2", ""),
        (HEALTHY, {"node": "keydb-1"}, "keydb-1", "keydb-1 is the primary, and is saved since you named it"),
        (group(primary(1), replica(3), replica(2)), {}, "keydb-2", ""),
        (group(primary(1), replica(2, loading=True), replica(3)), {}, "keydb-3", ""),
        (group(primary(1), orphan(2), replica(3, of=2), silent(4)), {"node": "keydb-2"}, "keydb-2", "is not in sync with keydb-1"),
        (group(guarded(1), guarded(2)), {"node": "keydb-2"}, "keydb-2", "no node is known to be the primary"),
        (group(primary(1)), {}, "keydb-1", "it is the only node"),
    ],
)  # fmt: skip
def test_the_best_replica_is_saved_and_the_primary_never_unasked(topology, wishes, node, warned):
    made = plan(topology, **wishes)
    assert isinstance(made, Plan), made
    assert [step.where for step in made.steps] == [node, node, "here"]
    assert made.steps[0] == MakeBackup(node, "keydb", f"run-{node[-1]}")
    assert made.outcome == f"backups has a backup of {node}"
    assert " ".join(made.warnings).startswith(warned) if warned.startswith(node) else warned in " ".join(made.warnings)
    assert bool(made.warnings) is bool(warned)
    assert made.locks is False
    assert not any(step.changes for step in made.steps)


REFUSED = {
    "no-node-answers": (group(silent(1), silent(2)), {}),
    "no-replica-in-sync": (group(primary(1), orphan(2), silent(3)), {}),
    "unknown-node": (HEALTHY, {"node": "keydb-9"}),
    "node-unread": (group(primary(1), silent(2)), {"node": "keydb-2"}),
    "loading": (group(primary(1), replica(2, loading=True)), {"node": "keydb-2"}),
    "cluster-mode": (group(primary(1, cluster=True)), {}),
}


@pytest.mark.parametrize("code", REFUSED)
def test_what_is_not_known_is_refused(code):
    topology, wishes = REFUSED[code]
    answer = plan(topology, **wishes)
    assert isinstance(answer, Refusal)
    assert answer.code == code


def test_a_group_without_a_primary_saves_nobody_unasked_and_names_everybody():
    answer = plan(group(guarded(1), guarded(2, keys=7)))
    assert answer.code == "no-replica-in-sync"
    assert "keydb-1 (5 keys), keydb-2 (7 keys)" in answer.hint


def test_every_refusal_has_a_case():
    assert codes("Refusal", "backup") - {"no-room"} <= set(REFUSED)


def test_a_backup_that_does_not_fit_is_refused_and_what_is_unknown_is_tried():
    made = plan(HEALTHY)
    refusal = backup.refuse_room(made, "backups", Room(100, 99))
    told = "a backup needs up to 100 bytes on its disk and in backups, and 99 are free"
    hint = "make room there, or name another directory by save_to="
    assert str(refusal) == f"refused: no-room keydb-2: {told}; {hint}"
    for room in (Room(100, 100), Room(None, 1), Room(1, None)):
        assert backup.refuse_room(made, "backups", room) is None


def test_a_dry_run_names_what_would_be_removed():
    assert "remove rest.part, older, old" in plan(HEALTHY, keep=1).steps[-1].sentence
    assert "remove rest.part, older" in plan(HEALTHY, keep=2).steps[-1].sentence
    assert plan(HEALTHY, keep_days=3).steps[-1].sentence.endswith("remove rest.part, older")
    for young in (Backup("young", 0.5), Backup("A", 0.0)):
        assert plan(HEALTHY, Shelf("backups", (young,)), keep=1).steps[-1].sentence.endswith(f"remove {young.name}")
    assert plan(HEALTHY, Shelf("backups")).steps[-1].sentence.endswith("remove none")


def test_a_plan_stays_the_same_while_backups_grow_old():
    assert plan(HEALTHY, keep_days=3).steps == plan(HEALTHY, Shelf("backups"), keep_days=3).steps
    assert plan(HEALTHY, keep_days=3).steps != plan(HEALTHY, keep_days=4).steps


AGES = tuple(Backup(f"day-{age}", float(age)) for age in (5, 1, 3, 2, 4))


@pytest.mark.parametrize(
    "backups, keep, keep_days, gone",
    [
        (AGES, None, None, []),
        (AGES, 2, None, ["day-5", "day-4", "day-3"]),
        (AGES, None, 3, ["day-5", "day-4"]),
        (AGES, 2, 4, ["day-5"]),
        (AGES, 4, 2, ["day-5"]),
        (AGES, 9, None, []),
        ((Backup("only", 900.0),), None, 1, []),
        ((Backup("a", 900.0), Backup("b", 901.0)), None, 1, ["b"]),
        ((Backup("future", -3.0), Backup("b", 0.5)), 1, None, ["b"]),
        ((), 1, 1, []),
    ],
)
def test_what_any_rule_keeps_stays_and_the_newest_one_always_does(backups, keep, keep_days, gone):
    assert [one.name for one in expired(backups, keep, keep_days)] == gone


def test_files_of_others_are_no_backups():
    name = backup_name("demo", "20260102T030405Z", "keydb-2")
    assert name == "demo-20260102T030405Z-from-keydb-2"
    assert all(is_backup_of("demo", f"{name}{ending}") for ending in (".rdb", ".json", ".rdb.part", ".json.part"))
    others = ("demo-2-20260102T030405Z-from-keydb-2.rdb", f"{name}.txt", f"x{name}.rdb", f"{name}.rdb.part.old", "dump.rdb",
              f"demo-20260102T030405Z-{'a' * 40}-17.rdb")  # fmt: skip
    assert not [one for one in others if is_backup_of("demo", one)]
    assert backup_name("a/b", "20260102T030405Z", "../c") == "a_b-20260102T030405Z-from-_c"
    assert backup_name("Xen", "20260102T030405Z", "DB") == "Xen-20260102T030405Z-from-DB"
    assert is_backup_of("a/b", "a_b-20260102T030405Z-from-_c.rdb")


SOUND = [
    "[offset 0] Checking RDB file /data/dump.rdb",
    "[offset 26] AUX FIELD redis-ver = '6.3.4'",
    "[offset 90] AUX FIELD repl-stream-db = '0'",
    f"[offset 140] AUX FIELD repl-id = '{'a' * 40}'",
    "[offset 160] AUX FIELD repl-offset = '1042'",
    "[offset 230] Checksum OK",
    "[offset 230] \\o/ RDB looks OK! \\o/",
    "[info] 54 keys read",
    "[info] 0 expires",
]


def test_a_sound_file_tells_its_keys_and_its_place_in_the_stream():
    checked = read_check(SOUND)
    assert checked.sound
    assert (checked.keys, checked.replication_id, checked.offset, checked.engine_version) == (
        54,
        "a" * 40,
        1042,
        "6.3.4",
    )
    bare = read_check([line for line in SOUND if "AUX" not in line])
    assert bare.sound
    assert (bare.replication_id, bare.offset, bare.engine_version) == (None, None, None)
    assert read_check(["AUX FIELD valkey-ver = '9.1.2'"]).engine_version == "9.1.2"


@pytest.mark.parametrize(
    "lines, trouble",
    [
        (["[offset 0] Checking", "--- RDB ERROR DETECTED ---", "[offset 9] Can't handle RDB format version 11", "[info] 0 keys read"], "Can't handle RDB format version 11"),
        (["--- RDB ERROR DETECTED ---", "it ends early", "--- RDB ERROR DETECTED ---", "x"], "it ends early"),
        (["there is no keydb-server here"], "there is no keydb-server here"),
        ([], "the check printed nothing"),
        (["[offset 3] AUX FIELD x = 'y'", ""], "the check printed nothing"),
        (SOUND[:7], "Checking RDB file /data/dump.rdb"),
    ],
)  # fmt: skip
def test_whatever_is_not_known_to_be_sound_has_a_trouble(lines, trouble):
    checked = read_check(lines)
    assert not checked.sound
    assert checked.trouble == trouble
    assert replace(checked, trouble="").sound
