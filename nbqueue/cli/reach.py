"""How other machines reach what listens on this one."""

import ipaddress
import socket
from collections.abc import Iterator

import psutil

_EVERYWHERE = frozenset({"0.0.0.0", "::", "*"})
#: Documentation addresses (RFC 5737, RFC 3849): a route to one is a route to anywhere, and nothing is sent.
_FAR_AWAY = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def reachable_host(host: str) -> str:
    """What others connect to for an address that we listen on: itself, or for all of them our main one."""
    if host not in _EVERYWHERE:
        return host
    return next(_own_addresses(), socket.gethostname())


def host_and_port(host: str, port: int) -> str:
    """``HOST:PORT``, with the brackets that IPv6 needs."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _own_addresses() -> Iterator[str]:
    """The address that the default route leaves by, then those of each interface."""
    for family, target in _FAR_AWAY:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            if probe.connect_ex((target, 9)) == 0:
                yield probe.getsockname()[0]
    for addresses in psutil.net_if_addrs().values():
        for address in addresses:
            if address.family == socket.AF_INET and not is_loopback(address.address):
                yield address.address
