"""Reaching the Redis that has the application just now, wherever it has moved.

::

    redis://A,B        the first that answers; a node of a Cluster tells of the others, and MOVED says which
                       of them has the application
    sentinel://A,B     the first that answers tells where the master is
"""

import contextlib
from typing import Any, Final

import redis.exceptions
from redis.connection import AbstractConnection

from nbqueue.exceptions import AuthenticationError, ConnectionLostError
from nbqueue.transports.redis.address import Address, Node

#: first words of errors that no other connection will mend
DENIED: Final = ("NOAUTH", "WRONGPASS", "NOPERM")


class Broken(Exception):
    """The connection is of no use any more; ``trouble`` is what its owner is to be told."""

    def __init__(self, trouble: ConnectionLostError, moved: Node | None = None) -> None:
        super().__init__(str(trouble))
        self.trouble = trouble
        #: where to connect instead
        self.moved = moved

    @property
    def final(self) -> bool:
        """Whether no other connection will do: it is we who are not let in."""
        return isinstance(self.trouble, AuthenticationError)


def connected(address: Address, node: Node | None = None) -> AbstractConnection:
    """An open connection; to that node, if one is named.

    Raises
    ------
    Broken
        None of them lets us in; it is what the last one said.
    """
    if node is not None:
        return _opened(address, address.connection(node))
    last = Broken(ConnectionLostError(f"{address.url} names no host"))
    for each in list(address.nodes()):
        try:
            if not address.master:
                return _learned(address, _opened(address, address.connection(each)))
            return _opened(address, address.connection(_master(address, each)))
        except Broken as broken:
            last = broken
    raise last


def _opened(address: Address, connection: AbstractConnection) -> AbstractConnection:
    try:
        connection.connect()
    except (redis.exceptions.AuthenticationError, redis.exceptions.NoPermissionError) as error:
        text = f"{address.url}: {error}"
        if "already authenticated" in text:  # all that HELLO says
            text = f"{address.url}: a password is needed, in the URL or in NBQUEUE_REDIS_PASSWORD"
        raise Broken(AuthenticationError(text)) from None
    except redis.exceptions.ResponseError as error:
        if str(error).startswith(DENIED):
            raise Broken(AuthenticationError(f"{address.url}: {error}")) from None
        raise Broken(ConnectionLostError(f"{address.url}: {error}")) from None
    except (redis.exceptions.RedisError, OSError) as error:
        raise Broken(ConnectionLostError(f"no Redis answers at {address.url}: {error}")) from None
    return connection


def _learned(address: Address, connection: AbstractConnection) -> AbstractConnection:
    """Keep in mind the other nodes of a Cluster: those that were named may be gone one day."""
    if _text(getattr(connection, "handshake_metadata", None) or {}, "mode") == "cluster":
        with contextlib.suppress(redis.exceptions.ResponseError):
            slots = _asked(connection, b"CLUSTER", b"SLOTS")
            address.learn([(node[0].decode(), int(node[1])) for row in slots for node in row[2:] if node[0]])
    return connection


def _asked(connection: AbstractConnection, *words: bytes | str) -> Any:
    connection.send_command(*words)
    reply: Any = connection.read_response(disable_decoding=True)
    return reply


def _text(fields: dict[Any, Any], name: str) -> str:
    value = fields.get(name, fields.get(name.encode(), ""))
    return value.decode() if isinstance(value, bytes) else str(value)


def _master(address: Address, node: Node) -> Node:
    """Where the master is, as a Sentinel says."""
    where = f"the Sentinel at {node[0]}:{node[1]}"
    connection = address.sentinel(node)
    try:
        connection.connect()
        reply = _asked(connection, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", address.master)
    except (redis.exceptions.AuthenticationError, redis.exceptions.NoPermissionError) as error:
        raise Broken(AuthenticationError(f"{where}: {error}: give NBQUEUE_SENTINEL_PASSWORD")) from None
    except (redis.exceptions.RedisError, OSError) as error:
        raise Broken(ConnectionLostError(f"{where} does not answer: {error}")) from None
    finally:
        connection.disconnect()
    if not reply:
        raise Broken(ConnectionLostError(f"{where} knows no master called {address.master!r}"))
    return reply[0].decode(), int(reply[1])
