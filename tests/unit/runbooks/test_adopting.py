"""A server of somebody else's is taken over as it is, or not at all, and every reason is told with its way out."""

from dataclasses import replace

import pytest

from keydb_runbooks.runbooks.adopting import Found, Login, Unit, Wish, complaints, managed
from keydb_runbooks.runbooks.configuration import differences, merge

OURS = {"operator": ("on", "#1234", "+info"), "application": ("on", "#5678", "+@all")}
WISH = Wish(
    config="/srv/kv/kv.conf",
    program="/opt/kv/keydb-server",
    unit="kv.service",
    owner="kv:store",
    port=7001,
    tls=False,
    named=frozenset(),
    values={
        "keydb_data_directory": "/srv/kv/data",
        "keydb_log_file": "/srv/kv/kv.log",
        "keydb_min_replicas_to_write": 1,
        "keydb_min_replicas_max_lag": 2,
        "keydb_default_user": "off",
    },
    users=OURS,
    may_make_them=True,
)
TEXT = "port 7001\ndir /srv/kv/data/\nlogfile /srv/kv/kv.log\nmin-replicas-to-write 1\nmin-replicas-max-lag 2\n"
UNIT = Unit(
    file="/etc/systemd/system/kv.service",
    process=812,
    recorded=812,
    owner="kv:store",
    command=("/opt/kv/keydb-server", "/srv/kv/kv.conf", "--loglevel", "notice"),
    guarded=False,
)
FOUND = Found(TEXT, is_link=False, replaceable=True, unit=UNIT, login=Login(before=True))


def told(found=FOUND, wish=WISH) -> list[str]:
    return list(complaints(wish, found))


def with_text(text: str) -> Found:
    return replace(FOUND, text=text)


def with_unit(**changes) -> Found:
    return replace(FOUND, unit=replace(UNIT, **changes))


def test_what_goes_together_is_taken_over():
    assert told() == []
    assert told(replace(FOUND, login=Login(before=False, users={"operator": ("on", "#other")}))) == []


@pytest.mark.parametrize("text", ["", "logfile ''\nport 6379"])
def test_what_a_file_leaves_out_is_what_the_server_does_then(text):
    lease = {"keydb_min_replicas_to_write": 0, "keydb_min_replicas_max_lag": 2}
    assert told(with_text(text), replace(WISH, port=6379, values={**WISH.values, **lease})) == []


def test_a_file_that_is_not_there_is_told_alone():
    away = replace(FOUND, text=None, replaceable=False)
    assert told(away) == [
        "there is no /srv/kv/kv.conf: say in keydb_configuration_file which file its server was started with"
    ]


# (what is found, what is told of it)
FILES = [
    (replace(FOUND, is_link=True), "/srv/kv/kv.conf is a link, which a rewrite would replace: say in keydb_configuration_file where it leads"),
    (replace(FOUND, replaceable=False), "kv:store can't replace /srv/kv/kv.conf in its directory, as CONFIG REWRITE does; let it write there, or say in keydb_system_user who runs the server"),
    (with_text(f'{TEXT}x "'), "no server starts with /srv/kv/kv.conf: line 6: a quote is not closed, or something stands behind a closing one"),
    (with_text(f"{TEXT}aclfile /x"), "/srv/kv/kv.conf has aclfile; users stand in keydb.conf here: move its lines there, and take this one out"),
    (with_text(f"{TEXT}include /x"), "/srv/kv/kv.conf has include; what it names is not read: move its lines there"),
    (with_text(f"{TEXT}dir /else"), "/srv/kv/kv.conf has dir /else, the inventory /srv/kv/data; look at keydb_data_directory"),
    (with_text(f"{TEXT}logfile /x.log"), "/srv/kv/kv.conf has logfile /x.log, the inventory /srv/kv/kv.log; look at keydb_log_file"),
    (with_text(f"{TEXT}port 7002"), "/srv/kv/kv.conf has port 7002, the inventory 7001; look at keydb_port and keydb_tls_ca"),
    (with_text(TEXT.replace("port 7001", "")), "/srv/kv/kv.conf has port 6379, the inventory 7001; look at keydb_port and keydb_tls_ca"),
    (with_text(TEXT.replace("lag 2", "lag 9")), "/srv/kv/kv.conf has min-replicas-max-lag 9, and verbs reckon by it: set keydb_min_replicas_max_lag to that, or to what it shall be"),
    (with_text(TEXT.replace("write 1", "write 0")), "/srv/kv/kv.conf has min-replicas-to-write 0, and verbs reckon by it: set keydb_min_replicas_to_write to that, or to what it shall be"),
    (with_unit(file="", process=0), "systemd knows no kv.service: say in keydb_unit which unit starts the server"),
    (with_unit(process=0), "kv.service runs nothing, and the pid file names 812; look at keydb_unit and keydb_pid_file, or start the server by its unit"),
    (with_unit(recorded=0), "kv.service runs process 812, and the pid file names no process that runs; look at keydb_unit and keydb_pid_file, or start the server by its unit"),
    (with_unit(recorded=None), "kv.service runs process 812, and the pid file names no process that runs; look at keydb_unit and keydb_pid_file, or start the server by its unit"),
    (with_unit(owner="root:root"), "root:root runs the server, not kv:store: say so in keydb_system_user"),
    (with_unit(command=("/bin/sh", "-c", "'x'")), "kv.service starts it with quotes, blanks or a shell; let it name the program, its file and plain words"),
    (with_unit(command=()), "kv.service starts nothing, not /opt/kv/keydb-server: say in keydb_server what it starts"),
    (with_unit(command=("/usr/bin/keydb-server", "/srv/kv/kv.conf")), "kv.service starts /usr/bin/keydb-server, not /opt/kv/keydb-server: say in keydb_server what it starts"),
    (with_unit(command=("/opt/kv/keydb-server", "/else.conf")), "kv.service starts keydb-server without /srv/kv/kv.conf: look at keydb_configuration_file"),
    (replace(FOUND, login="it refuses"), "it refuses; look at keydb_users.admin (docs/adopt.md)"),
    (replace(FOUND, login=Login(before=True, users={"operator": ("on", "#other", "+info")})), "it has a user operator of somebody else's, with other rules or another password: take another name"),
]  # fmt: skip


@pytest.mark.parametrize("found, sentence", FILES)
def test_each_reason_is_told_with_its_way_out(found, sentence):
    assert told(found) == [sentence]


def test_a_port_of_its_own_is_for_those_who_speak_tls():
    wish = replace(WISH, tls=True)
    assert told(with_text(TEXT.replace("port", "tls-port")), wish) == []
    assert told(wish=wish) == [
        "/srv/kv/kv.conf has tls-port 0, the inventory 7001; look at keydb_port and keydb_tls_ca"
    ]


def test_what_the_inventory_names_may_differ_from_the_file():
    named = replace(WISH, named=frozenset({"keydb_min_replicas_to_write"}))
    assert told(with_text(TEXT.replace("write 1", "write 2")), named) == []


def test_the_lag_counts_where_replicas_are_needed():
    lag = "/srv/kv/kv.conf has min-replicas-max-lag 9, and verbs reckon by it: set keydb_min_replicas_max_lag to that, or to what it shall be"
    none_is_needed = with_text(TEXT.replace("write 1", "write 0").replace("lag 2", "lag 9"))
    (needs,) = told(none_is_needed)
    assert "min-replicas-to-write 0" in needs
    named = replace(WISH, named=frozenset({"keydb_min_replicas_to_write"}))
    assert told(none_is_needed, named) == [lag]
    without = replace(named, values={**WISH.values, "keydb_min_replicas_to_write": 0})
    assert told(with_text(TEXT.replace("lag 2", "lag 9")), without) == []


def test_an_upgrade_names_another_program_than_the_guarded_unit():
    assert told(with_unit(guarded=True, command=("/old", "/srv/kv/kv.conf"))) == []


def test_a_user_that_a_dead_run_made_is_ours():
    users = {"operator": ("on", "#1234", "-@all", "+info"), "bob": ("on",)}
    assert told(replace(FOUND, login=Login(before=True, users=users))) == []


def test_a_server_that_does_not_run_has_nobody_to_log_in():
    found = replace(with_unit(process=0, recorded=0), login="nothing listens")
    assert told(found) == []


def test_without_anybody_who_may_make_users_that_is_asked_for():
    asked = told(replace(FOUND, login="it refuses"), replace(WISH, may_make_them=False))
    assert asked == ["it refuses; add keydb_users.admin, who may make users (docs/adopt.md)"]


# (who is logged in as the default user, what is told where it is to be switched off)
DEFAULT = [
    (Login(before=False, clients=3, replicas=2), ["3 clients are logged in as the default user, which keydb_default_user would switch off; leave that out until they log in as the application's user"]),
    (Login(before=False, replicas=2), ["2 replicas are logged in as the default user, which keydb_default_user would switch off; install without it, run restart, then this again"]),
    (Login(before=False), []),
]  # fmt: skip


@pytest.mark.parametrize("login, sentences", DEFAULT)
def test_nobody_loses_the_default_user_while_logged_in_by_it(login, sentences):
    off = replace(WISH, named=frozenset({"keydb_default_user"}))
    found = replace(FOUND, login=login)
    assert told(found, off) == sentences
    assert told(found) == []
    assert told(found, replace(off, values={**WISH.values, "keydb_default_user": "keep"})) == []


WANTED = """# Written by keydb-runbooks.
# More.
port 6379
maxmemory 256mb
maxmemory-policy noeviction
hz 10
user default off
user operator on #1234 +info
masterauth secret
"""


def test_only_what_the_inventory_names_is_managed():
    assert managed(WANTED, {"keydb_port"}, {}) == (
        "# Written by keydb-runbooks.\nuser operator on #1234 +info\nmasterauth secret\n"
    )
    asked = managed(WANTED, {"keydb_maxmemory", "keydb_default_user"}, {"hz": 20})
    assert asked.splitlines()[1:] == WANTED.splitlines()[3:4] + WANTED.splitlines()[5:]


def test_everything_else_of_the_file_stays():
    there = "maxmemory 8gb\nmaxmemory-policy volatile-lru\nmasterauth old\n"
    wanted = managed(WANTED, (), ())
    assert [one.name for one in differences(wanted, there)] == ["user", "masterauth"]
    made = merge(wanted, there)
    assert differences(wanted, made) == [] == differences("maxmemory 8gb\nmaxmemory-policy volatile-lru", made)
