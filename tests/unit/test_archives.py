"""A program is taken out of what was fetched whole, and comes to a node whole, or the old one stays."""

import io
import subprocess
import tarfile
from hashlib import sha256
from pathlib import Path

import pytest

from keydb_runbooks.operations.archives import LOOK, MAKE, TAKE, ArchiveError, fetch, unpack
from tests.fleet.archive import pack, serving

PROGRAM = "#!/bin/sh\necho 'KeyDB server v=6.3.4 sha=0'\n"


def sum_of(content: bytes) -> str:
    return sha256(content).hexdigest()


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "built"
    path.write_text(PROGRAM)
    return path


def packed(*names: str) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:xz") as archive:
        for name in names:
            one = tarfile.TarInfo(name)
            one.size = len(name)
            archive.addfile(one, io.BytesIO(name.encode()))
    return made.getvalue()


# What is fetched


def test_what_has_its_checksum_is_taken_from_a_url_and_from_a_file(tmp_path):
    with serving() as files:
        url, right = files.put("/x.tar.gz", b"whole")
        assert fetch(url, right.upper()) == b"whole"
    (tmp_path / "x").write_bytes(b"whole")
    assert fetch(str(tmp_path / "x"), right) == b"whole"


def test_another_checksum_is_told_and_nothing_is_taken(tmp_path):
    (tmp_path / "x").write_bytes(b"other")
    with pytest.raises(ArchiveError, match=rf"x has the checksum {sum_of(b'other')} \(5 bytes\), and keydb_program"):
        fetch(str(tmp_path / "x"), sum_of(b"whole"))


@pytest.mark.parametrize("fault", ["cut", "gone", "refused", "no file"])
def test_what_can_not_be_read_to_its_end_is_told(fault, tmp_path):
    with serving() as files:
        url, right = files.put("/x", b"whole" * 1000)
        if fault == "cut":
            files.cut.add("/x")
        source = {"gone": f"{url}/else", "no file": str(tmp_path / "none"), "refused": "http://127.0.0.1:1/x"}
        with pytest.raises(ArchiveError, match=r"can't be fetched: \S+"):
            fetch(source.get(fault, url), right)


def test_the_checksum_is_of_what_came_even_if_nobody_says_that_it_was_cut():
    with pytest.raises(ArchiveError, match="has the checksum"):
        fetch("/dev/null", sum_of(b"whole"))


# What is in it


def test_a_program_is_found_by_its_name_or_by_its_path(program):
    assert unpack(pack(program, "keydb-server"), "keydb-server", "x") == PROGRAM.encode()
    assert unpack(packed("a/kv", "b/kv"), "b/kv", "x") == b"b/kv"
    assert unpack(packed("./kv", "b/kv"), "kv", "x") == b"./kv"
    assert unpack(packed("../../etc/kv"), "kv", "x") == b"../../etc/kv"


def test_what_is_no_tarball_is_the_program():
    assert unpack(PROGRAM.encode(), "keydb-server", "x") == PROGRAM.encode()


@pytest.mark.parametrize(
    "names, told",
    [
        (("a/kv", "b/kv"), r"x has several kv \(a/kv, b/kv\); say in keydb_program_member"),
        (("a/other",), r"x has no kv \(a/other\); say in keydb_program_member"),
        ((), r"x has no kv \(nothing\)"),
    ],
)
def test_a_tarball_without_the_one_program_says_what_it_has(names, told):
    with pytest.raises(ArchiveError, match=told):
        unpack(packed(*names), "kv", "x")


def test_a_link_in_a_tarball_is_no_program():
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        link = tarfile.TarInfo("kv")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/shadow"
        archive.addfile(link)
    with pytest.raises(ArchiveError, match="x has no kv"):
        unpack(made.getvalue(), "kv", "x")


# How it comes to a node


def shell(text: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["sh", "-c", text, "sh", *map(str, arguments)], capture_output=True, text=True, check=False)


def brought(top: Path, content: str, promised: str) -> subprocess.CompletedProcess[str]:
    place, new = top / "1234" / "keydb-server", top / "1234.new.abcd"
    assert shell(MAKE, new).returncode == 0
    (new / "keydb-server").write_text(content)
    return shell(TAKE, new / "keydb-server", place, sum_of(promised.encode()))


def test_a_whole_program_is_there_at_once_and_can_be_started(tmp_path):
    top = tmp_path / "programs"
    assert shell(LOOK, top / "1234" / "keydb-server").stdout == "missing\n"
    done = brought(top, PROGRAM, PROGRAM)
    assert done.returncode == 0, done.stderr
    assert shell(LOOK, top / "1234" / "keydb-server").stdout == "there\n"
    assert [path.name for path in top.iterdir()] == ["1234"]
    # Two at once: the second finds it.
    assert brought(top, PROGRAM, PROGRAM).returncode == 0
    assert [path.name for path in top.iterdir()] == ["1234"]


@pytest.mark.parametrize(
    "content, promised, told",
    [
        (PROGRAM[:20], PROGRAM, "did not come whole, the old program stays"),
        ("#!/nonexistent\n", "#!/nonexistent\n", "does not run on this machine, the old program stays"),
        ("#!/bin/sh\necho no server\n", "#!/bin/sh\necho no server\n", "does not run on this machine"),
    ],
)
def test_anything_else_leaves_nothing(content, promised, told, tmp_path):
    top = tmp_path / "programs"
    (top / "0000").mkdir(parents=True)
    done = brought(top, content, promised)
    assert done.returncode == 1
    assert told in done.stderr
    assert [path.name for path in top.iterdir()] == ["0000"]
