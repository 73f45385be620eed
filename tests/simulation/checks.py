"""What must never happen, each with a name and a sentence; ``Watch`` sees everything and raises ``Violation``.

A loss may be announced: by a failover whose plan calls it unknown, by an option that a person gave, or by a fault that
destroyed every copy. What was announced is kept in ``given_up``, and everything else must be there in the end.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from keydb_runbooks.runbooks.steps import ENDLESS_PAUSE_MILLISECONDS, VERIFY_KEY, Reinstate
from keydb_runbooks.runbooks.steps_save import SaveIfMore
from tests.simulation.server import UP, Connection, Server

if TYPE_CHECKING:
    from tests.simulation.operator import Operator
    from tests.simulation.world import World

CHECKS = {
    "two-writers": "no node acknowledges a write once another was promoted over it, unless the run said so before",
    "lossy-switchover": "a switchover promotes a node that has every acknowledged write of the old primary",
    "lossy-failover": "a failover promotes a node that has every acknowledged write that an answering node holds",
    "founded-over-data": "install founds no group while an acknowledged write is still somewhere",
    "empty-source": "no run makes a node that holds data follow an empty one",
    "superseded-source": "no run makes a node follow a primary over which another was promoted",
    "wiped-write": "no full resync destroys an acknowledged write that nobody gave up by name",
    "unsaved-write": "rejoin keeps a copy of what it destroys, unless somebody asked it not to",
    "fenced-writer": "a node acknowledges no client's write from the end of fence until unfence",
    "fenced-target": "no run makes a fenced node the primary",
    "second-writer": "unfence gives no rights on a primary over which another one was promoted, unless that was spared",
    "two-runs": "a run changes nothing once another one has taken the lock and changed something",
    "no-outcome": "a run ends in done, nothing to do, refused, failed and unchanged, or incomplete",
    "refused-changed": "a run that was refused changed nothing",
    "unchanged-changed": "a run that says failed and unchanged has moved no role, repointed nobody and left no endless pause",
    "lost-write": "in the end every acknowledged write is there, or its loss was announced",
    "never-healed": "in a healed world a verb ends in done, if its hints are followed",
    "unhealthy": "after that there is one primary, all follow it, nobody is paused, and routes and files say the same",
}


FORCED = ("failover", "promote")
"""Verbs that make a node the primary while the old one is silent."""

HOLES = {
    "woken-early": "a primary that was frozen or cut off wakes before the failover over it has sent its replicas away",
    "woken-without-lease": "it wakes later, and takes writes because min-replicas-to-write is 0",
    "woken-with-replica": "it wakes later, and takes writes because replicas wake with it that were silent as well",
}
"""What is known to be possible (docs/simulation.md). A run that gets there ends there, and is counted."""


NOT_STOPPED = re.compile(r"(.+?) (?:is|are) not stopped")


class KnownHole(BaseException):
    """A run came to one of ``HOLES``; no ``Exception``, as a ``Violation``."""

    def __init__(self, hole: str) -> None:
        super().__init__(hole)
        assert hole in HOLES


class Violation(BaseException):
    """A check failed: its name, and what was seen. No ``Exception``, since a run goes on from any of those."""

    def __init__(self, check: str, seen: str) -> None:
        super().__init__(f"{check}: {seen}")
        assert check in CHECKS
        self.check = check
        self.seen = seen


class Watch:
    """Sees every event that a check needs."""

    world: World

    def __init__(self) -> None:
        self.given_up: set[int] = set()
        # What a failover called unknown: it may be missing, but whoever still has it is not wiped in silence.
        self.unknown: set[int] = set()
        # Terms of primaries whose writes a run was allowed to leave out, and of those promoted over a node that may write.
        self.spared: set[float] = set()
        self.split: set[float] = set()
        # Terms of promotions that nobody's plan made, and writes of primaries over which a plan did, as it had announced.
        self.by_hand: set[float] = set()
        self.late: set[int] = set()
        # Who promoted in which term.
        self.promoters: dict[float, Operator] = {}
        # Nodes that a run fenced, as far as it said that this was done.
        self.fenced: set[str] = set()
        self.tally: dict[str, int] = {}

    def count(self, what: str) -> None:
        self.tally[what] = self.tally.get(what, 0) + 1

    # Writes

    def acknowledged(self, write: int, server: Server, place: str) -> None:
        """One writer: nobody was promoted over whoever acknowledges; and none who was fenced."""
        if server.name in self.fenced:
            raise Violation("fenced-writer", f"{server.name} acknowledges write {write}, but was fenced")
        if server.term == self.world.terms:
            # The last one that was promoted.
            return
        over = [
            one
            for one in self.world.servers.values()
            if one.term > server.term and one.is_primary and one.running and one.term not in self.by_hand
        ]
        if not over:
            return
        self.given_up.add(write)
        self.late.add(write)
        if server.unguarded or all(self._announced(one, place) for one in over):
            return
        for hole in filter(None, (self._hole(server, one, place) for one in over)):
            raise KnownHole(hole)
        names = " and ".join(one.name for one in over)
        raise Violation("two-writers", f"{server.name} acknowledges write {write}, but {names} was promoted over it")

    def _announced(self, over: Server, place: str) -> bool:
        """Whether somebody was told that the writes of whoever a node was promoted over are lost."""
        if over.term in self.spared | self.split:
            return True
        # The inventory says that no client goes around the proxies, and a failover believed it.
        believed = self.world.shape.through_proxies and place == "stray"
        return believed and self.promoters[over.term].verb in FORCED

    def _hole(self, server: Server, over: Server, place: str) -> str | None:
        """Which known hole let a primary take writes that was frozen when a failover was made over it."""
        promoter = self.promoters.get(over.term)
        if promoter is None or promoter.verb != "failover" or place == "stray":
            return None
        assert promoter.topology is not None
        silent = [one.name for one in promoter.topology.unread if not one.stopped]
        if server.name not in silent or not self._announced_waking(promoter, silent):
            return None
        if not server.min_replicas:
            return "woken-without-lease"
        if len(silent) > server.min_replicas:
            return "woken-with-replica"
        return None if promoter.outcome == "done" else "woken-early"

    def _announced_waking(self, promoter: Operator, silent: list[str]) -> bool:
        """Whether its plan told that those who are silent may take writes when they wake; it may have named more."""
        told = [] if promoter.plan is None else map(NOT_STOPPED.match, promoter.plan.warnings)
        return any(set(silent) <= set(found[1].split(" and ")) for found in told if found)

    def copies(self, write: int) -> list[str]:
        """The servers that hold a write, in memory or on a disk."""
        place = self.world.places[write]
        return [
            one.name
            for one in self.world.servers.values()
            if (one.running and self.world.holds(one, write))
            or (one.disk is not None and one.disk.stream.has(write, place, one.disk.position))
        ]

    def acknowledged_by(self, server: Server) -> list[int]:
        """The acknowledged writes that a server holds."""
        states = server.stream.states[: server.position + 1]
        return [state.write for state in states if state.write in self.world.acknowledged]

    def missing(self, holder: Server, other: Server) -> list[int]:
        """Acknowledged writes that one server holds and another lacks."""
        if holder.stream is other.stream and holder.position <= other.position:
            return []
        return [write for write in self.acknowledged_by(holder) if not self.world.holds(other, write)]

    # Faults

    def dying(self, server: Server) -> None:
        """A process ends: what only its memory held is destroyed by that."""
        if not server.appends:
            self._destroyed(server, server.stream.states[: server.position + 1])

    def losing_disk(self, server: Server) -> None:
        if server.disk is not None:
            disk, server.disk = server.disk, None
            self._destroyed(server, disk.stream.states[: disk.position + 1])

    def _destroyed(self, server: Server, states: list) -> None:
        running, server.running = server.running, False
        for state in reversed(states):
            if state.write in self.world.acknowledged and state.write not in self.given_up:
                if self.copies(state.write):
                    break
                self.given_up.add(state.write)
        server.running = running

    def started_as_primary(self, server: Server) -> None:
        """A person started it without the guard: what others then copy from it is no run's doing."""
        kept = set(self.acknowledged_by(server))
        self.unknown |= set(self.world.acknowledged) - kept

    # Commands of runs

    def operator_of(self, connection: Connection) -> Operator | None:
        return self.world.operators.get(connection.owner)

    def command(self, server: Server, connection: Connection, words: tuple[str, ...], *, changes: bool) -> None:
        """A run sent a command that changes something; any command if the story is told."""
        operator = self.operator_of(connection)
        if operator is None:
            return
        if changes or words[0] == "INFO":
            told = f"does {' '.join(words)}" if changes else "is looked at"
            self.world.tell(f"{operator.name}: {server.name} {told}")
        if changes:
            self._changes(operator, server, words)

    def locked(self, connection: Connection) -> None:
        """A run holds the lock on a node from now on."""
        operator = self.operator_of(connection)
        if operator is not None and operator.alive:
            operator.locked_at = self.world.now

    def routed(self, operator: Operator, text: str) -> None:
        if text.startswith(("set server", "shutdown")):
            self.world.tell(f"{operator.name}: {text}")
            operator.changes += 1

    def _changes(self, operator: Operator, server: Server, words: tuple[str, ...]) -> None:
        """One run at a time: whoever took the lock later is the only one who may change anything on a server.

        A proxy's socket holds no lock. A run that loses its lock in the very moment in which it tells a proxy
        may tell it something old, which the proxy's own checks correct; ``complaints`` looks at the end of that.
        The write by which a run verifies a proxy goes through that as a client's does, and nobody reads it.
        """
        operator.changes += 1
        operator.repointed = operator.repointed or words[0] == "REPLICAOF"
        if words[:2] == ("CLIENT", "UNPAUSE"):
            self._reinstating(server, operator)
        if not operator.alive or operator.minority or words[:2] == ("SET", VERIFY_KEY):
            return
        for other in self.world.operators.values():
            if other.changes and other.locked_at > operator.locked_at and not other.minority:
                told = f"{operator.name} changes something, but {other.name} took the lock after it and changed things"
                raise Violation("two-runs", told)

    def _reinstating(self, server: Server, operator: Operator) -> None:
        """The other way to make a node the primary: whoever may have been promoted over it is outranked, and given up."""
        steps = operator.plan.steps if operator.plan is not None else ()
        if operator.alive and any(isinstance(step, Reinstate) and step.where == server.name for step in steps):
            self._give_up_named(operator)
            server.term = self.world.new_term()
            self.promoters[server.term] = operator
            self.split.add(server.term)

    def promoting(self, server: Server, connection: Connection) -> None:
        """A node is about to become a primary; what isn't on it now is lost."""
        operator = self.operator_of(connection)
        if operator is None:
            server.term = self.world.new_term()
            return
        if not operator.alive and operator.last_term < self.world.terms:
            # The command waited in the socket of a frozen server, and another node was promoted meanwhile.
            server.term = operator.last_term + 0.5
            return
        server.term = self.world.new_term()
        plan = operator.plan
        assert plan is not None
        self.count(f"promotions by {plan.verb}")
        self._give_up_named(operator)
        self.promoters[server.term] = operator
        if server.fenced:
            raise Violation("fenced-target", f"{operator.name} promotes {server.name}, which is fenced")
        if operator.request.accept_split:
            self.split.add(server.term)
        {
            "switchover": self._switching,
            "failover": self._failing,
            "promote": self._failing,
            "install": self._founding,
        }[plan.verb](server, operator)

    def _give_up_named(self, operator: Operator) -> None:
        """What only nodes hold that were named in accept_loss, and whoever was promoted among those in allow_unread."""
        for name in operator.request.allow_unread & set(self.world.servers):
            self.spared.add(self.world.servers[name].term)

    def _switching(self, server: Server, operator: Operator) -> None:
        assert operator.plan is not None
        assert operator.plan.former is not None
        lost = [
            write
            for write in self.missing(self.world.servers[operator.plan.former], server)
            if write not in self.given_up
        ]
        if lost:
            raise Violation("lossy-switchover", f"{server.name} is promoted without {self._named(lost)}")

    def _failing(self, server: Server, operator: Operator) -> None:
        """Whatever an answering node holds must be there; the rest is what the plan calls unknown."""
        plan = operator.plan
        assert plan is not None
        answering = [step.where for step in plan.steps if step.where in self.world.servers]
        kept: set[int] = set()
        for name in answering:
            if name in operator.request.accept_loss:
                continue
            kept |= set(self.acknowledged_by(self.world.servers[name]))
            lost = [write for write in self.missing(self.world.servers[name], server) if write not in self.given_up]
            if lost:
                if self._woke(operator, lost):
                    raise KnownHole("woken-early")
                told = f"{server.name} is promoted without {self._named(lost)}, which {name} holds and answers"
                raise Violation("lossy-failover", told)
        if plan.loss.bytes is None:
            self.unknown |= set(self.world.acknowledged) - kept

    def _woke(self, operator: Operator, lost: list[int]) -> bool:
        """Whether a primary that was silent to a run's last look, and not stopped, took all of these writes since then."""
        assert operator.topology is not None
        names = [one.name for one in operator.topology.unread if not one.stopped]
        woken = [one for one in map(self.world.servers.__getitem__, names) if one.alive and one.is_primary]
        return self._announced_waking(operator, names) and all(
            any(self._took(one, write, operator.looked_at) for one in woken) for write in lost
        )

    def _took(self, server: Server, write: int, since: float) -> bool:
        place = self.world.places[write]
        held = server.stream.has(write, place, server.position)
        return self.world.acknowledged[write] == server.name and held and server.stream.states[place].at >= since

    def _founding(self, server: Server, operator: Operator) -> None:
        left = [write for write in self.world.acknowledged if self.copies(write)]
        if any(one.minority and one.changes for one in self.world.operators.values()):
            # Somebody said with accept_minority_lock that nobody else is at work, and founded the group his way meanwhile.
            self.split.add(server.term)
            self.given_up |= set(left)
        elif left:
            raise Violation("founded-over-data", f"{server.name} is the first primary, but {self._named(left)} exist")

    def _named(self, writes: list[int]) -> str:
        return f"{len(writes)} acknowledged writes ({', '.join(map(str, sorted(writes)[:5]))})"

    def followed(self, server: Server, connection: Connection) -> None:
        """A run made a node follow another."""
        operator = self.operator_of(connection)
        source = server.feed
        if operator is None or source is None:
            return
        self._give_up_named(operator)
        if not operator.alive:
            # It waited in the socket of a frozen server until now: nobody decides this any more.
            return
        if not source.is_primary or not source.running:
            # It refuses replicas: nothing comes from there.
            return
        if server.state.keys and not source.state.keys:
            raise Violation("empty-source", f"{server.name} holds data and was sent to {source.name}, which is empty")
        over = [
            one
            for one in self.world.servers.values()
            if one.term > source.term
            and one.is_primary
            and one.running
            and one.term not in self.spared | self.split | self.by_hand
        ]
        if over:
            told = f"{server.name} was sent to {source.name}, but {over[0].name} was promoted over it"
            raise Violation("superseded-source", told)

    def full_resync(self, replica: Server, source: Server) -> None:
        """A replica's data are about to be replaced by its source's."""
        self.count("full resyncs")
        missing = self.missing(replica, source)
        self._late_are_kept(replica, source, [write for write in missing if write in self.late])
        # Every run may step a primary down that took writes behind the look; its copy is kept first, and told.
        if self._steps_down(replica):
            self.given_up |= {write for write in missing if self._is_kept(replica, write)}
        lost = [write for write in missing if write not in self.given_up and not self._will_be_kept(replica, write)]
        if not lost:
            return
        root = source
        while root.feed is not None and root.feed is not source:
            root = root.feed
        if root.unguarded:
            self.given_up |= set(lost)
            return
        promoter = self.promoters.get(root.term)
        if promoter is not None and self._woke(promoter, lost):
            # They were acknowledged in front of the promotion, and arrived behind it.
            raise KnownHole("woken-early")
        if self._announced_copy(replica, root):
            self.given_up |= set(lost)
            return
        namers = [
            one
            for one in self.world.operators.values()
            if one.verb == "rejoin" and replica.name in one.request.accept_loss
        ]
        if namers:
            self.given_up |= set(lost)
            self._is_saved(replica, lost, namers)
            return
        told = f"{replica.name} throws away {self._named(lost)} to be a copy of {source.name}"
        raise Violation("wiped-write", told)

    def _late_are_kept(self, replica: Server, source: Server, late: list[int]) -> None:
        """What a superseded primary acknowledged is thrown away, but never without a copy, if a run decides that."""
        root = source
        while root.feed is not None and root.feed is not source:
            root = root.feed
        unasked = root.unguarded or self._announced_copy(replica, root)
        if unasked or any(one.request.save == "no" for one in self.world.operators.values()):
            return
        bare = [write for write in late if self.copies(write) == [replica.name] and not self._is_kept(replica, write)]
        if bare:
            told = f"{replica.name} throws away {self._named(bare)} of a superseded primary, and no copy is kept"
            raise Violation("unsaved-write", told)

    def _is_kept(self, replica: Server, write: int) -> bool:
        """Whether a run saved a copy of what a node holds, with this write in it."""
        place = self.world.places[write]
        return any(
            name == replica.name and stream.has(write, place, position) for name, stream, position in self.world.kept
        )

    def _steps_down(self, replica: Server) -> bool:
        """Whether a plan saves a node only if it got more than was seen of it, so that nobody could give that up by name."""
        return replica.name in self._saved_if_more()

    def _will_be_kept(self, replica: Server, write: int) -> bool:
        """Whether the source of a sibling that was sent away first has the write as well, and is saved before it goes."""
        holders = (self.world.servers[name] for name in self._saved_if_more() - {replica.name})
        return any(one.running and self.world.holds(one, write) for one in holders)

    def _saved_if_more(self) -> set[str]:
        plans = [one.plan for one in self.world.operators.values() if one.plan is not None]
        return {step.where for plan in plans for step in plan.steps if isinstance(step, SaveIfMore)}

    def _announced_copy(self, replica: Server, source: Server) -> bool:
        """Whether the plan that promoted the source told that a node which it couldn't read will be made a copy of it."""
        promoter = self.promoters.get(source.term)
        if promoter is None or promoter.plan is None:
            return False
        return any(one.startswith(f"{replica.name} may follow {source.name} already") for one in promoter.plan.warnings)

    def _is_saved(self, replica: Server, lost: list[int], namers: list[Operator]) -> None:
        """What rejoin throws away is kept, but for those who said that it need not."""
        if any(one.request.save == "no" for one in namers):
            return
        kept = [(stream, position) for name, stream, position in self.world.kept if name == replica.name]
        bare = [
            write
            for write in lost
            if not any(stream.has(write, self.world.places[write], position) for stream, position in kept)
        ]
        if bare:
            raise Violation(
                "unsaved-write", f"{replica.name} throws away {self._named(bare)}, of which no copy was kept"
            )

    # Fences

    def unfenced(self, server: Server, connection: Connection) -> None:
        """A run gives the clients of a node their rights back."""
        self.fenced.discard(server.name)
        operator = self.operator_of(connection)
        if operator is None or not operator.alive or not server.is_primary:
            return
        over = [
            one.name
            for one in self.world.servers.values()
            if one.term > server.term and one.is_primary and one.running and one.term not in self.spared | self.split
        ]
        if set(over) - operator.request.allow_unread:
            told = f"{server.name} may take writes again, but {' and '.join(over)} was promoted over it"
            raise Violation("second-writer", told)

    # Ends

    def broke(self, operator: Operator, trace: str) -> None:
        raise Violation("no-outcome", f"{operator.name} ended in an error:\n{trace}")

    def ended(self, operator: Operator) -> None:
        code = operator.said.split()[1] if operator.outcome == "refused" else ""
        self.count(f"{operator.verb}: {operator.outcome} {code}".rstrip())
        if self.world.story is not None:
            self.world.tell(f"{operator.name} ends: {operator.outcome}; it says: {operator.said}")
        if code == "catch-up-timeout":
            # What it had done it took back.
            self._unchanged(operator)
        elif operator.outcome == "refused" and operator.changes:
            raise Violation("refused-changed", f"{operator.name} was refused, but changed things")
        if operator.outcome == "failed and unchanged":
            self._unchanged(operator)
        if operator.verb == "fence" and operator.outcome in ("done", "nothing to do"):
            assert operator.request.node is not None
            self.fenced.add(operator.request.node)

    def _unchanged(self, operator: Operator) -> None:
        if any(one.name == operator.name for one in self.promoters.values()):
            raise Violation("unchanged-changed", f"{operator.name} says unchanged, but has promoted a node")
        if operator.repointed:
            raise Violation("unchanged-changed", f"{operator.name} says unchanged, but has sent a node elsewhere")
        for server in self.world.servers.values():
            endless = server.pause_until > self.world.now + ENDLESS_PAUSE_MILLISECONDS / 2
            if endless and server.running and operator.changes and server.name == getattr(operator.plan, "former", ""):
                told = f"{operator.name} says unchanged, but {server.name} holds writes back without an end"
                raise Violation("unchanged-changed", told)

    def healed(self) -> None:
        """The end of every story: one healthy group, with every write that nobody gave up."""
        for complaint in self.complaints():
            raise Violation("unhealthy", complaint)
        primary = next(one for one in self.world.servers.values() if one.is_primary)
        lost = [
            write
            for write in self.world.acknowledged
            if write not in self.given_up | self.unknown and not self.world.holds(primary, write)
        ]
        if lost:
            raise Violation("lost-write", f"{self._named(lost)} are not on {primary.name}, and nobody announced it")

    def complaints(self) -> list[str]:
        """Everything that is not as it should be in a world without faults."""
        world = self.world
        primaries = [one for one in world.servers.values() if one.is_primary]
        if len(primaries) != 1:
            return [f"primaries: {', '.join(one.name for one in primaries) or 'none'}"]
        primary = primaries[0]
        found = [f"{one.name} is paused" for one in world.servers.values() if one.pause_until]
        found += [f"{one.name} is fenced" for one in world.servers.values() if one.fenced]
        for one in world.servers.values():
            if one.file_source != one.source:
                found.append(f"{one.name}'s file says {one.file_source}")
            if one is not primary and (one.source != primary.address or one.link != UP):
                found.append(f"{one.name} does not follow {primary.name}")
        for proxy in world.proxies.values():
            up = [name for name, line in proxy.lines.items() if line.up]
            if up != [primary.name]:
                found.append(f"{proxy.name} leads to {', '.join(up) or 'nobody'}")
        return found

    def despair(self, operator: Operator) -> None:
        told = f"{operator.verb} still ends in {operator.outcome}: {operator.said}"
        raise Violation("never-healed", told)
