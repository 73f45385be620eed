"""A server of files on this side of the fleet's bridge, with a tarball packed from whatever engine is present."""

from __future__ import annotations

import io
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


def pack(program: str | Path, name: str) -> bytes:
    """A tarball as makers of servers pack them: the program in a folder, beside other files."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=1) as archive:
        archive.add(program, f"keydb-1.2.3/bin/{name}")
        note = tarfile.TarInfo(f"keydb-1.2.3/{name}.txt")
        note.size = 5
        archive.addfile(note, io.BytesIO(b"hello"))
    return packed.getvalue()


class Files:
    """What is served, by its path; ``asked`` counts the requests. What is in ``cut`` ends in its middle."""

    def __init__(self) -> None:
        self.content: dict[str, bytes] = {}
        self.cut: set[str] = set()
        self.asked = 0
        self.port = 0

    def put(self, path: str, content: bytes) -> tuple[str, str]:
        """Serve something; its URL and its checksum."""
        self.content[path] = content
        return f"http://127.0.0.1:{self.port}{path}", sha256(content).hexdigest()


@contextmanager
def serving() -> Iterator[Files]:
    """A server of files, as long as the block runs."""
    files = Files()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            files.asked += 1
            content = files.content.get(self.path)
            if content is None:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2] if self.path in files.cut else content)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    files.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield files
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
