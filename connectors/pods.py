"""What reaches into a pod: commands by exec, and a port of it as a socket. Both are WebSockets of the API server."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from keydb_runbooks.connectors.cluster import Cluster, ClusterError, place

STDIN, STDOUT, STDERR, ERROR = range(4)
"""Channels of exec: the first byte of a message says which."""

DATA_CHANNEL, ERROR_CHANNEL = 0, 1
"""Channels of port-forward, for its only port."""

CHUNK = 32_768

# Older protocols can't end a command's input, so it is told how much of it there will be.
WITH_INPUT = 'head -c "$1" | sh -c "$2"'


@dataclass(frozen=True)
class Pod:
    """A pod by its name, and the container in it; ``container`` None is the pod's default one."""

    cluster: Cluster
    namespace: str
    name: str
    container: str | None = None

    def path(self, part: str = "") -> str:
        return place(self.namespace, "pods", self.name, part)

    def read(self, timeout: float) -> dict[str, Any]:
        """What the API server says of it.

        :param timeout: seconds
        :raises ClusterError: ``missing`` also where the namespace is missing
        """
        try:
            return self.cluster.get(self.path(), timeout=timeout)
        except ClusterError as error:
            if error.code == "missing":
                raise ClusterError("missing", self._what_is_missing(timeout)) from None
            raise

    def run(
        self,
        words: Sequence[str],
        *,
        given: bytes | None = None,
        timeout: float | None = None,
        patience: float = 10.0,
        seen: Callable[[int, bytes], None],
    ) -> int:
        """Run a command in the container and return its exit code.

        :param given: what it gets as its input
        :param timeout: seconds it may take, None for any
        :param patience: seconds that opening the stream may take
        :param seen: gets whatever it prints, with ``STDOUT`` or ``STDERR``
        :raises ClusterError: as ``Cluster.get``, or ``broken`` if the stream broke: whether it ran is unknown then
        :raises TimeoutError: if it takes longer
        """
        wanted = [("command", word) for word in words]
        wanted += [("stdout", "true"), ("stderr", "true"), ("stdin", "false" if given is None else "true")]
        if self.container is not None:
            wanted.append(("container", self.container))
        stream = self.cluster.open_stream(self.path("exec"), wanted, timeout=patience)
        try:
            for start in range(0, len(given or b""), CHUNK):
                stream.send_binary(bytes([STDIN]) + (given or b"")[start : start + CHUNK])
            return self._ended(_messages(stream, timeout), seen)
        finally:
            stream.close(timeout=0)

    def connect(self, port: int, timeout: float | None) -> PodSocket:
        """A connection to a port on the pod's own loopback address.

        :raises ClusterError: as ``Cluster.get``
        """
        stream = self.cluster.open_stream(self.path("portforward"), [("ports", str(port))], timeout=timeout)
        return PodSocket(stream, self.name, port)

    def _ended(self, messages: Iterator[tuple[int, bytes]], seen: Callable[[int, bytes], None]) -> int:
        for channel, text in messages:
            if channel == ERROR:
                return _exit_code(text, self.name)
            seen(channel, text)
        raise ClusterError("broken", f"the command's stream to pod {self.name} broke; whether it ran is unknown")

    def _what_is_missing(self, timeout: float) -> str:
        try:
            self.cluster.get(f"/api/v1/namespaces/{self.namespace}", timeout=timeout)
        except ClusterError as error:
            if error.code == "missing":
                return f"there is no namespace {self.namespace} in {self.cluster.told}"
        return f"there is no pod {self.name} in namespace {self.namespace} of {self.cluster.told}"


class PodSocket:
    """A port of a pod, as much like a socket as a link needs it."""

    def __init__(self, stream: Any, pod: str, port: int) -> None:
        self._stream = stream
        self._where = f"port {port} of pod {pod}"
        self._buffer = b""
        # Each channel begins with the port's number.
        self._greeted: set[int] = set()
        self._over = False

    def settimeout(self, seconds: float | None) -> None:
        self._stream.settimeout(seconds)

    def gettimeout(self) -> float | None:
        seconds: float | None = self._stream.gettimeout()
        return seconds

    def setblocking(self, blocking: bool) -> None:
        self.settimeout(None if blocking else 0)

    def setsockopt(self, *_: object) -> None:
        """The TCP connections behind it are the cluster's."""

    def fileno(self) -> int:
        return int(self._stream.fileno())

    def sendall(self, data: bytes) -> None:
        """
        :raises OSError: if it broke
        """
        import websocket

        try:
            for start in range(0, len(data), CHUNK):
                self._stream.send_binary(bytes([DATA_CHANNEL]) + bytes(data[start : start + CHUNK]))
        except websocket.WebSocketTimeoutException:
            raise TimeoutError(f"{self._where} takes no more") from None
        except websocket.WebSocketException as error:
            raise ConnectionError(f"{self._where} broke: {error}") from None

    def recv(self, size: int) -> bytes:
        """
        :raises OSError: if it broke, nothing listens there, or nothing came in time
        """
        while not self._buffer and not self._over:
            self._receive()
        taken, self._buffer = self._buffer[:size], self._buffer[size:]
        return taken

    def recv_into(self, buffer: Any, size: int = 0) -> int:
        taken = self.recv(size or len(buffer))
        buffer[: len(taken)] = taken
        return len(taken)

    def shutdown(self, _: int) -> None:
        self.close()

    def close(self) -> None:
        self._over = True
        self._stream.close(timeout=0)

    def _receive(self) -> None:
        import websocket

        try:
            opcode, data = self._stream.recv_data(control_frame=True)
        except (websocket.WebSocketTimeoutException, BlockingIOError):
            raise TimeoutError(f"{self._where} said nothing in time") from None
        except websocket.WebSocketException:
            self._over = True
            return
        if opcode == websocket.ABNF.OPCODE_CLOSE:
            self._over = True
        elif opcode in (websocket.ABNF.OPCODE_BINARY, websocket.ABNF.OPCODE_TEXT) and data:
            self._take(data[0], bytes(data[1:]))

    def _take(self, channel: int, data: bytes) -> None:
        if channel not in self._greeted:
            self._greeted.add(channel)
        elif channel == DATA_CHANNEL:
            self._buffer += data
        elif channel == ERROR_CHANNEL:
            told = data.decode(errors="replace").strip()
            kind = ConnectionRefusedError if "refused" in told else ConnectionError
            raise kind(f"{self._where}: {'refused' if 'refused' in told else told}")


def _messages(stream: Any, timeout: float | None) -> Iterator[tuple[int, bytes]]:
    import websocket

    deadline = None if timeout is None else time.monotonic() + timeout
    while True:
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            raise TimeoutError
        stream.settimeout(left)
        try:
            opcode, data = stream.recv_data(control_frame=True)
        except websocket.WebSocketTimeoutException:
            raise TimeoutError from None
        except (websocket.WebSocketException, OSError):
            return
        if opcode == websocket.ABNF.OPCODE_CLOSE:
            return
        if opcode in (websocket.ABNF.OPCODE_BINARY, websocket.ABNF.OPCODE_TEXT) and len(data) > 1:
            yield data[0], bytes(data[1:])


def _exit_code(text: bytes, pod: str) -> int:
    """What the last message says: a ``Status``, whose cause is the exit code."""
    try:
        status = json.loads(text)
        if status["status"] == "Success":
            return 0
        causes = status.get("details", {}).get("causes", [])
        return next(int(cause["message"]) for cause in causes if cause.get("reason") == "ExitCode")
    except (ValueError, KeyError, StopIteration, TypeError):
        told = text.decode(errors="replace")
        raise ClusterError("refused", f"no command can be run in pod {pod}: {_told(told)}") from None


def _told(text: str) -> str:
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return text.strip()
