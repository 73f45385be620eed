"""Data as a replication stream: what a server of the model holds is a stream and a position in it.

A stream is the whole history of a data set, from the empty one on. A promotion forks it: the new stream has the old
history up to there, and an identity of its own. So two data sets are compared by asking for a write at its position.
"""

from __future__ import annotations

from typing import NamedTuple

NO_IDENTITY = "0" * 40


class State(NamedTuple):
    """The data set behind one entry of a stream: ``write`` is the number of the client's write, 0 if it is none."""

    offset: int = 0
    keys: int = 0
    epoch: str | None = None
    lineage: str | None = None
    write: int = 0
    at: float = 0.0


class Stream:
    """A history under a replication id. ``states[n]`` is the data set after n entries."""

    __slots__ = ("identity", "states")

    def __init__(self, identity: str, states: list[State]) -> None:
        self.identity = identity
        self.states = states

    def fork(self, identity: str, position: int, offset: int | None = None) -> Stream:
        """The same history up to a position under another id; ``offset`` if the count begins anew."""
        states = self.states[: position + 1]
        if offset is not None:
            states[-1] = states[-1]._replace(offset=offset)
        return Stream(identity, states)

    def has(self, write: int, index: int, position: int) -> bool:
        """Whether the write whose entry is ``index`` is in the data set at ``position``."""
        return index <= position and self.states[index].write == write


def empty_stream(identity: str) -> Stream:
    return Stream(identity, [State()])
