"""An inventory that isn't there, and questions that nobody can answer."""

import io
from types import SimpleNamespace

import gevent
import pytest
from pyinfra.context import ctx_state

from keydb_runbooks.operations import beginning
from keydb_runbooks.operations.beginning import Answers, refuse_inventory

THERE = ("inventories/prod.py", "inventories/sandbox.py")

MISSING = ["inventories/sandbx.py", "inventories/sandbox", "sandbox.py", "/nowhere/prod.py", "../prod"]
SOMETHING_ELSE = [
    "",
    "config.py",
    "inventories",
    "keydb-1",
    "@local",
    "@docker/a/b",
    "10.0.0.1,10.0.0.2",
    "project.hosts",
]


@pytest.mark.parametrize("name", MISSING)
def test_a_file_that_is_not_there_is_no_inventory(name):
    told = refuse_inventory(name, (), THERE)
    assert told == f"refused: no-inventory: {name} does not exist; there are {', '.join(THERE)}"


@pytest.mark.parametrize("name", SOMETHING_ELSE)
def test_what_is_no_file_is_left_to_pyinfra(name):
    assert refuse_inventory(name, (), THERE) is None


def test_any_word_may_be_a_host_if_its_address_is_given():
    assert refuse_inventory("a/b", ("to=x", "ssh_hostname=10.0.0.1"), THERE) is None
    assert refuse_inventory("a/b", ("to=x",), ()) == "refused: no-inventory: a/b does not exist; there are none here"


def test_an_answer_is_passed_on_and_none_is_refused():
    answers = Answers(io.StringIO("n\n"))
    assert answers.readline() == "n\n"
    with pytest.raises(SystemExit) as ended:
        answers.readline()
    assert ended.value.code == 1


def test_a_password_that_a_machine_asks_for_is_not_pyinfras_question(monkeypatch):
    """Nothing is to be executed either while all is being prepared: that ended a drift by cron as if all were well."""
    monkeypatch.setattr(beginning, "nothing_to_execute", lambda _: True)

    def ask() -> object:
        with ctx_state.use(SimpleNamespace(failed_hosts=set())), pytest.raises(SystemExit) as ended:
            Answers(io.StringIO()).readline()
        return ended.value.code

    assert ask() == 0
    assert gevent.spawn(ask).get() == 1


@pytest.mark.parametrize("stream", [None, io.StringIO()])
def test_a_standard_input_that_is_closed_is_nobody(stream):
    if stream is not None:
        stream.close()
    answers = Answers(stream)
    assert answers.closed and not answers.isatty()
    with pytest.raises(SystemExit):
        answers.readline()


def test_input_reads_by_the_line_and_not_from_the_terminal_itself():
    with pytest.raises(OSError):
        Answers(io.StringIO()).fileno()
