"""Saving what only one node holds, before rejoin throws it away (docs/rejoin.md)."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from weakref import WeakKeyDictionary

from keydb_runbooks.connectors.group import Group
from keydb_runbooks.operations import dump
from keydb_runbooks.operations.dump import Kept
from keydb_runbooks.operations.failures import StepFailed, Stopped
from keydb_runbooks.operations.links import Links
from keydb_runbooks.operations.perform import perform
from keydb_runbooks.runbooks.plan import Answer, Plan, Request
from keydb_runbooks.runbooks.rescue import file_name, refuse_room
from keydb_runbooks.runbooks.steps_save import SaveData, SaveIfMore, SaveInstead, StillHolds
from keydb_runbooks.runbooks.topology import Topology

_kept: WeakKeyDictionary[Links, dict[str, Kept]] = WeakKeyDictionary()


def kept(links: Links, node: str) -> Kept | None:
    """Where this run saved a node's data, None if it did not."""
    return _kept.get(links, {}).get(node)


def informed(
    group: Group, plan: Callable[[Topology, Request, int], Answer]
) -> Callable[[Topology, Request, int], Answer]:
    """A verb that also refuses what is known not to fit where it would be saved."""

    def decide(topology: Topology, request: Request, min_replicas: int) -> Answer:
        answer = plan(topology, request, min_replicas)
        if not isinstance(answer, Plan):
            return answer
        steps = [step for step in answer.steps if isinstance(step, SaveData) and step.to != "no"]
        rooms = {step.where: dump.room(group.node(step.where), _fetched_to(step)) for step in steps}
        return refuse_room(answer, rooms) or answer

    return decide


def _fetched_to(step: SaveData) -> Path | None:
    return Path(step.directory) if step.to == "fetch" else None


@perform.register
def _still_holds(step: StillHolds, links: Links) -> str:
    node = links.read_same(step.where, step.run_id)
    if node.empty is step.keys:
        raise StepFailed(f"{step.where} holds {node.keys:,} keys now: look at the group again")
    return f"still holds {node.keys:,} keys"


@perform.register
def _save_data(step: SaveData, links: Links) -> str:
    entry, client = links.group.node(step.where), links.node(step.where)
    room = dump.room(entry, _fetched_to(step), client)
    if room.needed is None or room.free is None or room.lacking:
        free = "an unknown number of" if room.free is None else f"{room.free:,}"
        raise StepFailed(f"{step.where}: saving needs up to {room.needed or 0:,} bytes, and {free} are free; make room")
    node = links.read(step.where)
    dump.background_save(step.where, client)
    stem = file_name(step.where, time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()), node.replication_id, node.offset)
    place = Kept(f"{dump.setting(client, 'dir')}/{stem}", entry.host)
    size, checksum = dump.keep(f"{dump.setting(client, 'dir')}/{dump.setting(client, 'dbfilename')}", place, step.where)
    if step.to == "fetch":
        try:
            place = dump.fetch(place, Path(step.directory) / stem, size, checksum)
        except Stopped:
            # It has no description yet, and the next run saves anew: nobody would ever ask for it.
            dump.remove(place)
            raise
    dump.write_beside(place, ".json", dump.description(links.group.name, node, size, checksum))
    _kept.setdefault(links, {})[step.where] = place
    return f"saved {node.keys:,} keys, {size:,} bytes: {place.place}"


@perform.register
def _save_instead(step: SaveInstead, links: Links) -> str:
    if kept(links, step.other) is not None:
        return f"holds nothing that is not saved on {step.other}"
    return _save_data(step, links)


@perform.register
def _save_if_more(step: SaveIfMore, links: Links) -> str:
    node = links.read(step.where)
    if node.empty if step.until is None else node.offset <= step.until:
        return "holds nothing more"
    if step.to == "no":
        raise StepFailed(f"{step.where} took writes meanwhile: look at the group again")
    return _save_data(step, links)
