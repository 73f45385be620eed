"""What INFO, CONFIG GET and CLIENT LIST tell of a server's condition; what they don't tell is unknown."""

from pathlib import Path

import pytest

from keydb_runbooks.runbooks.condition import (
    UNKNOWN,
    Condition,
    condition_from_info,
    dataset_bytes,
    has_client_descriptor,
    with_settings,
)
from keydb_runbooks.runbooks.replication import Address, node_from_info, read_info

INFO = Path(__file__).parent / "info"
SERVER = "run_id:1\r\nrole:slave\r\nmaster_replid:a\r\nmaster_host:h\r\nmaster_port:1\r\n"


def recorded(fixture: str) -> Condition:
    return condition_from_info(read_info((INFO / f"{fixture}.txt").read_bytes().decode()))


@pytest.mark.parametrize(
    "engine, data, time", [("keydb", 65696, -1), ("redis", 115228, -1), ("valkey", 95108, -1)]
)  # fmt: skip
def test_a_recorded_replica_tells_its_condition(engine, data, time):
    told = recorded(f"{engine}-replica-in-sync")
    assert (told.dataset_bytes, told.saved, told.logged, told.saving, told.aof) == (data, True, True, False, False)
    assert (told.clients, told.clients_limit, told.blocked_clients) == (2, 10000, 0)
    assert told.config_file == f"/etc/{engine}/{engine}.conf"
    assert told.save_seconds is None, "minus one means never"
    assert told.server_time is not None and 1_795_390_512 <= told.server_time < 1_795_390_514
    assert (told.saves, told.stops, told.client_descriptor) == (None, None, None)


# (what INFO says, the bytes of the data): KeyDB takes off more than there is where there is little.
SIZES = [
    ({"used_memory_dataset": ["65696"]}, 65696),
    ({"used_memory_dataset": ["18446744073709535232"]}, 0),
    ({"used_memory_dataset": ["9223372036854775808"]}, 0),
    ({}, None),
]


@pytest.mark.parametrize("fields, size", SIZES)
def test_the_data_are_never_larger_than_any_memory(fields, size):
    assert dataset_bytes(fields) == size


@pytest.mark.parametrize("engine, seconds", [("keydb", 2), ("redis", 2), ("valkey", 3)])
def test_a_server_tells_how_long_it_has_been_up(engine, seconds):
    assert recorded(f"{engine}-replica-in-sync").uptime_seconds == seconds


def test_an_aof_is_on_or_off_or_unknown():
    assert [condition_from_info({"aof_enabled": [told]}).aof for told in ("1", "0")] == [True, False]


def test_rates_are_in_bytes_and_commands_of_the_last_second():
    assert condition_from_info({"instantaneous_input_kbps": ["10.50"]}).input_bytes_per_second == 10_752
    told = recorded("keydb-replica-in-sync")
    assert (told.commands_per_second, told.input_bytes_per_second) == (5, 512)
    assert told.stream_bytes_per_second is None, "KeyDB doesn't count the stream by itself"
    counted = {"instantaneous_input_repl_kbps": ["0.38"]}
    assert condition_from_info(counted).stream_bytes_per_second == 389


def test_a_server_that_sent_its_data_tells_how_long_that_took():
    assert recorded("keydb-primary-two-replicas").save_seconds == 0


def test_what_info_does_not_tell_is_unknown():
    assert condition_from_info({}) == UNKNOWN
    assert condition_from_info({"maxclients": ["many"], "connected_clients": ["-1"]}) == UNKNOWN


@pytest.mark.parametrize(
    "rdb, rewrite, saved",
    [("ok", "ok", True), ("err", "ok", False), ("ok", "err", False), ("err", None, False), ("ok", None, None)],
)
def test_the_last_save_and_the_last_rewrite_must_both_have_succeeded(rdb, rewrite, saved):
    fields = {"rdb_last_bgsave_status": [rdb], **({"aof_last_bgrewrite_status": [rewrite]} if rewrite else {})}
    assert condition_from_info(fields).saved is saved


@pytest.mark.parametrize(
    "rdb, aof, saving", [("1", "0", True), ("0", "1", True), ("0", "0", False), ("0", None, None), ("1", None, True)]
)
def test_either_a_save_or_a_rewrite_is_saving(rdb, aof, saving):
    fields = {"rdb_bgsave_in_progress": [rdb], **({"aof_rewrite_in_progress": [aof]} if aof else {})}
    assert condition_from_info(fields).saving is saving


# (what CONFIG GET told, whether there is an AOF, whether it keeps anything, whether a failed save stops writes)
SETTINGS = [
    ({"save": "3600 1", "stop-writes-on-bgsave-error": "yes"}, False, True, True),
    ({"save": "3600 1", "stop-writes-on-bgsave-error": "no"}, False, True, False),
    ({"save": "", "stop-writes-on-bgsave-error": "yes"}, False, False, False),
    ({"save": " ", "stop-writes-on-bgsave-error": "yes"}, True, True, False),
    ({"stop-writes-on-bgsave-error": "yes"}, False, None, None),
    ({"save": "3600 1"}, None, True, None),
    ({}, True, True, None),
]


@pytest.mark.parametrize("settings, aof, saves, stops", SETTINGS)
def test_settings_say_whether_it_keeps_anything_and_what_a_failed_save_means(settings, aof, saves, stops):
    told = with_settings(Condition(aof=aof), settings)
    assert (told.saves, told.stops, told.client_descriptor) == (saves, stops, None)
    assert with_settings(UNKNOWN, settings, client_descriptor=True).client_descriptor


@pytest.mark.parametrize(
    "settings, sync, load",
    [
        ({}, None, None),
        ({"repl-diskless-sync": "yes", "repl-diskless-load": "disabled"}, True, False),
        ({"repl-diskless-sync": "no", "repl-diskless-load": "swapdb"}, False, True),
    ],
)
def test_settings_say_whether_a_resync_needs_disk(settings, sync, load):
    told = with_settings(UNKNOWN, settings)
    assert (told.diskless_sync, told.diskless_load) == (sync, load)


@pytest.mark.parametrize(
    "rows, taken",
    [
        ("id=3 addr=10.0.0.1:4 laddr=h:1 fd=8 name=\nid=4 addr=10.0.0.1:5 fd=0 name=x\n", True),
        ("id=3 addr=10.0.0.1:4 fd=10 name=\n", False),
        ("id=3 addr=10.0.0.1:4 fd=8 name=fd=0\n", False),
        ("", False),
    ],
)
def test_a_client_on_descriptor_0_is_found_in_the_list(rows, taken):
    assert has_client_descriptor(rows) is taken


@pytest.mark.parametrize("since, seconds", [("0", 0), ("7", 7), ("-1", None)])
def test_a_link_tells_since_when_it_is_down_unless_it_never_was_up(since, seconds):
    text = f"{SERVER}master_link_down_since_seconds:{since}\r\n"
    [link] = node_from_info("keydb-1", Address("10.0.0.1", 6379), text).links
    assert link.down_seconds == seconds


def test_a_node_carries_its_condition():
    text = (INFO / "redis-replica-in-sync.txt").read_bytes().decode()
    assert node_from_info("keydb-1", Address("10.0.0.1", 6379), text).condition == recorded("redis-replica-in-sync")
