"""Who may reach a server's port, and whom that would shut out now."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

Address = IPv4Address | IPv6Address


def allowed(addresses: Iterable[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Addresses and networks as nft takes them, each once and in order: those of IPv4, and those of IPv6.

    :raises ValueError: if one is a name; it may mean another address when the machine boots
    """
    networks = {ip_network(address) for address in addresses}
    told = sorted(networks, key=lambda one: (one.version, int(one.network_address), one.prefixlen))
    shown = [(one.version, str(one.network_address if one.num_addresses == 1 else one)) for one in told]
    of_four, of_six = (tuple(text for version, text in shown if version == wanted) for wanted in (4, 6))
    return of_four, of_six


def shut_out(peers: Iterable[str], addresses: Iterable[str]) -> tuple[str, ...]:
    """Who is connected, and would not be let in. A machine may always reach itself.

    :param peers: the other ends of a port's connections
    :param addresses: who may reach it
    """
    networks = [ip_network(address) for address in addresses]
    known = {_plain(peer) for peer in peers}
    others = [one for one in known if not one.is_loopback and not any(one in network for network in networks)]
    return tuple(map(str, sorted(others, key=lambda one: (one.version, int(one)))))


def _plain(peer: str) -> Address:
    """An address of IPv4 looks like one of IPv6 to a server that listens on both."""
    address = ip_address(peer)
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address
