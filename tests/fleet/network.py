"""The fleet's network: a bridge in the test process's own network namespace, and a namespace for each machine.

Nothing of it can be seen from outside: ``needs.SPACES`` give the whole fleet namespaces of its own.
"""

from __future__ import annotations

import subprocess

BRIDGE = "fleet"
HERE = "192.168.56.1"
PREFIX = 24


def set_up() -> None:
    """Make the bridge; this process's end of it has the address that Vagrant's host has."""
    # Names of namespaces and what nspawn notes would be left in the real one.
    _run("mount -t tmpfs tmpfs /run")
    _run("mkdir /run/netns")
    _run("ip link set lo up")
    _run(f"ip link add {BRIDGE} type bridge")
    _run(f"ip address add {HERE}/{PREFIX} dev {BRIDGE}")
    _run(f"ip link set {BRIDGE} up")


def plug_in(machine: str, address: str) -> None:
    """Give a machine a network of its own, as its hardware has one, and its cable into the bridge."""
    _run(f"ip netns add {machine}")
    _run(f"ip link add {machine} type veth peer name eth0 netns {machine}")
    _run(f"ip -n {machine} link set lo up")
    _run(f"ip -n {machine} address add {address}/{PREFIX} dev eth0")
    _run(f"ip -n {machine} link set eth0 up")
    _run(f"ip link set {machine} master {BRIDGE} up")
    # Nobody knows the new card by the old one's address.
    _run(f"ip neighbour flush dev {BRIDGE}")


def plug_out(machine: str) -> None:
    """Take a machine's network away, with every connection that its kernel knew."""
    _run(f"ip link delete {machine}")
    _run(f"ip netns delete {machine}")


def cut(machine: str) -> None:
    """From now on nothing reaches a machine and nothing leaves it; it sees a cable that is plugged in."""
    _run(f"bridge link set dev {machine} state 0")


def heal(machine: str) -> None:
    _run(f"bridge link set dev {machine} state 3")


def refuse(machine: str, port: int) -> None:
    """Refuse what comes for a port from other machines, as a firewall may: new connections, and those that are open."""
    rule = f'iifname "eth0" tcp dport {port} reject with tcp reset'
    rules = f"table inet refused {{ chain input {{ type filter hook input priority 0; {rule}; }}; }}"
    _run(f"ip netns exec {machine} nft -f -", given=rules)


def accept(machine: str) -> None:
    """End what ``refuse`` began."""
    _run(f"ip netns exec {machine} nft delete table inet refused")


def _run(command: str, *, given: str | None = None) -> None:
    subprocess.run(command.split(), input=given, text=True, check=True)
