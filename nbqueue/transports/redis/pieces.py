"""What is large is kept in pieces, fields of one hash: so that Redis serves others in between, and no reader
is sent more than he can take.

Who keeps the pieces signs their :class:`Seal` together with what they belong to::

    seal(data) + write(wire, key, prefix, data)     ─▶ PREFIX0, PREFIX1, …
    read(wire, key, prefix, seal)                   ─▶ data, or ForgedError
"""

import hashlib
import hmac
from typing import Any, Final

import hiredis
import msgspec

from nbqueue.exceptions import ResultBackendError
from nbqueue.transports.redis.wire import Then, Wire
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

    @property
    def pieces(self) -> int:
        return -(-self.size // PIECE)


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


def read(wire: Wire, key: bytes | str, prefix: str, seal: Seal) -> bytes | None:
    """What is in the pieces; None if they are not all there.

    Raises
    ------
    ForgedError
        They are not those that were sealed.
    """
    found: list[Any] = []
    digest, asked = hashlib.sha256(), 0
    while len(found) < seal.pieces:
        while asked < seal.pieces and asked - len(found) < _AHEAD:
            wire.call(b"HGET", key, f"{prefix}{asked}", then=found.append)
            asked += 1
        before = len(found)
        wire.hear()
        for piece in found[before:]:
            if isinstance(piece, bytes):
                digest.update(piece)
    for piece in found:
        check(piece)
    if None in found:
        return None
    data = b"".join(found)
    if len(data) != seal.size or not hmac.compare_digest(digest.digest(), seal.sha256):
        raise ForgedError("large data that was altered since it was written")
    return data


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
