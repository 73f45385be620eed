"""What drifted: a server's configuration three times (drift.yaml), a proxy's file and state, processes, and each told once."""

import ast
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from worlds import (
    HELD,
    RUNBOOKS,
    codes,
    fenced,
    group,
    guarded,
    primary,
    promoted,
    proxy,
    replica,
    silent,
    silent_proxy,
)

from keydb_runbooks.runbooks import rejoin
from keydb_runbooks.runbooks.configuration import parse
from keydb_runbooks.runbooks.drift import drift
from keydb_runbooks.runbooks.drift_firewall import Left, Loaded, Rules
from keydb_runbooks.runbooks.drift_machine import Exposure, File, Listener, Process
from keydb_runbooks.runbooks.drift_proxy import (
    AnswerError,
    BackendServer,
    ProxyState,
    RunningProxy,
    proxy_drift,
    running_proxy,
)
from keydb_runbooks.runbooks.drift_server import RunningServer, ServerState, not_compared, server_drift
from keydb_runbooks.runbooks.drift_values import Drift, Unseen, Verdict, verdict
from keydb_runbooks.runbooks.kinds import HINTS
from keydb_runbooks.runbooks.made import HINTS as MADE
from keydb_runbooks.runbooks.plan import NothingToDo, Request
from keydb_runbooks.runbooks.proxy import UnreadProxy
from keydb_runbooks.runbooks.replication import Replica

ROWS = yaml.safe_load(Path(__file__).with_name("drift.yaml").read_text())
MODULES = ("drift", "drift_firewall", "drift_machine", "drift_proxy", "drift_server", "drift_values")
CONF, CFG = "/etc/keydb/keydb.conf", "/etc/haproxy/haproxy.cfg"
FINE = Process(7, 7, (Listener(7, 1, "10.0.0.1", 6379),))


def line(one: Drift) -> str:
    word = one.severity.value if one.verdict is Verdict.DRIFTED else one.verdict.value
    return f"{word} {one.code}{' ' + one.key if one.key else ''}: {one.sentence}"


# Servers


def told_by_itself(text: str) -> dict[str, str]:
    """What a server that runs with this file says in CONFIG GET."""
    values: dict[str, str] = {}
    for directive in parse(text):
        if directive.name not in ("user", "server-threads", "replicaof"):
            values[directive.name] = " ".join([*values.get(directive.name, "").split(), *directive.values])
    return values


def state(row: dict, number: int = 1) -> ServerState:
    wanted = "".join(f"{one}\n" for one in row["wanted"])
    disk = row.get("disk", row["wanted"])
    running = row.get("running", told_by_itself(wanted))
    users = row.get("users", [one for one in row["wanted"] if one.startswith("user ")])
    return ServerState(
        name=f"keydb-{number}",
        engine="keydb",
        wanted=wanted,
        file=File(CONF, None if disk is None else "".join(f"{one}\n" for one in disk)),
        running=None
        if running is None
        else RunningServer("keydb", running, None if users is None else tuple(users), CONF, FINE),
        detail="NOPERM",
        same_directory=row.get("same_directory", ""),
    )


@pytest.mark.parametrize("title", ROWS)
def test_each_directive_and_user_is_told_once(title):
    assert [line(one) for one in server_drift(state(ROWS[title]))] == ROWS[title]["told"]


@pytest.mark.parametrize("title", ROWS)
def test_no_password_and_no_hash_is_told(title):
    told = json.dumps([[str(value) for value in vars(one).values()] for one in server_drift(state(ROWS[title]))])
    assert "hunter" not in told
    assert not re.search(r"#[0-9a-f]", told)


@pytest.mark.parametrize("title", ROWS)
def test_whatever_drifted_is_told_of_its_server(title):
    assert {one.where for one in server_drift(state(ROWS[title], 2))} <= {"keydb-2"}


def only(row: dict) -> Drift:
    [found] = server_drift(state(row))
    return found


def test_the_three_values_are_told_as_they_are_written():
    found = only({"wanted": ["maxmemory 64mb"], "disk": ["maxmemory 32mb"], "running": {"maxmemory": "1"}})
    assert (found.wanted, found.on_disk, found.running) == ("64mb", "32mb", "1")
    found = only({"wanted": ["port 1"], "disk": ["port 1", "hz 5"], "running": {"port": "1", "hz": "9"}})
    assert (found.wanted, found.on_disk, found.running) == (None, "5", "9")
    found = only({"wanted": ["port 1"], "disk": ["port 2"], "running": None})
    assert (found.wanted, found.on_disk, found.running) == ("1", "2", Unseen.UNSEEN)


def test_a_secret_value_is_replaced_and_a_users_rules_are_shown_without_its_password():
    found = only({"wanted": ["masterauth hunter2"], "running": {"masterauth": "hunter3"}})
    assert (found.wanted, found.on_disk, found.running) == ("(secret)", "(secret)", "(another secret)")
    found = only({"wanted": ["user app on #aa +get"], "users": ["user app on #bb #aa +get"]})
    assert (found.wanted, found.running) == ("on #(secret) +get", "on #(another secret) #(secret) +get")
    found = only({"wanted": ["port 1"], "users": ["user app on #aa +get"]})
    assert (found.wanted, found.on_disk, found.running) == (None, None, "on #(another secret) +get")


def test_a_user_that_is_nobodys_is_told_as_far_as_it_was_seen():
    def extra(**row) -> Drift:
        [found] = [one for one in server_drift(state({"wanted": ["port 1"], **row})) if one.code == "extra-user"]
        return found

    found = extra(disk=["port 1", MALLORY], running=None)
    assert (found.on_disk, found.running) == ("on #(another secret) +@all", Unseen.UNSEEN)
    found = extra(disk=["port 1", MALLORY], users=None)
    assert (found.on_disk, found.running) == ("on #(another secret) +@all", Unseen.UNSEEN)
    found = extra(disk=None, users=[MALLORY])
    assert (found.on_disk, found.running) == (Unseen.UNSEEN, "on #(another secret) +@all")
    found = extra(users=[MALLORY])
    assert (found.on_disk, found.running) == (None, "on #(another secret) +@all")


def test_a_value_with_a_blank_is_one():
    row = {
        "wanted": ['dir "/the data"', r'masterauth "\"b c"'],
        "running": {"dir": "/the data", "masterauth": '"b c'},
    }
    assert list(server_drift(state(row))) == []


def test_what_a_server_does_not_tell_is_named():
    row = {"wanted": ["port 1", "server-threads 2"], "disk": ["port 1", "rename-command KEYS x", "replicaof a 1"]}
    assert not_compared(state(row)) == ("rename-command", "server-threads")
    assert not_compared(state({"wanted": ["dir /data", "server-threads 2"]})) == ("server-threads",)
    assert not_compared(state({**row, "disk": ['port "1']})) == ("server-threads",)
    assert not_compared(state({**row, "running": None})) == ()
    refused = state(row)
    assert not_compared(replace(refused, running=replace(refused.running, values=None))) == ()


FILES = st.lists(
    st.sampled_from(["port 1", "maxmemory 64mb", "save 900 1", 'save ""', "dir /a/", "masterauth x", "appendonly yes"]),
    min_size=1,
)


@given(FILES, FILES)
def test_what_install_finds_to_do_is_told_and_ends_when_it_is_done(wanted, disk):
    """Way out and finding have one notion of what is different."""
    from keydb_runbooks.runbooks.configuration import differences, merge

    before = state({"wanted": wanted, "disk": disk, "running": None})
    assert {one.key for one in server_drift(before)} == {
        one.name for one in differences(before.wanted, before.file.text)
    }
    after = replace(before, file=File(CONF, merge(before.wanted, before.file.text)))
    assert list(server_drift(after)) == []


# The process that answers

SELF, OTHER = Listener(7, 1, "10.0.0.1", 6379), Listener(8, 1, "10.0.0.1", 6379)
UNKNOWN_PROCESS = (
    "unknown process-unknown: it is unknown which processes listen; "
    "let pyinfra's user see them (_sudo in the inventory)"
)

# (what its machine says, all that is told)
PROCESSES = [
    (FINE, []),
    (Process(7, 7, (SELF, Listener(8, 1, "10.0.0.1", 6380), Listener(8, 1, "10.0.0.2", 6379))), []),
    (Process(7, 5, (Listener(7, 5, "10.0.0.1", 6379),)), []),  # a worker, and the master that is recorded
    (Process(7, None, (SELF,)), [UNKNOWN_PROCESS]),
    (Process(7, 7, None), [UNKNOWN_PROCESS]),
    (Process(7, 7, (OTHER,)), [UNKNOWN_PROCESS]),
    (Process(7, 0, (SELF,)), ["warning other-process: process 7 answers, but its pid file names no process that runs; end the wrong one, or write 7 into the file"]),
    (Process(7, 9, (SELF,)), ["warning other-process: process 7 answers, but its pid file names 9; end the wrong one, or write 7 into the file"]),
    (Process(7, 7, (SELF, OTHER, OTHER)), ["critical several-processes: process 8 listens on the same ports as 7 and takes a part of the connections; end it"]),
]  # fmt: skip


@pytest.mark.parametrize("process, expected", PROCESSES)
def test_the_process_that_answers_is_the_recorded_one_and_alone(process, expected):
    seen = state({"wanted": ["port 1"]})
    seen = replace(seen, running=replace(seen.running, process=process))
    assert [line(one) for one in server_drift(seen)] == expected
    assert {one.where for one in server_drift(seen)} <= {"keydb-1"}


def itself(**changes) -> list[str]:
    seen = state({"wanted": ["port 1"]})
    found = list(server_drift(replace(seen, running=replace(seen.running, **changes))))
    assert {one.where for one in found} <= {"keydb-1"}
    return [line(one) for one in found]


def test_a_server_of_another_engine_or_with_another_file_is_told():
    assert itself(engine="redis") == ["warning other-engine: is a redis server, the inventory says keydb; set keydb_engine"]  # fmt: skip
    assert itself(config_file="/x") == [f"warning other-file: was started with /x, not with {CONF}: no role can be saved there; start it with that"]  # fmt: skip
    assert itself(config_file="")[0].startswith("warning other-file: was started without a file, not with")
    assert itself(process=None) == []
    assert itself(values=None)[0].startswith("unknown running-unknown: what it runs with is unknown: NOPERM")


# Proxies

HEX = "2a330d0a"
WANTED = f"""# Written by keydb-runbooks.
global
    pidfile /run/haproxy.pid
    maxconn 2100

defaults
    timeout check 1s

frontend statistics
    bind 127.0.0.1:8404

listen demo-write
    maxconn 2000
    tcp-check send-binary {HEX}
    server keydb-1 10.0.0.1:6379 check
    server keydb-2 10.0.0.2:6379 check
"""
INFORMATION = "Name: HAProxy\nPid: 7\nMaxconn: 2100\nStart_time_sec: 1000\n"
STATISTICS = "# pxname,svname,slim,status,\nstatistics,FRONTEND,2100,OPEN,\ndemo-write,FRONTEND,2000,OPEN,\ndemo-write,keydb-1,,UP,\ndemo-write,BACKEND,200,UP,\n"
SERVERS = (
    "1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight "
    "srv_check_state srv_port\n"
    "3 demo-write 1 keydb-1 10.0.0.1 2 0 1 1 6 6379\n3 demo-write 2 keydb-2 10.0.0.2 0 0 1 1 6 6379\n"
)


def front(
    text: str | None = WANTED,
    changed: int | None = 1000,
    replaced: tuple[str, str] = ("", ""),
    files: str = CFG,
    process: Process | None = FINE,
) -> ProxyState:
    """A proxy whose file is ``text`` and whose answers have one text replaced by another."""
    old, new = replaced
    answers = [answer.replace(old, new) if old else answer for answer in (INFORMATION, STATISTICS, SERVERS)]
    assert not old or answers != [INFORMATION, STATISTICS, SERVERS]
    running = replace(running_proxy(*answers, f"HAPROXY_CFGFILES={files}\n"), process=process)
    return ProxyState("proxy-1", WANTED, File(CFG, text, changed), running)


FIRST = "keydb-1 10.0.0.1 2 {} 1 1 {} 6379"

# (what is seen, all that is told)
PROXIES = [
    (front(), []),
    (front(changed=1001), ["warning not-reloaded: its file changed after HAProxy started, so it runs with the older one; run install, or reload it"]),
    (front(files="/other.cfg"), [f"warning other-file: was started with /other.cfg, not with {CFG}; start it with that"]),
    (front(files=f"/conf.d;{CFG}"), []),
    (front(files="haproxy.cfg"), []),  # relative: to what isn't known
    (front(replaced=("Start_time_sec: 1000\n", "")), ["unknown running-unknown: this HAProxy doesn't tell when it started, so it may run with an older file; upgrade it"]),
    (front(text="", changed=None), [f"warning no-file: there is no {CFG}; run install"]),
    (front(text=None, changed=None), [f"unknown file-unknown: {CFG} can't be read; let pyinfra's user read it (_sudo in the inventory)"]),
    (front(process=replace(FINE, recorded=9)), ["warning other-process: process 7 answers, but its pid file names 9; end the wrong one, or write 7 into the file"]),
    (front(process=None), []),
    (replace(front(), running=None), []),
    (front(replaced=(FIRST.format(0, 6), FIRST.format(1, 6))), ["critical server-held demo-write/keydb-1: was set to maint by hand; `set server demo-write/keydb-1 state ready` ends that"]),
    (front(replaced=(FIRST.format(0, 6), FIRST.format(8, 6))), ["critical server-held demo-write/keydb-1: was set to drain by hand; `set server demo-write/keydb-1 state ready` ends that"]),
    (front(replaced=("10.0.0.2 0 0 1 1 6", "10.0.0.2 0 1 1 1 6")), ["warning server-held demo-write/keydb-2: was set to maint by hand; `set server demo-write/keydb-2 state ready` ends that"]),
    (front(replaced=(FIRST.format(0, 6), FIRST.format(4, 6))), []),  # "disabled" in its file, which nobody did by hand
    (front(replaced=(FIRST.format(0, 6), FIRST.format(0, 2))), ["critical check-off demo-write/keydb-1: is not checked any more, so its state stands still; `enable health demo-write/keydb-1` ends that"]),
    (front(replaced=(FIRST.format(0, 6), FIRST.format(0, 0))), []),  # never had a check: its file says so
    (front(replaced=("10.0.0.2 0 0 1 1 6", "10.0.0.2 0 0 0 1 6")), ["warning proxy-running-differs demo-write/keydb-2 weight: has weight 0 by hand; `set weight demo-write/keydb-2 1` ends that"]),
    (front(replaced=("keydb-1 10.0.0.1", "keydb-1 10.0.0.9")), ["warning proxy-running-differs demo-write/keydb-1 address: runs with 10.0.0.9:6379, its file says 10.0.0.1:6379; reload HAProxy"]),
    (front(replaced=(" 6379\n3 demo-write 2", " 6380\n3 demo-write 2")), ["warning proxy-running-differs demo-write/keydb-1 address: runs with 10.0.0.1:6380, its file says 10.0.0.1:6379; reload HAProxy"]),
    (front(replaced=("3 demo-write 2 keydb-2", "3 demo-write 2 keydb-9")), [
        "warning proxy-running-differs demo-write/keydb-2 address: runs with nothing, its file says 10.0.0.2:6379; reload HAProxy",
        "warning proxy-running-differs demo-write/keydb-9 address: runs with 10.0.0.2:6379, its file says nothing; reload HAProxy",
    ]),
    (front(replaced=("Maxconn: 2100", "Maxconn: 100")), ["warning proxy-running-differs maxconn: runs with 100, its file says 2100; reload HAProxy"]),
    (front(text=None, changed=None, replaced=("Maxconn: 2100", "Maxconn: 100")), [
        f"unknown file-unknown: {CFG} can't be read; let pyinfra's user read it (_sudo in the inventory)",
        "warning proxy-running-differs maxconn: runs with 100, the inventory says 2100; reload HAProxy",
    ]),
    (front(replaced=("demo-write,FRONTEND,2000", "demo-write,FRONTEND,10")), ["warning proxy-running-differs demo-write maxconn: runs with 10, its file says 2000; reload HAProxy"]),
    (front(replaced=("FRONTEND,2000,OPEN", "FRONTEND,2000,PAUSED")), ["critical frontend-closed demo-write: takes no connections: it is paused; `enable frontend demo-write`, or a reload, ends that"]),
    (front(replaced=("statistics,FRONTEND,2100,OPEN,\n", "")), ["warning frontend-closed statistics: takes no connections: it is missing; `enable frontend statistics`, or a reload, ends that"]),
    # The file was edited; what runs is measured by it only if HAProxy started later.
    (front(text=WANTED.replace("maxconn 2000", "maxconn 10")), [
        "warning proxy-file-differs line 13: line 13 is `maxconn 10`, wanted is `maxconn 2000`; run install",
        "warning proxy-running-differs demo-write maxconn: runs with 2000, its file says 10; reload HAProxy",
    ]),
    (front(text=WANTED.replace("maxconn 2000", "maxconn 10"), changed=1001), [
        "warning proxy-file-differs line 13: line 13 is `maxconn 10`, wanted is `maxconn 2000`; run install",
        "warning not-reloaded: its file changed after HAProxy started, so it runs with the older one; run install, or reload it",
    ]),
    (front(text=WANTED.replace("maxconn 2000", "maxconn 10"), replaced=("demo-write,FRONTEND,2000", "demo-write,FRONTEND,10")), [
        "warning proxy-file-differs line 13: line 13 is `maxconn 10`, wanted is `maxconn 2000`; run install",
    ]),
]  # fmt: skip


@pytest.mark.parametrize("seen, expected", PROXIES)
def test_all_that_is_wrong_with_a_proxy_is_told_and_nothing_else(seen, expected):
    assert [line(one) for one in proxy_drift(seen, "keydb-1")] == expected


@pytest.mark.parametrize("seen, expected", PROXIES)
def test_whatever_is_wrong_with_a_proxy_is_told_of_it(seen, expected):
    assert {one.where for one in proxy_drift(replace(seen, name="proxy-2"), "keydb-1")} <= {"proxy-2"}


def test_a_proxy_tells_less_if_it_is_old_and_more_if_it_is_new():
    servers = SERVERS.replace("10.0.0.2 0 0 1 1 6", "10.0.0.2 0 1 1 1 0")
    information = INFORMATION.replace("Start_time_sec: 1000\n", "Description: a: b: c\n")
    seen = running_proxy(information, STATISTICS, servers, "HAPROXY_CFGFILES=/a=b.cfg\n")
    assert (seen.started, seen.files) == (None, ("/a=b.cfg",))
    assert [(one.admin, one.checked) for one in seen.servers] == [("", True), ("maint", True)]


def test_all_that_a_proxy_answers_is_read():
    servers = SERVERS.replace("10.0.0.2 0 0 1 1 6", "10.0.0.2 0 8 5 4 2")
    assert running_proxy(INFORMATION, STATISTICS, servers, f"HAPROXY_CFGFILES=/a;{CFG}\n") == RunningProxy(
        started=1000,
        files=("/a", CFG),
        connections=2100,
        frontends={"statistics": ("OPEN", 2100), "demo-write": ("OPEN", 2000)},
        servers=(
            BackendServer("demo-write", "keydb-1", "10.0.0.1:6379", "", True, 1, 1),
            BackendServer("demo-write", "keydb-2", "10.0.0.2:6379", "drain", False, 5, 4),
        ),
        process=Process(7, None, None),
    )


# (what is replaced in its answers, the key, what is wanted, what runs)
VALUES = [
    ((FIRST.format(0, 6), FIRST.format(8, 6)), ("demo-write/keydb-1", "ready", "drain")),
    ((FIRST.format(0, 6), FIRST.format(0, 2)), ("demo-write/keydb-1", "checked", "not checked")),
    (("10.0.0.2 0 0 1 1 6", "10.0.0.2 0 0 3 1 6"), ("demo-write/keydb-2 weight", "1", "3")),
    (("Maxconn: 2100", "Maxconn: 100"), ("maxconn", "2100", "100")),
    (("FRONTEND,2000,OPEN", "FRONTEND,2000,PAUSED"), ("demo-write", "open", "paused")),
]


@pytest.mark.parametrize("replaced, values", VALUES)
def test_what_is_wanted_of_a_proxy_and_what_runs_are_told_as_values(replaced, values):
    [found] = proxy_drift(front(replaced=replaced), "keydb-1")
    assert (found.key, found.wanted, found.running) == values


def edited(*changes: tuple[str, str]) -> Drift:
    text = WANTED
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return next(one for one in proxy_drift(front(text=text), None) if one.code == "proxy-file-differs")


def test_lines_of_a_file_are_told_by_their_numbers_and_three_of_them_whole():
    found = edited(
        ("    timeout check 1s\n", ""),
        ("global", "global # x"),
        ("# Written by keydb-runbooks.\n", "# Mine.\n\n"),
        ("check\n    server keydb-2", "check\n    option tcplog clf\n    server keydb-2"),
        ("bind 127.0.0.1:8404", "bind 127.0.0.1:8405\n    stats auth me:hunter2"),
    )
    assert found.key == "lines 1, 8, 10, 17"
    assert found.sentence == (
        "line 1 is `(comment)` and 2 more, wanted is `(comment)` and 1 more; "
        "before line 8 `timeout check 1s` is missing; "
        "line 10 is `bind 127.0.0.1:8405` and 1 more, wanted is `bind 127.0.0.1:8404`; and 1 more; run install"
    )
    assert found.on_disk == ("(comment)\n(blank)\nglobal # x\nbind 127.0.0.1:8405\nstats auth ...\noption tcplog ...")
    assert found.wanted == "(comment)\nglobal\ntimeout check 1s\nbind 127.0.0.1:8404"
    assert edited(("check\n    server keydb-2", "check\n    quiet\n    server keydb-2")).sentence == (
        "line 16 `quiet` is not wanted; run install"
    )


def test_two_and_three_places_of_a_file_are_all_told():
    two = (("maxconn 2100", "maxconn 1"), ("timeout check 1s", "timeout check 2s"))
    assert edited(*two).key == "lines 4, 7"
    assert edited(*two, ("bind 127.0.0.1:8404", "bind 127.0.0.1:1")).sentence == (
        "line 4 is `maxconn 1`, wanted is `maxconn 2100`; line 7 is `timeout check 2s`, wanted is `timeout check 1s`; "
        "line 10 is `bind 127.0.0.1:1`, wanted is `bind 127.0.0.1:8404`; run install"
    )


def test_a_long_file_of_lines_that_repeat_is_told_by_the_one_that_differs():
    wanted = "retries 3\n" * 300
    seen = replace(front(), wanted=wanted, file=File(CFG, f"retries 4\n{wanted}", 1000))
    assert next(proxy_drift(seen, None)).sentence == "line 1 `retries 4` is not wanted; run install"


@pytest.mark.parametrize("new", ["tcp-check send-binary 2a330d0b", "password hunter2", "user me password hunter2"])
def test_no_byte_of_the_check_and_no_password_of_a_line_is_told(new):
    found = edited((f"tcp-check send-binary {HEX}", new))
    assert not re.search("2a33|hunter2", json.dumps([str(value) for value in vars(found).values()]))


def test_a_server_by_name_is_compared_by_its_port():
    named = WANTED.replace("10.0.0.1:6379", "cafe.example:6379").replace("10.0.0.2:6379", "bad:1")
    found = [one for one in proxy_drift(front(text=named), None) if one.code == "proxy-running-differs"]
    assert [one.key for one in found] == ["demo-write/keydb-2 address"]


def test_addresses_of_version_six_are_compared_whatever_way_they_are_written():
    text = WANTED.replace("server keydb-1 10.0.0.1:6379", "server keydb-1 [2001:db8:0::1]:6379")
    seen = front(text=text, replaced=("keydb-1 10.0.0.1", "keydb-1 2001:db8::1"))
    assert [one.code for one in proxy_drift(seen, None)] == ["proxy-file-differs"]
    other = front(text=text, replaced=("keydb-1 10.0.0.1", "keydb-1 2001:db8::2"))
    assert [one.code for one in proxy_drift(other, None)] == ["proxy-file-differs", "proxy-running-differs"]


def test_what_of_a_foreign_file_cannot_be_seen_is_left_out():
    text = (
        "global\n  maxconn many\nbackend x\n  maxconn 5\n  server\nlisten demo-write\n  server keydb-1 10.0.0.1:6379\n"
    )
    found = [one.key for one in proxy_drift(front(text=text), None) if one.code == "proxy-running-differs"]
    assert found == ["demo-write/keydb-2 address"]


@pytest.mark.parametrize(
    "old, new",
    [
        ("listen demo-write\n", "listen demo-write # writes\n"),
        ("listen demo-write\n", "listen demo-write\n# a comment of its own\n"),
        ("    maxconn 2000\n", " maxconn 2000\n"),
        ("    maxconn 2000\n", "    maxconn 2000 # by hand\n"),
        ("    maxconn 2000\n", "    maxconn 2000\n    maxconn\n"),
        ("    maxconn 2000\n", "    maxconn 2000\n    server alone\n"),
    ],
)
def test_a_file_that_says_the_same_otherwise_is_no_measure_for_something_else(old, new):
    assert [one.code for one in proxy_drift(front(text=WANTED.replace(old, new)), None)] == ["proxy-file-differs"]


def test_a_line_before_the_first_section_is_of_no_section():
    found = [one.key for one in proxy_drift(front(text=f" server a 10.0.0.1:1\n{WANTED}"), None)]
    assert found == ["line 1", "/a address"]


@pytest.mark.parametrize("broken", [("Pid: 7", "Pid: x"), ("Maxconn", "Max"), ("FRONTEND,2000", "FRONTEND,x"), ("srv_port", "x"), ("6379\n", "6379 0\n"), (SERVERS, "1")])  # fmt: skip
def test_an_answer_that_is_none_of_haproxys_is_an_error(broken):
    with pytest.raises(AnswerError, match="HAProxy's answer can't be read"):
        front(replaced=broken)


# Rules for a server's port

NFT, UNIT = "/etc/keydb/firewall.nft", "kv-firewall.service"


def rules(*texts: str | None, loaded: Loaded | None = Loaded.THESE, enabled: bool | None = True) -> Rules:
    """Rules of which the machine has these texts, those that are wanted unless told otherwise."""
    first, second = texts or ("table\n", "[Unit]\n")
    return Rules(UNIT, ("table\n", "[Unit]"), (File(NFT, first), File(f"/etc/{UNIT}", second)), loaded, enabled)


NO_FIREWALL = "the inventory asks for keydb_firewall, and there is none: everybody reaches its port; run install"
OPEN_PORT = "its rules are not in force, so everybody reaches its port; run install"
OTHER_RULES = "other rules are in force than the inventory asks for: more or fewer reach its port; run install"
NOT_ENABLED = f"{UNIT} does not start with the machine, so the next boot leaves its port open; run install"
UNSEEN_RULES = "it is unknown who may reach its port: only root sees that, by nft; let pyinfra's user be root (_sudo in the inventory)"  # fmt: skip
LEFT_RULES = "{} is there of a firewall that the inventory does not ask for; {}run install, which takes it away"
OTHER_FILE = "{} is not what the inventory asks for, and counts from the next boot on; run install"

FIREWALLS = [
    (rules(), []),
    (rules("", "", loaded=Loaded.NONE, enabled=False), [f"warning no-firewall: {NO_FIREWALL}"]),
    # Without nft nobody has rules, whoever looks.
    (rules("", "", loaded=None, enabled=None), [f"warning no-firewall: {NO_FIREWALL}"]),
    (rules(None, "", loaded=None, enabled=None), [f"unknown firewall-unknown: {UNSEEN_RULES}"]),
    (rules(loaded=None, enabled=None), [f"unknown firewall-unknown: {UNSEEN_RULES}"]),
    (rules("table x\n", "[Unit]\n"), [f"warning firewall-differs {NFT}: {OTHER_FILE.format(NFT)}"]),
    (rules("table\n", "[X]\n"), [f"warning firewall-differs /etc/{UNIT}: {OTHER_FILE.format(f'/etc/{UNIT}')}"]),
    (rules(loaded=Loaded.NONE), [f"warning firewall-not-loaded: {OPEN_PORT}"]),
    (rules(loaded=Loaded.OTHERS), [f"warning firewall-other-loaded: {OTHER_RULES}"]),
    (rules(enabled=False), [f"warning firewall-not-enabled: {NOT_ENABLED}"]),
    # What is in force is no worse for a file that is gone, until the next boot.
    (rules("", "[Unit]\n"), [f"warning no-file: there is no {NFT}; run install"]),
    (rules("table\n", "", enabled=False), [f"warning no-file: there is no /etc/{UNIT}; run install"]),
    (rules("", ""), [f"warning no-file: there is no {path}; run install" for path in (NFT, f"/etc/{UNIT}")]),
    (Left((), named=False), []),
    (Left((NFT, "table kv"), named=False), [f"warning firewall-left: {LEFT_RULES.format(f'{NFT} and table kv', 'say keydb_firewall = False and ')}"]),
    (Left((NFT,), named=True), [f"warning firewall-left: {LEFT_RULES.format(NFT, '')}"]),
]  # fmt: skip


PREVIOUS = f"{CONF}.previous"
OPEN = "{0} has mode {1}, and passwords in it that are nobody else's to read; {2}chmod 600 {0}"
FIRST_RESTART = "run restart first, since its server opens what it rewrites; then "
UMASK = "runs with umask {}, so others may read its file when its role has been saved again; run restart"

EXPOSURES = [
    (Exposure({CONF: 0o600, PREVIOUS: 0o400}, 0o077), []),
    (Exposure({}), []),
    (Exposure({CONF: 0o640}), [f"warning file-open {CONF}: {OPEN.format(CONF, 640, '')}"]),
    (Exposure({CONF: 0o600, PREVIOUS: 0o604}, 0o077), [f"warning file-open {PREVIOUS}: {OPEN.format(PREVIOUS, 604, '')}"]),
    (Exposure({CONF: 0o644}, 0o022), [f"warning file-open {CONF}: {OPEN.format(CONF, 644, FIRST_RESTART)}"]),
    (Exposure({CONF: 0o600}, 0o022), [f"notice umask-open: {UMASK.format('0022')}"]),
    (Exposure({CONF: 0o600}, 0o027), [f"notice umask-open: {UMASK.format('0027')}"]),
    # Nobody else is let in by what is left of a file's mode.
    (Exposure({CONF: 0o600}, 0o066), []),
]  # fmt: skip


@pytest.mark.parametrize("found, told", EXPOSURES)
def test_passwords_that_others_may_read_are_told(found, told):
    drifted = list(server_drift(replace(conf(1), exposure=found)))
    assert [line(one) for one in drifted] == told
    assert {one.where for one in drifted} <= {"keydb-1"}
    of_proxy = [f"{one}, and reload HAProxy" if "chmod" in one else one for one in told]
    drifted = list(proxy_drift(replace(front(), exposure=found), None))
    assert [line(one) for one in drifted] == of_proxy
    assert {one.where for one in drifted} <= {"proxy-1"}


@pytest.mark.parametrize("found, told", FIREWALLS)
def test_who_may_reach_a_servers_port_is_told_where_it_is_not_as_asked_for(found, told):
    drifted = list(server_drift(replace(conf(1), firewall=found)))
    assert [line(one) for one in drifted] == told
    assert {one.where for one in drifted} <= {"keydb-1"}


# The whole

GOOD = (primary(1), replica(2), proxy(1))
UP = "10.0.0.1 6379"


def conf(number: int, **row) -> ServerState:
    return state({"wanted": ["port 1", "replica-read-only yes"], **row}, number)


SERVERS_FINE = (conf(1), conf(2))
UNREACHABLE = replace(conf(2, running=None), file=File(CONF, None))
NO_PROXY = UnreadProxy("proxy-1", "unreachable-host", "pyinfra has no connection to proxy-1")

USER_HELD = "user application on #aa ~* +@all -@write -@scripting"
USER_OPEN = "user application on #aa ~* +@all"
MALLORY = "user mallory on #aa +@all"
KEPT = "user before-fence:web off #aa +set"

# (topology, servers, proxies, all that is told)
WHOLES = [
    (GOOD, SERVERS_FINE, (front(),), []),
    # Off: told once, whatever else is not known of it.
    ((primary(1), silent(2, "unreachable-host")), (conf(1), UNREACHABLE), (), ["unknown node-unreachable-host keydb-2"]),
    ((primary(1), replica(2), NO_PROXY), SERVERS_FINE, (replace(front(text=None), running=None),), ["unknown proxy-unreachable-host proxy-1"]),
    # Silent, but its machine can be asked.
    ((primary(1), silent(2)), (conf(1), conf(2, running=None)), (), ["unknown node-no-answer keydb-2"]),
    ((primary(1), silent(2)), (conf(1), conf(2, running=None, disk=["port 2"])), (), ["warning file-differs keydb-2", "warning file-differs keydb-2", "unknown node-no-answer keydb-2"]),
    ((primary(1), silent(2, "refused", stopped=True)), (conf(1), conf(2, running=None)), (), ["warning node-refused keydb-2"]),
    ((silent(1), silent(2)), (), (), ["unknown no-primary demo", "unknown node-no-answer keydb-1", "unknown node-no-answer keydb-2"]),
    ((primary(1), replica(2), silent_proxy()), SERVERS_FINE, (replace(front(), running=None),), ["unknown proxy-no-socket proxy-1"]),
    ((primary(1), replica(2), silent_proxy()), SERVERS_FINE, (replace(front(), running=None, stopped=True),), ["warning proxy-no-socket proxy-1"]),
    ((primary(1), replica(2), UnreadProxy("proxy-1", "no-backend", "x")), SERVERS_FINE, (), ["warning proxy-no-backend proxy-1"]),
    # Was read a moment ago, and now can't be.
    (GOOD, (conf(1), conf(2, running=None)), (replace(front(), running=None),), ["unknown running-unknown keydb-2", "unknown running-unknown proxy-1"]),
    # One cause, one drift.
    ((primary(1), replica(2, read_only=False)), (conf(1), conf(2, running={"port": "1", "replica-read-only": "no"})), (), ["critical writable-replica keydb-2"]),
    ((primary(1), replica(2, read_only=False), proxy(1)), (conf(1), conf(2, running={"port": "1", "replica-read-only": "no"})), (front(changed=1001),), ["critical writable-replica keydb-2", "warning not-reloaded proxy-1"]),
    (GOOD, (conf(1, running={"port": "1", "replica-read-only": "no"}), conf(2)), (), ["warning running-differs keydb-1"]),
    # A fence: what is wanted then is the fence that is in force (facts.running).
    ((primary(1), fenced(replica(2))), (conf(1), conf(2, wanted=[USER_HELD], users=[USER_HELD, KEPT])), (), ["warning fenced keydb-2"]),
    ((primary(1), replica(2, clients=HELD)), (conf(1), conf(2, wanted=[USER_HELD], disk=[USER_OPEN])), (), ["warning fenced keydb-2", "warning fence-not-saved keydb-2"]),
    ((primary(1), replica(2, config_clients=HELD)), (conf(1), conf(2, wanted=["port 1", USER_OPEN], disk=["port 2", USER_HELD, MALLORY])), (), ["warning fence-not-saved keydb-2", "warning file-differs keydb-2", "notice extra-user keydb-2"]),
    (GOOD, (conf(1), conf(2, wanted=["port 1", USER_OPEN], disk=["port 2", USER_HELD])), (), ["warning file-differs keydb-2", "warning file-differs keydb-2"]),
    # Who is the primary is known, or known to be nobody.
    ((primary(1), promoted(2), silent(3)), SERVERS_FINE, (), ["critical several-primaries demo", "unknown node-no-answer keydb-3"]),
    ((guarded(1), guarded(2), proxy()), SERVERS_FINE, (front(),), ["critical no-primary demo", "warning guarded keydb-1", "warning guarded keydb-2"]),
    ((primary(1), replica(2), proxy()), SERVERS_FINE, (front(replaced=(FIRST.format(0, 6), FIRST.format(1, 6))),), ["critical server-held proxy-1"]),
    ((primary(1), replica(2), proxy(2)), SERVERS_FINE, (front(replaced=(FIRST.format(0, 6), FIRST.format(1, 6))),), ["critical server-held proxy-1", "critical wrong-route proxy-1"]),
    ((primary(1), replica(2), proxy(1, 2)), SERVERS_FINE, (front(),), ["critical wrong-route proxy-1"]),
    # What the next failover has to know.
    ((primary(1, epoch=None), replica(2)), SERVERS_FINE, (), ["notice no-epoch keydb-1"]),
    ((primary(1, epoch=None, loading=True), replica(2)), SERVERS_FINE, (), ["warning loading keydb-1"]),
    ((promoted(2, ancestors=()), replica(1, 2, replication_id="b" * 40, offset=1200)), SERVERS_FINE, (), ["warning unrecorded keydb-2"]),
    ((primary(1), replica(2, paused=None)), SERVERS_FINE, (), ["unknown pause-unknown keydb-2"]),
    ((primary(1), replica(2, sentinels=None)), SERVERS_FINE, (), ["unknown kind-unknown keydb-2"]),
    ((primary(1, config_replicaof=UP), replica(2)), SERVERS_FINE, (), ["warning not-saved keydb-1"]),
    # Worst first, and what is known before what is not.
    (
        (primary(1, replicas=(Replica(replica(2).address, False, 0, 0),)), silent(2), guarded(3), proxy()),
        (conf(1, running={"port": "2", "replica-read-only": "yes"}),),
        (),
        ["critical wrong-route proxy-1", "warning guarded keydb-3", "warning running-differs keydb-1", "unknown node-no-answer keydb-2", "notice unsynced-replica keydb-1"],
    ),
]  # fmt: skip


@pytest.mark.parametrize("members, servers, proxies, expected", WHOLES)
def test_a_group_is_told_all_that_drifted_and_each_once(members, servers, proxies, expected):
    found = drift(group(*members), servers, proxies)
    words = [one.severity.value if one.verdict is Verdict.DRIFTED else one.verdict.value for one in found]
    told = [f"{word} {one.code} {one.where}" for word, one in zip(words, found, strict=True)]
    assert sorted(told) == sorted(expected)
    assert [line.split()[0] for line in told] == [line.split()[0] for line in expected]


# (topology, servers, proxies, what is said and what to do)
SENTENCES = [
    ((primary(1, epoch=None), replica(2)), (), (), "its data hold no epoch (FLUSHALL, eviction or a restore takes it); a switchover writes one"),
    ((promoted(2, ancestors=()),), (), (), "its promotion is not recorded: a node that comes back from before is a stranger; run rejoin"),
    ((primary(1), replica(2, paused=None)), (), (), "it could not be proved whether it holds writes back; look again when it is less busy"),
    (GOOD, (conf(1, running=None),), (), "what it runs with is unknown: NOPERM; run this again"),
    (GOOD, (), (replace(front(), running=None, detail="no answer"),), "what it runs with is unknown: no answer; run this again"),
    ((primary(1), replica(2, loading=True)), (), (), "is loading its data; wait until it has"),
    ((primary(1), guarded(2)), (), (), "was started guarded and follows nobody; run rejoin"),
]  # fmt: skip


@pytest.mark.parametrize("members, servers, proxies, sentence", SENTENCES)
def test_each_drift_says_what_is_wrong_and_what_to_do(members, servers, proxies, sentence):
    assert [one.sentence for one in drift(group(*members), servers, proxies)] == [sentence]


@pytest.mark.parametrize("members", [members for members, *_ in WHOLES])
def test_whatever_rejoin_would_do_is_told(members):
    """A run that has nothing to tell leaves rejoin nothing to do."""
    seen = group(*members)
    assert drift(seen, (), ()) or isinstance(rejoin.plan(seen, Request(), 1), NothingToDo)


@pytest.mark.parametrize("found, expected", [
    ((), Verdict.FINE),
    ((Verdict.UNKNOWN,), Verdict.UNKNOWN),
    ((Verdict.UNKNOWN, Verdict.DRIFTED), Verdict.DRIFTED),
])  # fmt: skip
def test_the_verdict_on_a_whole_is_its_worst(found, expected):
    drifts = [replace(only(ROWS["set by hand"]), verdict=one) for one in found]
    assert verdict(drifts) is expected


def own_codes(*others: str) -> set[str]:
    """Every code that the modules of drift give; those of findings are ``find``'s."""
    found: set[str] = set()
    for module in (*MODULES, *others):
        for call in ast.walk(ast.parse((RUNBOOKS / f"{module}.py").read_text())):
            if isinstance(call, ast.Call) and getattr(call.func, "id", "") in (
                "Drift",
                "unknown",
                "_differs",
                "_drift",
            ):
                found |= {part.value for part in ast.walk(call.args[0]) if isinstance(part, ast.Constant)}
    return found


def test_every_code_has_a_case_here():
    rows = {told.split(":")[0].split()[1] for row in ROWS.values() for told in row["told"]}
    others = {
        told.split(":")[0].split()[1]
        for _, expected in (*PROCESSES, *PROXIES, *FIREWALLS, *EXPOSURES)
        for told in expected
    }
    wholes = {told.split()[1] for *_, expected in WHOLES for told in expected}
    assert len(own_codes()) > 20
    assert own_codes() - rows - others - wholes == {"other-engine"}, "which has a test of its own"


def test_every_code_that_has_a_case_is_on_the_page_and_no_other():
    """Codes stand in the first column of its tables."""
    page = (Path(__file__).parents[3] / "docs" / "drift.md").read_text().partition("## Codes")[2]
    cells = [row.split("|")[1] for row in page.partition("## Exit codes")[0].splitlines() if row.startswith("| `")]
    assert {code for cell in cells for code in re.findall("`([^`]+)`", cell)} == {
        *own_codes("drift_certificate", "drift_objects"),
        *codes("Finding", "findings"),
        *HINTS,
        *(set(MADE) - {"made-unknown"}),
    }
