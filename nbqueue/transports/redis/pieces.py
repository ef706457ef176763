"""What is large is kept in pieces, fields of one hash: so that Redis serves others in between, and no reader
is sent more than he can take.

Who keeps the pieces signs their :class:`Seal` together with what they belong to::

    seal(data) + write(wire, key, prefix, data)     ─▶ PREFIX0, PREFIX1, …
    read(wire, key, prefix, seal)                   ─▶ data, or ForgedError
"""

import hashlib
import hmac
from collections.abc import Callable
from typing import Any, Final

import hiredis
import msgspec

from nbqueue.exceptions import ProtocolError, ResultBackendError
from nbqueue.transports.redis.wire import Then, Wire
from nbqueue.wire.codec import pack
from nbqueue.wire.signing import ForgedError

#: bytes of a piece: copying one takes Redis less than a millisecond
PIECE: Final = 2**20
#: bytes from which data is kept in pieces
LARGE: Final = 2**18
#: pieces that are asked for ahead
_AHEAD: Final = 4
#: bytes that wait to be sent while more are put to them
_UNSENT: Final = 2 * PIECE


class Seal(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What pieces have to be together."""

    size: int
    sha256: bytes


_seal: Final = msgspec.msgpack.Decoder(Seal).decode


def count(size: int) -> int:
    """How many pieces so many bytes are."""
    return -(-size // PIECE)


def pack_seal(seal: Seal) -> bytes:
    return pack(seal)


def unpack_seal(packed: bytes) -> Seal:
    """
    Raises
    ------
    ProtocolError
        It is none.
    """
    try:
        return _seal(packed)
    except msgspec.MsgspecError as error:
        raise ProtocolError(f"pieces in Redis were written by another version of nbqueue: {error}") from None


def write(wire: Wire, key: bytes | str, prefix: str, data: bytes, then: Then, *, paced: bool = True) -> Seal:
    """Have the pieces written; ``then`` is called with the reply to each.

    ``paced``: wait for the network, so that not all of it is copied at once.
    """
    digest, view = hashlib.sha256(), memoryview(data)
    for number, start in enumerate(range(0, len(data), PIECE)):
        piece = view[start : start + PIECE]
        wire.call(b"HSET", key, f"{prefix}{number}", piece, then=then)
        if paced:
            wire.relieve(_UNSENT)
        digest.update(piece)
    return Seal(len(data), digest.digest())


class Reading:
    """Pieces on their way: :meth:`ask` for them, a few ahead, and ``done`` is called when all are there."""

    def __init__(
        self, wire: Wire, key: bytes | str, prefix: str, seal: Seal, done: "Callable[[Reading], object]"
    ) -> None:
        self._wire, self._key, self._prefix, self._seal, self._done = wire, key, prefix, seal, done
        self._found: list[Any] = []
        self._digest = hashlib.sha256()
        self._asked = 0
        self._count = count(seal.size)

    @property
    def is_done(self) -> bool:
        return len(self._found) == self._count

    def ask(self) -> None:
        while self._asked < self._count and self._asked - len(self._found) < _AHEAD:
            self._wire.call(b"HGET", self._key, f"{self._prefix}{self._asked}", then=self._take)
            self._asked += 1

    def _take(self, reply: Any) -> None:
        self._found.append(reply)
        self.ask()  # before it is looked at: Redis works meanwhile
        if isinstance(reply, bytes):
            self._digest.update(reply)
        if self.is_done:
            self._done(self)

    def data(self) -> bytes | None:
        """What the pieces are together; None if they are not all there.

        Raises
        ------
        ForgedError
            They are not those that were sealed.
        ResultBackendError
            Redis refused to give them.
        """
        for piece in self._found:
            check(piece)
        if None in self._found:
            return None
        data = b"".join(self._found)
        if len(data) != self._seal.size or not hmac.compare_digest(self._digest.digest(), self._seal.sha256):
            raise ForgedError("large data that was altered since it was written")
        return data


def read(wire: Wire, key: bytes | str, prefix: str, seal: Seal) -> bytes | None:
    """:meth:`Reading.data` of pieces, waited for."""
    reading = Reading(wire, key, prefix, seal, lambda _: None)
    reading.ask()
    while not reading.is_done:
        wire.hear()
    return reading.data()


def check(reply: object) -> None:
    """Raise what is wrong with a reply, if something is.

    Raises
    ------
    ResultBackendError
        Redis refused it.
    """
    if not isinstance(reply, hiredis.ReplyError):
        return
    text = str(reply)
    if text.startswith("OOM"):
        text = "Redis has no memory left (its maxmemory): give it more, or keep results for less time"
    raise ResultBackendError(text)
