"""``show stat`` becomes what a proxy believes."""

import pytest

from keydb_runbooks.runbooks.proxy import StatisticsError, proxy_from_statistics

HEAD = "# pxname,svname,scur,status,check_status,\n"
TEXT = HEAD + (
    "demo-write,FRONTEND,3,OPEN,,\ndemo-write,keydb-1,3,UP,L7OK,\ndemo-write,keydb-2,,DOWN 1/2,* L7TOUT,\n"
    "demo-write,BACKEND,3,UP,,\ndemo-read,keydb-1,0,DOWN,L7RSP,\ndemo-read,keydb-2,5,UP 1/2,L7OK,\nother,x,1,UP,,\n"
)


def test_a_proxy_is_its_groups_two_backends():
    proxy = proxy_from_statistics("proxy-1", "demo", TEXT)
    assert [(one.node, one.up, one.status, one.check, one.sessions) for one in proxy.writers] == [
        ("keydb-1", True, "UP", "L7OK", 3),
        ("keydb-2", False, "DOWN 1/2", "L7TOUT", 0),
    ]
    assert [(one.node, one.up) for one in proxy.readers] == [("keydb-1", False), ("keydb-2", True)]
    assert (proxy.write_backend, proxy.read_backend, proxy.writes_go_to) == ("demo-write", "demo-read", ("keydb-1",))
    assert proxy.name == "proxy-1"


def test_since_when_a_server_is_what_it_is():
    text = (
        "# pxname,svname,scur,status,check_status,lastchg,\n"
        "demo-write,keydb-1,0,UP,L7OK,17,\ndemo-write,keydb-2,0,UP,L7OK,,\ndemo-read,keydb-1,0,UP,L7OK,0,\n"
    )
    proxy = proxy_from_statistics("proxy-1", "demo", text)
    assert [one.since_seconds for one in (*proxy.writers, *proxy.readers)] == [17, None, 0]
    assert proxy_from_statistics("proxy-1", "demo", TEXT).writers[0].since_seconds is None


def test_statistics_that_tell_of_no_checks_leave_these_empty():
    text = "# pxname,svname,scur,status,\ndemo-write,keydb-1,0,no check,\ndemo-read,keydb-1,0,no check,\n"
    assert [one.check for one in proxy_from_statistics("proxy-1", "demo", text).writers] == [""]


@pytest.mark.parametrize("status", ["DOWN", "DOWN 1/2", "MAINT", "MAINT (resolution)", "DRAIN", "NOLB"])
def test_no_new_writing_connection_goes_to_a_server_that_is_not_up(status):
    text = f"{HEAD}demo-write,keydb-1,0,{status},,\ndemo-read,keydb-1,0,UP,,\n"
    assert proxy_from_statistics("proxy-1", "demo", text).writes_go_to == ()


def test_a_server_without_a_check_gets_connections_like_one_that_is_up():
    text = f"{HEAD}demo-write,keydb-1,0,no check,,\ndemo-read,keydb-1,0,UP,,\n"
    assert proxy_from_statistics("proxy-1", "demo", text).writes_go_to == ("keydb-1",)


@pytest.mark.parametrize(
    "text, sentence",
    [
        ("", "proxy-1 has no backend demo-write and no backend demo-read"),
        (HEAD + "demo-write,keydb-1,0,UP,,\n", "proxy-1 has no backend demo-read"),
    ],
)
def test_a_proxy_without_the_groups_backends_is_refused(text, sentence):
    with pytest.raises(StatisticsError) as caught:
        proxy_from_statistics("proxy-1", "demo", text)
    assert str(caught.value) == sentence
