"""The relays of a sandbox's network: one in front of each server; ``network`` tells what they are for.

What is cut is held back, not thrown away: it arrives when the cut is healed, as TCP would send it again. A connection
that was opened meanwhile is dropped then, without a byte of it having passed.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import struct
import time
from contextlib import suppress
from pathlib import Path

from keydb_runbooks.connectors.network import (
    EVERYBODY,
    NODES,
    OPERATOR,
    SOCKET,
    SOURCES,
    Rule,
    relay_address,
    sandbox_place,
    server_address,
)
from keydb_runbooks.connectors.ports import is_free

CHUNK_BYTES = 65536
BACKLOG = 128
POLL_SECONDS = 0.01


class Rules:
    """The rule of each direction of each pair, and a way to wait for another one."""

    def __init__(self) -> None:
        self.rules: dict[tuple[str, str], Rule] = {}
        self.changed = asyncio.Condition()

    def rule(self, source: str, target: str) -> Rule:
        return self.rules.get((source, target), Rule())

    def cut_off(self, node: str) -> bool:
        """Whether nobody's packets reach a node."""
        return all(self.rule(other, node).cut for other in EVERYBODY if other != node)

    async def apply(self, rules: dict[tuple[str, str], Rule] | None) -> None:
        """Set some rules, or forget all."""
        async with self.changed:
            self.rules = {**self.rules, **rules} if rules is not None else {}
            self.changed.notify_all()

    async def passable(self, source: str, target: str) -> None:
        """Wait until nothing is cut on this way."""
        async with self.changed:
            await self.changed.wait_for(lambda: not self.rule(source, target).cut)


class Direction:
    """One direction of one connection: reads, waits as its rule says, and writes on."""

    def __init__(self, rules: Rules, source: str, target: str) -> None:
        self.rules = rules
        self.source = source
        self.target = target
        # Small, so that a slow direction slows its sender down as a full window does.
        self.held: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(maxsize=16)

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry everything until the end of the connection, which passes in its turn."""
        await asyncio.gather(self._take(reader), self._give(writer))

    async def _take(self, reader: asyncio.StreamReader) -> None:
        while True:
            data = b""
            with suppress(ConnectionError):
                data = await reader.read(CHUNK_BYTES)
            delay = self.rules.rule(self.source, self.target).delay_ms / 1000
            await self.held.put((time.monotonic() + delay, data))
            if not data:
                return

    async def _give(self, writer: asyncio.StreamWriter) -> None:
        while True:
            due, data = await self.held.get()
            await asyncio.sleep(max(due - time.monotonic(), 0))
            await self.rules.passable(self.source, self.target)
            if not data:
                with suppress(OSError):
                    writer.write_eof()
                return
            bandwidth = self.rules.rule(self.source, self.target).bytes_per_second
            if bandwidth:
                await asyncio.sleep(len(data) / bandwidth)
            with suppress(ConnectionError):
                writer.write(data)
                await writer.drain()


class Relay:
    """Stands in front of one server: listens while the server does, and takes nobody while it is cut off."""

    def __init__(self, rules: Rules, node: str, port: int) -> None:
        number = NODES.index(node) + 1
        self.rules = rules
        self.node = node
        self.place = (relay_address(number), port)
        self.server = (server_address(number), port)
        self.listener: socket.socket | None = None
        self.fillers: list[socket.socket] = []
        self.connections: set[asyncio.Task[None]] = set()

    async def serve(self) -> None:
        """Follow the server's state for ever."""
        while True:
            self.adjust()
            await asyncio.sleep(POLL_SECONDS)

    def adjust(self) -> None:
        """Listen, refuse, or let every connect vanish, as the server and the rules are now."""
        if self.rules.cut_off(self.node):
            self._fill()
        elif self.fillers:
            self._empty()
        if not self.fillers:
            # Asked every few milliseconds: taking the port costs next to nothing, and disturbs nobody who takes it too.
            listening = not is_free(*self.server)
            if listening and self.listener is None:
                self._open()
            elif not listening and self.listener is not None:
                self._close()

    def _open(self) -> socket.socket:
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.setblocking(False)
        self.listener.bind(self.place)
        self.listener.listen(BACKLOG)
        asyncio.get_running_loop().add_reader(self.listener, self._accept)
        return self.listener

    def _close(self) -> None:
        assert self.listener is not None
        asyncio.get_running_loop().remove_reader(self.listener)
        self.listener.close()
        self.listener = None

    def _fill(self) -> None:
        """Fill the listener's queue: the kernel drops the packets of whoever wants to connect then."""
        if self.fillers:
            return
        listener = self.listener or self._open()
        asyncio.get_running_loop().remove_reader(listener)
        listener.listen(0)
        for _ in range(3):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(self.place)
            self.fillers.append(filler)

    def _empty(self) -> None:
        assert self.listener is not None
        for filler in self.fillers:
            filler.close()
        self.fillers.clear()
        with suppress(BlockingIOError):
            while True:
                _reset(self.listener.accept()[0])
        self.listener.listen(BACKLOG)
        asyncio.get_running_loop().add_reader(self.listener, self._accept)

    def _accept(self) -> None:
        assert self.listener is not None
        with suppress(BlockingIOError):
            opened, (address, _) = self.listener.accept()
            opened.setblocking(False)
            task = asyncio.ensure_future(self._connect(opened, SOURCES.get(address, OPERATOR)))
            self.connections.add(task)
            task.add_done_callback(self.connections.discard)

    async def _connect(self, opened: socket.socket, source: str) -> None:
        """Join the caller with the server; one that called through a cut is dropped when the cut is healed."""
        if self.rules.rule(source, self.node).cut or self.rules.rule(self.node, source).cut:
            await self.rules.passable(source, self.node)
            await self.rules.passable(self.node, source)
            _reset(opened)
            return
        try:
            reader, writer = await asyncio.open_connection(*self.server)
        except OSError:
            _reset(opened)
            return
        caller_reader, caller_writer = await asyncio.open_connection(sock=opened)
        there = asyncio.ensure_future(Direction(self.rules, source, self.node).carry(caller_reader, writer))
        # Who called may end its half first; when the server's half ends, all of it does.
        await Direction(self.rules, self.node, source).carry(reader, caller_writer)
        there.cancel()
        for end in (writer, caller_writer):
            end.close()


def _reset(opened: socket.socket) -> None:
    """Close with a reset, as a host does that knows nothing of a connection."""
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    opened.close()


class Control:
    """Takes rules on a Unix socket that only its owner can open: one JSON line in, one out."""

    def __init__(self, rules: Rules, relays: list[Relay]) -> None:
        self.rules = rules
        self.relays = relays

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, ValueError):
            told = json.loads(await reader.readline())
            rules = None if told is None else {(source, target): Rule(**rule) for source, target, rule in told}
            await self.rules.apply(rules)
            for relay in self.relays:
                relay.adjust()
            writer.write(b"ok\n")
            await writer.drain()
        writer.close()


async def serve(directory: Path, port: int) -> None:
    """Run the relays of a sandbox until the process is ended."""
    rules = Rules()
    relays = [Relay(rules, node, port + 10 + number) for number, node in enumerate(NODES, start=1)]
    control = Control(rules, relays)
    os.umask(0o077)
    path = directory / SOCKET
    path.unlink(missing_ok=True)
    await asyncio.start_unix_server(control.answer, path)
    await asyncio.gather(*(relay.serve() for relay in relays))


if __name__ == "__main__":
    asyncio.run(serve(*sandbox_place()))
