"""INFO of real servers, recorded in info/*.txt, becomes the node that info.yaml expects."""

from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from keydb_runbooks.runbooks.replication import (
    Address,
    Ancestor,
    InfoError,
    Link,
    Node,
    Replica,
    Role,
    node_from_info,
    read_ancestors,
    read_info,
    write_ancestors,
)

HERE = Path(__file__).parent
FIXTURES = {path.stem: path for path in (HERE / "info").glob("*.txt")}
EXPECTED = yaml.safe_load((HERE / "info.yaml").read_text())
SERVER = "run_id:1\r\nrole:master\r\nmaster_replid:a\r\n"


def parse(text: str) -> Node:
    return node_from_info("keydb-1", Address("10.0.0.1", 6379), text)


def recorded(fixture: str) -> Node:
    return parse(FIXTURES[fixture].read_bytes().decode())


def summary(node: Node) -> dict[str, object]:
    """A node in the words of info.yaml."""
    return {
        "engine": node.engine,
        "version": node.version,
        "role": node.role.value,
        "links": [link_words(link) for link in node.links],
        "guarded": node.guarded,
        "offset": node.offset,
        "promoted at": node.second_offset,
        "backlog": node.backlog_first,
        "replicas": [f"{one.address} {'online' if one.online else 'not yet'}" for one in node.replicas],
        "keys": node.keys,
        "loading": node.loading,
    }


def link_words(link: Link) -> str:
    heard = "never heard" if link.last_io_seconds is None else f"heard {link.last_io_seconds} s ago"
    return f"{link.primary} {'up' if link.up else 'down'}, {heard}{', syncing' if link.syncing else ''}"


def test_every_recorded_info_has_a_row_and_every_row_a_recorded_info():
    assert sorted(EXPECTED) == sorted(FIXTURES)


@pytest.mark.parametrize("fixture", sorted(EXPECTED))
def test_a_recorded_info_is_read_as_its_row_says(fixture):
    expected = EXPECTED[fixture]
    if "error" in expected:
        with pytest.raises(InfoError) as caught:
            recorded(fixture)
        assert str(caught.value) == expected["error"]
    else:
        assert summary(recorded(fixture)) == expected


@pytest.mark.parametrize("fixture", [name for name in sorted(EXPECTED) if "promoted at" in EXPECTED[name]])
def test_forty_zeros_and_minus_one_come_together_and_mean_never_promoted(fixture):
    node = recorded(fixture)
    assert (node.previous_replication_id == "0" * 40) == (node.second_offset == -1)


def test_two_masters_are_two_links_though_the_second_is_called_master_1():
    links = recorded("keydb-active-replica-two-masters").links
    assert [link.primary for link in links] == [Address("127.0.0.1", 25072), Address("127.0.0.1", 25071)]


def test_a_node_with_two_masters_has_not_the_one_link_that_verbs_look_at():
    node = recorded("keydb-active-replica-two-masters-one-down")
    assert (node.link, node.role, [link.up for link in node.links]) == (None, Role.ACTIVE_REPLICA, [True, False])


def test_masters_numbered_without_an_underscore_are_found_too():
    told = "master_host:a\nmaster_port:1\nmaster1_host:b\nmaster1_port:2\nmaster2_host:c\nmaster2_port:3\n"
    assert [str(link.primary) for link in parse(SERVER + told).links] == ["a:1", "b:2", "c:3"]


def test_a_field_that_comes_twice_keeps_both_values_in_order():
    fields = read_info(FIXTURES["keydb-active-replica-two-masters"].read_bytes().decode())
    assert fields["slave_repl_offset"] == ["1238", "9617"]


def test_a_replica_stands_where_it_read_not_where_it_would_be_as_a_primary():
    assert parse(SERVER + "slave_repl_offset:40\nmaster_repl_offset:37\n").offset == 40
    assert parse(SERVER + "slave_repl_offset:2\nmaster_repl_offset:37\n").offset == 2


def test_connected_replicas_that_are_not_online_are_told_apart():
    node = recorded("keydb-primary-replica-wait-bgsave")
    assert [replica.online for replica in node.replicas] == [False]


def test_a_lag_of_minus_one_is_unknown():
    node = parse(SERVER + "slave0:ip=h,port=1,state=online,offset=5,lag=-1\nslave1:ip=h,port=2,state=online,offset=5\n")
    assert [replica.lag_seconds for replica in node.replicas] == [None, None]


def test_a_connected_replica_is_read_with_all_that_is_told_of_it():
    node = parse(
        SERVER
        + "slave0:ip=h,port=1,state=online,offset=5,lag=0\nslave1:ip=f=g,port=2,state=wait_bgsave,offset=6,lag=7\n"
    )
    assert node.replicas == (
        Replica(Address("h", 1), online=True, offset=5, lag_seconds=0),
        Replica(Address("f=g", 2), online=False, offset=6, lag_seconds=7, waits=True),
    )


def test_keys_of_all_databases_count():
    node = parse(SERVER + "db0:keys=2,expires=0\ndb7:keys=3,note=a=b\ndb8:expires=0\ndbfoo:keys=9\n")
    assert (node.keys, node.empty) == (5, False)


def test_of_a_primary_with_a_full_info_each_field_is_read():
    told = (
        "# Server\nredis_version:6.3.4\nrun_id:abc\nexecutable:/opt/a:b\nmvcc_depth:0\ncluster_enabled:1\n"
        "used_memory:11\nmaxmemory:12\nloading:1\nrdb_changes_since_last_save:13\n"
        "role:master\nmin_slaves_good_slaves:1\nslave_priority:14\nslave_read_only:1\n"
        "master_replid:d\nmaster_replid2:e\nmaster_repl_offset:15\nsecond_repl_offset:16\n"
        "repl_backlog_active:1\nrepl_backlog_size:17\nrepl_backlog_first_byte_offset:18\ndb0:keys=19,expires=0\n"
    )
    ancestors = (Ancestor("e", 15),)
    read = node_from_info(
        "keydb-1", Address("h", 1), told, epoch=3, paused=False, config_replicaof="h 2", ancestors=ancestors
    )
    assert read == Node(
        name="keydb-1",
        address=Address("h", 1),
        engine="keydb",
        version="6.3.4",
        run_id="abc",
        role=Role.PRIMARY,
        replication_id="d",
        previous_replication_id="e",
        offset=15,
        second_offset=16,
        backlog_first=18,
        backlog_size=17,
        replicas=(),
        links=(),
        keys=19,
        loading=True,
        read_only=True,
        priority=14,
        unsaved_changes=13,
        cluster=True,
        memory_used=11,
        memory_limit=12,
        good_replicas=1,
        epoch=3,
        paused=False,
        config_replicaof="h 2",
        ancestors=ancestors,
    )


def test_a_server_that_tells_little_is_read_with_what_that_means():
    assert parse(SERVER) == Node(
        name="keydb-1",
        address=Address("10.0.0.1", 6379),
        engine="redis",
        version="",
        run_id="1",
        role=Role.PRIMARY,
        replication_id="a",
        previous_replication_id="0" * 40,
        offset=0,
        second_offset=-1,
        backlog_first=None,
        backlog_size=0,
        replicas=(),
        links=(),
        keys=0,
        loading=False,
        read_only=None,
        priority=100,
        unsaved_changes=0,
        cluster=False,
    )


def test_a_link_of_which_only_the_host_is_told_is_down_and_was_never_heard():
    assert parse(SERVER + "master_host:h\n").links == (
        Link(Address("h", 0), up=False, last_io_seconds=None, syncing=False),
    )


def test_a_backlog_whose_first_byte_is_not_told_begins_at_0():
    assert parse(SERVER + "repl_backlog_active:1\n").backlog_first == 0


@pytest.mark.parametrize(
    "text, fields",
    [("a:b:c\n", {"a": ["b:c"]}), ("a:\n", {"a": [""]}), ("garbage\n", {}), ("# Server: b\n", {}), ("\n", {})],
)
def test_a_field_of_info_is_a_name_and_all_behind_the_first_colon(text, fields):
    assert read_info(text) == fields


def test_what_info_does_not_say_is_unknown():
    node = parse(SERVER)
    assert (node.epoch, node.paused, node.config_replicaof, node.backlog_first, node.links) == (
        None,
        None,
        None,
        None,
        (),
    )
    assert (node.read_only, node.sentinels, node.active_replica, node.rights) == (None, None, None, None)


@pytest.mark.parametrize(
    "fixture, read_only",
    [("keydb-replica-in-sync", True), ("valkey-replica-paused", True), ("keydb-active-replica-pair", False)],
)
def test_a_replica_tells_whether_it_takes_writes_of_its_own(fixture, read_only):
    assert recorded(fixture).read_only is read_only


@pytest.mark.parametrize("mode", ["redis_mode", "server_mode"])
def test_a_sentinel_is_told_from_a_server_by_its_mode(mode):
    with pytest.raises(InfoError) as caught:
        parse(f"{mode}:sentinel\nrun_id:1\n")
    assert (caught.value.code, str(caught.value)) == ("sentinel-process", "a Sentinel answers here, no server")


@pytest.mark.parametrize(
    "heard, up, alive", [(0, True, True), (2, True, True), (3, True, False), (None, True, False), (1, False, False)]
)
def test_a_link_is_alive_only_if_up_and_heard_within_three_seconds(heard, up, alive):
    assert Link(Address("a", 1), up=up, last_io_seconds=heard, syncing=False).alive is alive


@pytest.mark.parametrize(
    "text, sentence",
    [
        ("", "INFO has no field run_id: this is no KeyDB, Valkey or Redis server, or a proxy"),
        ("run_id:1\n", "INFO has no field role: this is no KeyDB, Valkey or Redis server, or a proxy"),
        ("run_id:1\nrole:master\n", "INFO has no field master_replid: this is no KeyDB, Valkey or Redis server, or a proxy"),
        ("run_id:1\nrole:sentinel\n", "INFO field role is 'sentinel'; allowed are master, slave, active-replica"),
        (SERVER + "master_repl_offset:many\n", "INFO field master_repl_offset is 'many', not a number"),
        (SERVER + "second_repl_offset:\n", "INFO field second_repl_offset is '', not a number"),
        (SERVER + "slave0:ip=h,port=1,state=online\n", "INFO names a replica as 'ip=h,port=1,state=online', which can't be read"),
        (SERVER + "slave0:ip=h,port=x,state=online,offset=1\n", "INFO names a replica as 'ip=h,port=x,state=online,offset=1', which can't be read"),
        (SERVER + "repl_backlog_active:1\nrepl_backlog_first_byte_offset:1.5\n", "INFO field repl_backlog_first_byte_offset is '1.5', not a number"),
    ],
)  # fmt: skip
def test_something_else_than_a_server_is_refused_by_the_field_that_shows_it(text, sentence):
    with pytest.raises(InfoError) as caught:
        parse(text)
    assert (caught.value.code, str(caught.value)) == ("not-a-server", sentence)


@pytest.mark.parametrize("number", ["many", "3=4"])
def test_an_odd_number_of_keys_is_an_info_error_too(number):
    with pytest.raises(InfoError) as caught:
        parse(f"{SERVER}db0:keys={number},expires=0\n")
    assert str(caught.value) == f"INFO field db0 is '{number}', not a number"


@given(st.text())
def test_any_text_at_all_is_a_node_or_an_info_error(text):
    with suppress(InfoError):
        parse(text)


ANCESTORS = st.builds(Ancestor, st.text("0123456789abcdef", min_size=40, max_size=40), st.integers(0, 10**18 - 1))


@given(st.lists(ANCESTORS, max_size=32))
def test_ancestors_come_back_as_they_were_written(ancestors):
    assert read_ancestors(write_ancestors(tuple(ancestors))) == tuple(ancestors)


@pytest.mark.parametrize(
    "text", [None, "", ",", "abc", "abc:", ":5", "abc:-1", "abc:x", "abc:²", "a:b:5", "abc:" + "9" * 5000]
)
def test_ancestors_that_cannot_be_read_are_not_known(text):
    assert read_ancestors(text) == ()


def test_a_replica_whose_full_resync_was_cut_off_still_has_its_old_data():
    """Seen on KeyDB 6.3.4: slave_repl_offset:1 beside the old id and the old master_repl_offset."""
    text = FIXTURES["keydb-replica-link-down"].read_bytes().decode()
    own = next(line for line in text.splitlines() if line.startswith("slave_repl_offset:"))
    cut = text.replace(own, "slave_repl_offset:1").replace(
        next(line for line in text.splitlines() if line.startswith("master_repl_offset:")), "master_repl_offset:1593"
    )
    assert parse(cut).offset == 1593
