"""What the boot guard makes of a peer that isn't a server, or no longer behaves like one: it ends, and says so."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "templates" / "boot-guard.sh"

Behaviour = Callable[[socket.socket, threading.Event], None]


def silent(_: socket.socket, over: threading.Event) -> None:
    over.wait()


def trickling(peer: socket.socket, over: threading.Event) -> None:
    while not over.wait(0.3):
        peer.sendall(b"# one more line\r\n")


def endless(peer: socket.socket, over: threading.Event) -> None:
    while not over.is_set():
        peer.sendall(b"lines and lines\r\n" * 1000)


def one_long_line(peer: socket.socket, over: threading.Event) -> None:
    while not over.is_set():
        peer.sendall(b"x" * 65536)


def leaving(_: socket.socket, __: threading.Event) -> None:
    return


def another_service(peer: socket.socket, over: threading.Event) -> None:
    peer.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    over.wait()


def colourful(peer: socket.socket, over: threading.Event) -> None:
    peer.sendall(b"-ERR \x1b[31mred\x07 $(touch never)\r\n")
    over.wait()


def loading(peer: socket.socket, over: threading.Event) -> None:
    peer.sendall(b"-LOADING KeyDB is loading the dataset in memory\r\n")
    over.wait()


def half_an_answer(peer: socket.socket, over: threading.Event) -> None:
    """A primary as far as it got, but the end is missing."""
    peer.sendall(b"+OK\r\n$99\r\nrole:master\r\nredis_mode:standalone\r\nmaster_repl_offset:100\r\n")
    over.wait()


def without_an_offset(peer: socket.socket, over: threading.Event) -> None:
    """Answers everything, but nothing that could be calculated with."""
    received = b""
    while b"ping end-" not in received or not received.endswith(b"\r\n"):
        received += peer.recv(65536)
    token = received[received.index(b"ping end-") + 5 :]
    fields = b"role:master\r\nredis_mode:standalone\r\nmaster_replid:" + b"1" * 40
    fields += b"\r\nmaster_repl_offset:a[$(touch never)]\r\nslave_priority:x[$(touch never)]\r\n"
    settings = b"*2\r\n$21\r\nmin-replicas-to-write\r\n$1\r\n1\r\n"
    peer.sendall(fields + b"@epoch\r\nq[$(touch never)]\r\n@lineage\r\n$-1\r\n@settings\r\n" + settings + token)
    over.wait()


@contextmanager
def stranger(behaviour: Behaviour) -> Iterator[int]:
    """A port on which somebody behaves like this to everybody who connects."""
    over = threading.Event()

    def meet(peer: socket.socket) -> None:
        with peer, suppress(OSError):
            behaviour(peer, over)

    def serve() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=meet, args=(server.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=serve, daemon=True).start()
        yield int(server.getsockname()[1])
        over.set()


@pytest.mark.parametrize(
    ("behaviour", "told"),
    [
        (silent, "does not answer"),
        (trickling, "does not answer"),
        (endless, "does not answer"),
        (one_long_line, "does not answer"),
        (leaving, "does not answer"),
        (another_service, "does not answer"),
        (half_an_answer, "does not answer"),
        (colourful, "answers ERR ?[31mred? $(touch never)"),
        (loading, "is loading its data"),
        (without_an_offset, "does not tell its offset"),
    ],
)
def test_a_stranger_is_named_and_neither_believed_nor_waited_for(behaviour, told, tmp_path):
    (tmp_path / "keydb.conf").write_text("")
    (tmp_path / "auth").write_text("AUTH operator secret\n")
    with stranger(behaviour) as port:
        settings = {
            "NODE": "keydb-1",
            "NODES": f"keydb-1=127.0.0.1:{port}",
            "CONFIG": tmp_path / "keydb.conf",
            "AUTH": tmp_path / "auth",
            "WAIT": 0,
        }
        started = time.monotonic()
        with subprocess.Popen(
            ["bash", str(SCRIPT), "post"],
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"], **{f"KEYDB_GUARD_{key}": str(value) for key, value in settings.items()}},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            if behaviour is loading:
                # Its time doesn't begin before it has loaded, so it goes on.
                assert process.stderr is not None
                line = process.stderr.readline()
                process.terminate()
            else:
                _, line = process.communicate(timeout=60)
    assert line.endswith(f"my own server {told}; see its log\n")
    assert time.monotonic() - started < 30
    assert not (tmp_path / "never").exists()
