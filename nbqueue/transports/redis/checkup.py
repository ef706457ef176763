"""A look at a Redis and at the way to it, for ``nbqueue doctor``: facts, and no opinion of them.

On a connection of its own, one question at a time: what may not be asked (ACL) is simply not known.
"""

import statistics
import time
from dataclasses import dataclass, field
from typing import Any, Final

import redis.exceptions
from redis.connection import AbstractConnection

from nbqueue.exceptions import ConnectionLostError, ProtocolError
from nbqueue.transports.redis import rights
from nbqueue.transports.redis.address import Address
from nbqueue.transports.redis.names import Names
from nbqueue.transports.redis.reach import Broken, connected
from nbqueue.transports.redis.records import Sealed
from nbqueue.wire.signing import ForgedError, Signer, signing_key

#: times that the way there and back is measured
_ROUNDS: Final = 21
_SETTINGS: Final = ("appendfsync", "save", "maxmemory-policy")


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What was found out."""

    #: as INFO tells it, of all sections
    info: dict[str, str]
    #: configuration that could be read
    settings: dict[str, str]
    #: seconds there and back: the median
    latency: float
    #: seconds by which its clock is ahead of ours
    ahead: float
    #: commands that we are not allowed
    denied: list[str] = field(default_factory=list)
    #: workers, by their ids, whose Hello is signed by our key, and whose is not
    ours: list[str] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)


def look(url: str) -> Facts:
    """Find out what can be.

    Raises
    ------
    ConnectionLostError
        It cannot be reached; its subclasses say that we are not let in.
    ConfigurationError
        The URL is none.
    """
    address = Address(url)
    try:
        connection = connected(address)
    except Broken as broken:
        raise broken.trouble from None
    try:
        latency, ahead = _times(connection)
        ours, strangers = _workers(connection, address)
        return Facts(
            info=_info(connection),
            settings=_settings(connection),
            latency=latency,
            ahead=ahead,
            ours=ours,
            strangers=strangers,
            denied=_denied(connection, address.app),
        )
    except (redis.exceptions.RedisError, OSError) as error:  # it is loading, or went away
        raise ConnectionLostError(f"{address.url}: {error}") from None
    finally:
        connection.disconnect()


def _ask(connection: AbstractConnection, *words: str) -> Any:
    connection.send_command(*words)
    pushes = words[0] in rights.PUSHED
    reply: Any = connection.read_response(disable_decoding=True, push_request=pushes)
    return reply


def _try(connection: AbstractConnection, *words: str) -> Any:
    """The same; None if it is refused."""
    try:
        return _ask(connection, *words)
    except redis.exceptions.ResponseError:
        return None


def _info(connection: AbstractConnection) -> dict[str, str]:
    text: bytes = _try(connection, "INFO") or b""
    lines = (line.split(":", 1) for line in text.decode(errors="replace").splitlines() if ":" in line)
    return {name: value.strip() for name, value in lines}


def _settings(connection: AbstractConnection) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in _SETTINGS:
        reply = _try(connection, "CONFIG", "GET", name)
        if isinstance(reply, dict):
            found |= {key.decode(): value.decode(errors="replace") for key, value in reply.items()}
    return found


def _times(connection: AbstractConnection) -> tuple[float, float]:
    """How long there and back, and how far its clock is ahead."""
    rounds, ahead = [], []
    for _ in range(_ROUNDS):
        before = time.time()
        began = time.perf_counter()
        reply = _try(connection, "TIME")
        rounds.append(time.perf_counter() - began)
        if reply is not None:
            ahead.append(int(reply[0]) + int(reply[1]) / 1e6 - before - rounds[-1] / 2)
    return statistics.median(rounds), statistics.median(ahead) if ahead else 0.0


def _workers(connection: AbstractConnection, address: Address) -> tuple[list[str], list[str]]:
    sealed = Sealed(Signer(signing_key().encode(), address.app))
    hellos: dict[bytes, bytes] = _try(connection, "HGETALL", Names(address.app)("workers")) or {}
    ours, strangers = [], []
    for id, hello in hellos.items():
        try:
            ours.append(sealed.open_hello(hello).name)
        except ForgedError:
            strangers.append(id.decode(errors="replace"))
        except ProtocolError:  # signed by our key, and of another version
            ours.append(id.decode(errors="replace"))
    return ours, strangers


def _denied(connection: AbstractConnection, app: str) -> list[str]:
    """Commands that we may not use on what is the application's."""
    denied = []
    for command, words in rights.trials(app):
        try:
            _ask(connection, *words)
        except redis.exceptions.NoPermissionError:
            denied.append(command)
        except redis.exceptions.ResponseError:
            pass  # NOSCRIPT, READONLY, OOM: it was let through
    return denied
