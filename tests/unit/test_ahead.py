"""Facts that are asked for together: each gets what it would have got alone, once, and as long as nothing is changed."""

import subprocess
from collections import defaultdict
from types import SimpleNamespace

import gevent
import pytest
from pyinfra.api import FactBase
from pyinfra.facts.server import Which

from keydb_runbooks.connectors import ahead
from keydb_runbooks.connectors.shell import script
from keydb_runbooks.facts.data import DataFiles
from keydb_runbooks.facts.machine import Checksums, FileText, RealDirectory


class Fails(FactBase[str]):
    """Tells something, and fails all the same."""

    def command(self, code: int):
        return script('echo told; exit "$1"', str(code))


class Reads(FactBase[list[str]]):
    """Whatever there is on its standard input."""

    def command(self):
        return "cat"

    def process(self, output):
        return output


class State:
    """Stands for pyinfra's."""

    def __init__(self):
        self.ops = defaultdict(dict)

    def has_done(self, host, executed):
        self.ops[host][len(self.ops[host])] = SimpleNamespace(operation_meta=SimpleNamespace(executed=executed))


class Host:
    """The machine is this one; it counts what it is asked."""

    def __init__(self, state=None, name="keydb-1", connected=True):
        self.state = state or State()
        self.name = name
        self.connected = connected
        self.asked = []

    def get_fact(self, fact, **arguments):
        lines = run(self, fact().command(**arguments))
        return fact().process(lines) if lines else fact.default()


def run(host, command):
    text = command if isinstance(command, str) else command.get_raw_value()
    host.asked.append(text)
    done = subprocess.run(
        ["sh", "-c", text], input="not for them\n", capture_output=True, text=True, errors="surrogateescape"
    )
    return done.stdout.splitlines() if done.returncode == 0 else None


@pytest.fixture(autouse=True)
def shell(monkeypatch):
    monkeypatch.setattr(ahead, "run_quietly", run)


TEXTS = {"whole": "a\nb\n", "cut": "a\nb", "ends empty": "a\n\n", "begins empty": "\n\na\n", "blank": "\n", "empty": "", "odd": "  a\t'\"$(b)\\\n%s\n"}  # fmt: skip


@pytest.mark.parametrize("name", TEXTS)
def test_each_answer_is_what_the_fact_tells_alone(tmp_path, name):
    path = tmp_path / "a 'b'"
    path.write_text(TEXTS[name])
    questions = [
        (FileText, {"path": str(path)}),
        (RealDirectory, {"path": str(tmp_path)}),
        (RealDirectory, {"path": str(tmp_path / "none")}),
        (Which, {"command": "sh"}),
        (Which, {"command": "no such program"}),
        (DataFiles, {"path": str(tmp_path)}),
        (Checksums, {"paths": [str(path), str(tmp_path / "none")]}),
    ]
    alone = [ahead.quiet_answer(Host(), question) for question in questions]
    host = Host()
    ahead.ask(host, questions)
    assert [ahead.answer(host, question) for question in reversed(questions)] == alone[::-1]
    assert len(host.asked) == 1


def test_no_command_is_given_what_the_others_are_read_from(tmp_path):
    host, directory = Host(), (RealDirectory, {"path": str(tmp_path)})
    ahead.ask(host, [(Reads, {}), directory])
    assert ahead.answer(host, (Reads, {})) is None
    assert ahead.answer(host, directory) == str(tmp_path)


class Shell(FactBase[str]):
    """Which process runs a script, its argument, and what another script left behind."""

    def command(self, word: str):
        return script('echo "$$ $# $1 ${left-nothing}"; left=something; exit 0', word)

    def process(self, output):
        return output[0]


def test_scripts_run_in_copies_of_one_shell_and_leave_nothing_behind_for_the_next():
    host, questions = Host(), [(Shell, {"word": word}) for word in ("a 'b' $c", "*")]
    ahead.ask(host, questions)
    (first, *one), (second, *other) = (ahead.answer(host, question).split(" ", 1) for question in questions)
    assert first == second
    assert (one, other) == (["1 a 'b' $c nothing"], ["1 * nothing"])


def test_an_answer_is_told_once_then_the_machine_is_asked(tmp_path):
    path, host = tmp_path / "file", Host()
    path.write_text("one\n")
    question = (FileText, {"path": str(path)})
    ahead.ask(host, [question])
    assert ahead.get_quietly(host, FileText, path=str(path))["text"] == "one\n"
    path.write_text("two\n")
    assert ahead.quiet_answer(host, question)["text"] == "two\n"
    assert len(host.asked) == 2


def test_what_was_seen_before_an_operation_changed_the_machine_is_no_answer_any_more(tmp_path):
    path, host = tmp_path / "file", Host()
    path.write_text("one\n")
    questions = [(FileText, {"path": str(path)}), (RealDirectory, {"path": str(tmp_path)})]
    ahead.ask(host, questions)
    host.state.has_done(host, executed=False)
    host.state.has_done(Host(host.state, "keydb-2"), executed=True)
    assert ahead.answer(host, questions[0])["text"] == "one\n"
    host.state.has_done(host, executed=True)
    assert ahead.answer(host, questions[1]) == str(tmp_path)
    assert len(host.asked) == 2


def test_an_old_answer_is_none(monkeypatch, tmp_path):
    host, directory = Host(), (RealDirectory, {"path": str(tmp_path)})
    ahead.ask(host, [directory, directory])
    now = ahead.time.monotonic()
    monkeypatch.setattr(ahead.time, "monotonic", lambda: now + ahead.FRESH_SECONDS + 1)
    assert ahead.answer(host, directory) == str(tmp_path)
    assert len(host.asked) == 1, "by itself: what was asked ahead was not even waited for"


def test_a_command_that_fails_is_asked_alone_and_spoils_no_other(tmp_path):
    host = Host()
    directory = (RealDirectory, {"path": str(tmp_path)})
    ahead.ask(host, [(Fails, {"code": 3}), directory])
    assert ahead.answer(host, (Fails, {"code": 3})) is None
    assert len(host.asked) == 2
    assert ahead.answer(host, directory) == str(tmp_path)
    assert len(host.asked) == 2


def test_a_machine_that_answers_nothing_is_asked_again_by_each(monkeypatch, tmp_path):
    """As sudo that wants a password: whoever asks alone says so."""
    host, directory = Host(), (RealDirectory, {"path": str(tmp_path)})
    monkeypatch.setattr(ahead, "run_quietly", lambda *_: None)
    ahead.ask(host, [directory])
    assert ahead.answer(host, directory) == str(tmp_path)
    assert len(host.asked) == 1


@pytest.mark.parametrize("error", [OSError("gone"), TimeoutError(), ConnectionError("closed")])
def test_a_connection_that_breaks_meanwhile_is_no_error_of_whoever_asked_for_nothing(monkeypatch, tmp_path, error):
    host, directory = Host(), (RealDirectory, {"path": str(tmp_path)})

    def breaks(*_):
        raise error

    monkeypatch.setattr(ahead, "run_quietly", breaks)
    ahead.ask(host, [directory])
    assert ahead.answer(host, directory) == str(tmp_path)


def test_a_machine_that_hangs_is_waited_for_as_long_as_an_answer_counts(monkeypatch, tmp_path):
    host, directory = Host(), (RealDirectory, {"path": str(tmp_path)})
    monkeypatch.setattr(ahead, "FRESH_SECONDS", 0.1)
    monkeypatch.setattr(ahead, "run_quietly", lambda *_: gevent.sleep(60))
    ahead.ask(host, [directory])
    assert ahead.answer(host, directory) == str(tmp_path)


def test_hosts_and_runs_do_not_hear_of_each_other(tmp_path):
    question = (RealDirectory, {"path": str(tmp_path)})
    host = Host()
    ahead.ask(host, [question])
    for other in (Host(host.state, "keydb-2"), Host(State())):
        assert ahead.answer(other, question) == str(tmp_path)
        assert len(other.asked) == 1


def test_who_is_not_connected_is_asked_nothing():
    host = Host(connected=False)
    ahead.ask(host, [(Reads, {})])
    ahead.ask(Host(), [])
    assert host.asked == []
