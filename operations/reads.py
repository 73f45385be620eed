"""A read through each proxy's port for reads, when a run is over: who answers, and is it part of the group?"""

from __future__ import annotations

from functools import partial

import redis

from keydb_runbooks.connectors.group import Group, ProxyEntry
from keydb_runbooks.connectors.link import LinkError, explain, in_parallel, link_through
from keydb_runbooks.operations.failures import Stopped
from keydb_runbooks.operations.waits import until
from keydb_runbooks.runbooks.replication import read_info
from keydb_runbooks.runbooks.topology import Topology
from keydb_runbooks.runbooks.verified import READS, Check, can_be_read, whose_reads

PATIENCE_SECONDS = 1.0
"""For so long a proxy may lead to somebody else: its checks see a role that moved a moment later."""

PAUSE_SECONDS = 0.05


def read_through_proxies(group: Group, topology: Topology) -> tuple[list[Check], list[Check]]:
    """Ask whoever answers behind each proxy's port for reads who it is.

    :param topology: the group as it was read after the run's last step
    :returns: what was verified, and what was not
    """
    answering = {proxy.name for proxy in topology.proxies}
    proxies = [proxy for proxy in group.proxies if proxy.name in answering]
    seen = in_parallel(partial(_read_through, group, topology), proxies)
    return [check for check, good in seen if good], [check for check, good in seen if not good]


def _read_through(group: Group, topology: Topology, proxy: ProxyEntry) -> tuple[Check, bool]:
    if not can_be_read(topology):
        return Check(READS, proxy.name, "no replica is there that could answer them"), False
    last = Check(READS, proxy.name, "the run was told to stop")

    def look() -> Check | None:
        nonlocal last
        last, good = whose_reads(topology, proxy.name, *_who_answers(group, proxy))
        return last if good else None

    try:
        good = until(look, PATIENCE_SECONDS, PAUSE_SECONDS, lambda: last.told) is not None
    except Stopped:
        good = False
    return last, good


def _who_answers(group: Group, proxy: ProxyEntry) -> tuple[str | None, str]:
    """The run id of the server that answered; or None, and what was met instead."""
    try:
        client = link_through(proxy, proxy.read_address, group)
        try:
            return read_info(client.execute_command("INFO", "server"))["run_id"][0], ""
        finally:
            client.close()
    except (LinkError, redis.RedisError, OSError) as error:
        return None, explain(error, proxy.read_address).detail
