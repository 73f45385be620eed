"""One operator at a time: a lock that lives in the names of held connections and dies with them.

The protocol is convergence-facts, "The lock without a file": claim on every node, look at every node,
withdraw from a smaller claim or a held lock, wait for larger claims to withdraw, then hold. Exactly one of
several runs wins. A run sends every changing command over the very connections that hold its lock.
"""

from __future__ import annotations

import getpass
import re
import secrets
import socket
import time
from dataclasses import dataclass

import redis

from keydb_runbooks.connectors.link import Client, in_parallel

WAIT_SECONDS = 2.0
POLL_SECONDS = 0.005
PREFIX = "runbook"


class LockRefused(Exception):
    """Somebody else is at work, or too few nodes answer; the text says who, from where and since when."""


@dataclass(frozen=True)
class Holder:
    """Another run's connection on one node."""

    identity: str
    held: bool
    who: str
    node: str
    age_seconds: int
    idle_seconds: int

    def __str__(self) -> str:
        return f"{self.who} ({self.age_seconds} s ago, silent for {self.idle_seconds} s, seen on {self.node})"


def take(
    clients: dict[str, Client], group_size: int, verb: str, accept_minority: bool, identity: str | None = None
) -> str:
    """Take the lock on every node that answers.

    :param clients: the held links by node name
    :param group_size: how many nodes the group has, answering or not
    :param accept_minority: do without a majority
    :param identity: of a run that has the lock elsewhere; without it a new one
    :returns: the identity under which the lock is held
    :raises LockRefused: if somebody else holds or claims it, or without a majority
    """
    if len(clients) * 2 <= group_size and not accept_minority:
        raise LockRefused(
            f"no-majority: only {len(clients)} of {group_size} nodes answer, so another operator may hold the others; "
            "mend that, or accept_minority_lock=yes if you know that nobody else is at work"
        )
    identity, who = identity or secrets.token_hex(8), _who(verb)
    _name(clients, f"{PREFIX}:{identity}:claim:{who}")
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        others = [holder for holder in _holders(clients) if holder.identity != identity]
        winner = next((one for one in others if one.held or one.identity < identity), None)
        if winner is None and others and time.monotonic() > deadline:
            winner = others[0]
        if winner is not None:
            _name(clients, "")
            raise LockRefused(f"locked: another run is at work: {winner}; wait until it ends, then run this again")
        if not others:
            break
        time.sleep(POLL_SECONDS)
    _name(clients, f"{PREFIX}:{identity}:held:{who}")
    return identity


def take_again(clients: dict[str, Client], fresh: str, group_size: int, verb: str, identity: str) -> None:
    """Take the lock on one fresh link of a run, if the run's other links held it all the time.

    So many of them must still answer that nobody else can have had a majority meanwhile.

    :param clients: the links by node name, the fresh one among them
    :raises LockRefused: if somebody else may have been at work
    """
    take({fresh: clients[fresh]}, group_size, verb, accept_minority=True, identity=identity)
    others = [client for node, client in clients.items() if node != fresh]
    held = sum(in_parallel(_answers, others))
    if held * 2 < group_size:
        raise LockRefused(
            f"lock-lost: it is held on {held} of {group_size} nodes only, so somebody else may be at work"
        )


def _answers(client: Client) -> bool:
    try:
        client.execute_command("CLIENT", "ID")
    except (redis.RedisError, OSError):
        return False
    return True


def _name(clients: dict[str, Client], name: str) -> None:
    in_parallel(lambda client: client.execute_command("CLIENT", "SETNAME", name), clients.values())


def _holders(clients: dict[str, Client]) -> list[Holder]:
    lists = in_parallel(lambda item: (item[0], _rows(item[1])), clients.items())
    return [holder for node, rows in lists for row in rows if (holder := _holder(node, row)) is not None]


def _rows(client: Client) -> list[dict[str, str]]:
    answer: list[dict[str, str]] = client.execute_command("CLIENT LIST")
    return answer


def _holder(node: str, row: dict[str, str]) -> Holder | None:
    parts = row.get("name", "").split(":", 3)
    if len(parts) != 4 or parts[0] != PREFIX:
        return None
    _, identity, state, who = parts
    return Holder(identity, state == "held", who, node, int(row.get("age", 0)), int(row.get("idle", 0)))


def _who(verb: str) -> str:
    """Who does what from where, in characters that a connection's name may have."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = "unknown"
    return re.sub(r"[^A-Za-z0-9_.@/-]", "-", f"{verb}/{user}@{socket.gethostname()}")
