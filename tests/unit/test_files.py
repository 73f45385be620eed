"""Replacing a configuration file: the scripts that run on a node, run here."""

import os
import shlex
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
from pyinfra.api.exceptions import OperationError
from pyinfra.connectors.util import CommandOutput, OutputLine

from keydb_runbooks.connectors import ahead
from keydb_runbooks.operations import files
from keydb_runbooks.operations.files import LOOK, Access, Seen, mend_access, replace_file, seen_in

SH = shutil.which("sh")
TEXTS = [b"a\n", b"a", b"", b"a\n\n", b"a\r\n", b"\xff\xfe \n"]
CHANGED = "was changed meanwhile, by a verb or another install: run this again"


def read(present: bytes) -> str:
    """A file's text as ``read_file`` gives it."""
    text = present.decode("utf-8", "surrogateescape")
    return text if text.endswith("\n") else f"{text}\n"


def replaced(file: Path, seen, *, programs: str | None = None, meanwhile: bytes | None = None) -> tuple[int, str]:
    """Run what replaces a file by ``new``; the exit code of its last command, and what that says."""
    write, rename = replace_file(str(file), "new\n", None, seen=seen)
    for command in (write, rename):
        if command is rename and meanwhile is not None:
            file.write_bytes(meanwhile)
        given = command.connector_arguments["_stdin"]
        words = [SH, "-c", command.get_raw_value()]
        path = {"PATH": programs} if programs and command is rename else None
        done = subprocess.run(words, input=given, capture_output=True, text=True, timeout=10, env=path, check=False)
    return done.returncode, done.stderr


def test_a_file_is_given_its_owner_and_mode_before_it_has_its_name(tmp_path):
    me = tmp_path.owner()
    write, rename = replace_file(str(tmp_path / "a b"), "x\n", None, access=Access(me, tmp_path.group(), "640"))
    run(write)
    (new,) = tmp_path.iterdir()
    assert new.stat().st_mode & 0o777 == 0o640
    run(rename)
    assert names(tmp_path / "a b") == ["a b"]


def test_a_file_that_can_not_be_given_its_owner_is_not_written(tmp_path):
    write, _ = replace_file(str(tmp_path / "a"), "x\n", None, access=Access("no-such-user", "no-such-group", "640"))
    assert run(write).returncode == 1
    assert not [*tmp_path.iterdir()]


def run(command) -> subprocess.CompletedProcess:
    words = [SH, "-c", command.get_raw_value()]
    given = command.connector_arguments["_stdin"]
    return subprocess.run(words, input=given, capture_output=True, text=True, timeout=10, check=False)


def looked(path: Path) -> Seen | None:
    done = subprocess.run([SH, "-c", LOOK, "sh", path], capture_output=True, text=True, timeout=10, check=True)
    return seen_in(done.stdout.splitlines())


@pytest.mark.parametrize("present", TEXTS)
def test_a_file_is_seen_with_its_owner_and_mode(tmp_path, present):
    file = tmp_path / "a b"
    file.write_bytes(present)
    file.chmod(0o640)
    assert looked(file) == Seen(read(present), Access(file.owner(), file.group(), "640"))


def test_no_file_and_a_link_to_one_are_seen_as_such(tmp_path):
    (tmp_path / "there").write_text("x\n")
    (tmp_path / "link").symlink_to("there")
    assert looked(tmp_path / "link") == Seen("x\n", None)
    assert looked(tmp_path / "missing") is None


def test_what_can_not_be_read_is_a_failure_and_not_a_missing_file(tmp_path):
    (tmp_path / "link").symlink_to("nowhere")
    for path in (tmp_path, tmp_path / "link"):
        assert subprocess.run([SH, "-c", LOOK, "sh", path], capture_output=True, check=False).returncode != 0


OURS = Access("root", "keydb", "640")
# (whose the file is, what is done)
MENDED = [
    (OURS, []),
    # A link's own owner means nothing.
    (None, []),
    (Access("root", "keydb", "644"), ["chown root:keydb f", "chmod 640 f"]),
    (Access("root", "root", "640"), ["chown root:keydb f", "chmod 640 f"]),
    (Access("keydb", "keydb", "640"), ["chown root:keydb f", "chmod 640 f"]),
]


@pytest.mark.parametrize("access, done", MENDED)
def test_a_file_of_somebody_else_is_noticed(access, done):
    assert [command.get_raw_value() for command in mend_access(Seen("", access), "f", OURS)] == done
    assert mend_access(Seen("", access), "f", None) == []


def names(file: Path) -> list[str]:
    return sorted(path.name for path in file.parent.iterdir())


@pytest.mark.parametrize("present", TEXTS)
def test_a_file_that_is_as_it_was_read_is_replaced_and_kept(tmp_path, present):
    file = tmp_path / "a b.conf"
    file.write_bytes(present)
    assert replaced(file, read(present)) == (0, "")
    assert file.read_bytes() == b"new\n"
    assert (tmp_path / "a b.conf.previous").read_bytes() == present
    assert names(file) == ["a b.conf", "a b.conf.previous"]
    assert (tmp_path / "a b.conf.previous").stat().st_mode & 0o077 == 0, "it may have been open to others"
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("meanwhile", [b"a\nreplicaof 127.0.0.1 1\n", b"b\n", b""])
def test_a_file_that_somebody_changed_meanwhile_stays_as_it_is(tmp_path, meanwhile):
    file = tmp_path / "keydb.conf"
    file.write_bytes(b"a\n")
    code, told = replaced(file, "a\n", meanwhile=meanwhile)
    assert (code, told) == (1, f"{file} {CHANGED}\n")
    assert (names(file), file.read_bytes()) == (["keydb.conf"], meanwhile)


def test_a_file_that_came_or_went_meanwhile_is_a_changed_one(tmp_path):
    file = tmp_path / "keydb.conf"
    assert replaced(file, "a\n") == (1, f"{file} {CHANGED}\n")
    assert names(file) == []
    assert replaced(file, None, meanwhile=b"a\n") == (1, f"{file} {CHANGED}\n")
    assert file.read_bytes() == b"a\n"


def test_a_file_that_was_not_there_is_made(tmp_path):
    file = tmp_path / "keydb.conf"
    assert replaced(file, None) == (0, "")
    assert (names(file), file.read_bytes()) == (["keydb.conf"], b"new\n")


def test_what_another_install_has_just_written_is_left_alone(tmp_path):
    file = tmp_path / "keydb.conf"
    file.write_bytes(b"a\n")
    assert replaced(file, "a\n", meanwhile=b"new\n") == (0, "another install has just written the same\n")
    assert names(file) == ["keydb.conf"]


def test_a_file_that_nobody_else_writes_is_replaced_whatever_it_is(tmp_path):
    file = tmp_path / "monitoring.auth"
    file.write_bytes(b"a\n")
    assert replaced(file, ...) == (0, "")
    assert file.read_bytes() == b"new\n"


@pytest.mark.parametrize("missing", ["sha256sum", "cp"])
def test_a_machine_that_lacks_a_program_keeps_its_file(tmp_path, missing):
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in {"cat", "tail", "cut", "cp", "mv", "rm", "sh", "sha256sum"} - {missing}:
        (programs / name).symlink_to(shutil.which(name))
    file = tmp_path / "etc" / "keydb.conf"
    file.parent.mkdir()
    file.write_bytes(b"a\n")
    code, told = replaced(file, "a\n", programs=str(programs))
    assert code == 1
    assert "so it stays as it is" in told or f"so {file} stays as it is" in told
    assert (names(file), file.read_bytes()) == (["keydb.conf"], b"a\n")


# Looking ahead


class State:
    """Stands for pyinfra's, of which only its identity counts."""


def looking(state: State, name: str = "keydb-1") -> SimpleNamespace:
    return SimpleNamespace(name=name, state=state)


@pytest.fixture
def shell(monkeypatch):
    """The machine is this one; how often it was asked."""
    asked = []

    def run(target, command):
        asked.append(target.name)
        words = shlex.split(command.get_raw_value())
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()

    monkeypatch.setattr(
        files, "try_quietly", lambda *asked: (True, CommandOutput([OutputLine("stdout", line) for line in run(*asked)]))
    )
    monkeypatch.setattr(ahead, "run_quietly", run)
    return asked


def printed(where, *lines):
    return CommandOutput([OutputLine(where, line) for line in lines])


def test_where_nothing_can_be_read_it_is_said_why(monkeypatch):
    told = printed("stderr", "sudo: a terminal is required", "sudo: a password is required", "")
    monkeypatch.setattr(files, "try_quietly", lambda *_: (False, told))
    with pytest.raises(OperationError, match=r"^keydb-1: /etc/x can't be read: sudo: a password is required$"):
        files.look(looking(State()), "/etc/x")


def test_what_was_looked_at_ahead_is_seen_once_and_then_looked_at_again(tmp_path, shell):
    first, second, empty = tmp_path / "a b", tmp_path / "c", tmp_path / "empty"
    first.write_text("one\n@2\n")
    second.write_bytes(b"\xff\xfe\n" * 100)
    empty.touch()
    target = looking(State())
    files.look_ahead(target, [str(first), str(tmp_path / "none"), str(second), str(empty), str(tmp_path)])
    assert files.seen_ahead(target, str(first), keep=True) == files.look(target, str(first))
    assert files.look(target, str(second)).text.encode("utf-8", "surrogateescape") == second.read_bytes()
    assert files.look(target, str(empty)).text == "\n"
    assert files.seen_ahead(target, str(tmp_path)).access.mode == f"{tmp_path.stat().st_mode & 0o7777:o}"
    assert shell == ["keydb-1"]

    first.write_text("two\n")
    assert files.look(target, str(first)).text == "two\n"
    assert shell == ["keydb-1"] * 2


def test_what_is_not_there_yet_a_link_and_another_host_are_looked_at_when_it_is_time(tmp_path, shell):
    there, state = tmp_path / "there", State()
    (tmp_path / "link").symlink_to(there)
    files.look_ahead(looking(state), [str(there), str(tmp_path / "link")])
    there.write_text("brought\n")
    assert files.look(looking(state), str(there)).text == "brought\n"
    assert files.look(looking(state), str(tmp_path / "link")).access is None
    files.look_ahead(looking(state), [str(there)])
    assert files.seen_ahead(looking(state, "keydb-2"), str(there)) is None
    assert files.seen_ahead(looking(State()), str(there)) is None


def test_a_second_name_of_a_file_and_a_pipe_are_looked_at_when_it_is_time(tmp_path, shell):
    state, names = State(), [str(tmp_path / name) for name in ("first", "second", "pipe")]
    (tmp_path / "first").write_text("text\n")
    os.link(names[0], names[1])
    os.mkfifo(names[2])
    files.look_ahead(looking(state), names)
    assert files.seen_ahead(looking(state), names[0]).text == "text\n"
    assert files.seen_ahead(looking(state), names[1]) is None
    assert files.seen_ahead(looking(state), names[2]) is None


@pytest.mark.parametrize("there", [0.0, 0.4, 0.9])
def test_files_that_did_not_come_whole_are_looked_at_when_it_is_time(tmp_path, shell, monkeypatch, there):
    path, run = tmp_path / "file", ahead.run_quietly
    path.write_text("0123456789" * 1000)

    def cut(target, command):
        (line,) = run(target, command)
        return [line[: int(len(line) * there)]]

    monkeypatch.setattr(ahead, "run_quietly", cut)
    state = State()
    files.look_ahead(looking(state), [str(path)])
    assert files.seen_ahead(looking(state), str(path)) is None


def test_where_there_is_no_tar_files_are_looked_at_when_it_is_time(tmp_path, shell, monkeypatch):
    (tmp_path / "sh").symlink_to(shutil.which("sh"))
    (tmp_path / "base64").symlink_to(shutil.which("base64"))
    monkeypatch.setenv("PATH", str(tmp_path))
    state = State()
    files.look_ahead(looking(state), [str(tmp_path)])
    assert files.seen_ahead(looking(state), str(tmp_path)) is None


def test_what_a_package_may_have_changed_is_looked_at_again(tmp_path, shell):
    state = State()
    there = tmp_path / "there"
    there.write_text("before\n")
    for name in ("keydb-1", "keydb-2"):
        files.look_ahead(looking(state, name), [str(there)])
    files.forget_ahead(looking(state))
    assert files.seen_ahead(looking(state), str(there)) is None
    assert files.seen_ahead(looking(state, "keydb-2"), str(there)) is not None
