"""Redis as result backend: values are kept there, signed, whatever the broker is.

::

    executor ── store ──▶ value:ID   TOKEN → {id, token, data}                     small
                                     TOKEN → {id, token, seal}, TOKEN/0, TOKEN/1…  large, in pieces
    client   ◀── load ──┘            each under the application's signing key

Each run's value stands by itself in the task's hash: one that comes too late does not take the place of the
one that counts.  The hash goes as a whole, after ``result_expires`` or when it is forgotten.  The URL is that
of a broker (``transports.redis.address``), and so is the namespace; both may be in the same Redis.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from nbqueue.results.base import ResultBackend, StoredValue
from nbqueue.transports.redis import pieces
from nbqueue.transports.redis.address import Address
from nbqueue.transports.redis.names import Names
from nbqueue.transports.redis.pieces import LARGE, Seal
from nbqueue.transports.redis.pool import Pool
from nbqueue.transports.redis.wire import Wire
from nbqueue.wire.codec import pack
from nbqueue.wire.signing import ForgedError, Signer, signing_key

_KIND: Final = "value"
#: seconds for which a value is tried to be stored: a run's work would be lost, and a failover takes its time
_STORE: Final = 30.0
#: and to be read or deleted: somebody waits
_LOAD: Final = 5.0
#: values that one pipeline deletes
_BATCH: Final = 1000


class _Kept(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What is signed."""

    id: str
    token: int
    data: bytes
    #: of what is kept in pieces, in place of data
    seal: Seal | None = None


_decode: Final = msgspec.msgpack.Decoder(_Kept).decode


class RedisBackend(ResultBackend):
    """See the module's docstring.

    Raises
    ------
    ConfigurationError, AuthenticationError
        The URL cannot be one of a Redis, or there is no signing key.
    """

    def __init__(self, url: str) -> None:
        address = Address(url)
        super().__init__(address.url)
        self._names = Names(address.app)
        self._signer = Signer(signing_key().encode(), address.app)
        self._pool = Pool(address)

    def store(self, values: Sequence[StoredValue], expires: float) -> None:
        self._pool.use(lambda wire: self._store(wire, values, expires), _STORE)

    def load(self, id: str, token: int) -> bytes | memoryview | None:
        """
        Raises
        ------
        ForgedError
            What is there was not written by one who has the signing key, or it belongs to another task.
        """
        return self._pool.use(lambda wire: self._load(wire, id, token), _LOAD)

    def forget(self, ids: Sequence[str]) -> None:
        for start in range(0, len(ids), _BATCH):
            keys = [self._key(id) for id in ids[start : start + _BATCH]]
            self._pool.use(lambda wire, keys=keys: wire.ask(b"UNLINK", *keys), _LOAD)  # type: ignore[misc]  # a default has no type

    def close(self) -> None:
        """Let go of connections that nobody uses."""
        self._pool.close()

    def _key(self, id: str) -> str:
        return self._names(f"value:{id}")

    def _store(self, wire: Wire, values: Sequence[StoredValue], expires: float) -> None:
        replies: list[Any] = []
        for value in values:
            key, token = self._key(value.id), str(value.token)
            kept = _Kept(value.id, value.token, value.data)
            if len(value.data) > LARGE:
                wire.call(b"HSET", key, token, b"", then=replies.append)
                self._expire(wire, key, expires, replies)  # now, for we may not come to the end
                seal = pieces.write(wire, key, f"{token}/", value.data, replies.append)
                kept = _Kept(value.id, value.token, b"", seal)
            wire.call(b"HSET", key, token, self._signer.seal(_KIND, pack(kept)), then=replies.append)
            self._expire(wire, key, expires, replies)
        wire.finish()
        for reply in replies:
            pieces.check(reply)

    def _expire(self, wire: Wire, key: str, expires: float, replies: list[Any]) -> None:
        if expires:
            wire.call(b"PEXPIRE", key, max(1, int(expires * 1000)), then=replies.append)
        else:
            wire.call(b"PERSIST", key, then=replies.append)

    def _load(self, wire: Wire, id: str, token: int) -> bytes | memoryview | None:
        key = self._key(id)
        sealed = wire.ask(b"HGET", key, str(token))
        if not sealed:  # b"": its writer did not come to the end
            return None
        try:
            kept = _decode(self._signer.open(_KIND, sealed))
        except ForgedError as error:
            raise ForgedError(
                f"{error}: workers and clients need the same one, which `nbqueue key` prints"
            ) from None
        except msgspec.MsgspecError as error:
            raise ForgedError(f"a value that another version of nbqueue has written: {error}") from None
        if (kept.id, kept.token) != (id, token):
            raise ForgedError(f"the value kept for {id!r} is that of {kept.id!r}")
        if kept.seal is None:
            return kept.data
        return pieces.read(wire, key, f"{token}/", kept.seal)
