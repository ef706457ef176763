"""Messages to bytes and back: msgpack, one frame a batch.

::

    b"NBQ" + bytes([1]) + msgpack([message, …])     a batch of this protocol
    b"NBQ" + bytes([0]) + utf-8 text                a refusal, which every version can read and will
                                                    be able to

Nothing here is executed: a frame from anyone is either a list of well-formed messages or a
:class:`~nbqueue.exceptions.ProtocolError`.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from nbqueue._version import __version__
from nbqueue.core.settings import too_large
from nbqueue.exceptions import ProtocolError, SerializationError
from nbqueue.messages import (
    PROTOCOL,
    Accepted,
    AnyMessage,
    Assign,
    Cancel,
    Forget,
    NotFound,
    Settle,
    Submit,
    Watch,
)

#: Larger batches are cut, so that one does not hold up all that comes behind it.
FRAME_BYTES: Final = 2**20
#: What a single message may have; a larger argument or result has to travel by a file.
MAX_MESSAGE_BYTES: Final = 2**30
#: What a value in one may have; there is little else in it.
MAX_VALUE_BYTES: Final = MAX_MESSAGE_BYTES - 2**20
#: No peer sends larger frames: a message at its limit, and what a broker adds to it.
MAX_FRAME_BYTES: Final = MAX_MESSAGE_BYTES + 2**20

_MAGIC: Final = b"NBQ"
_REFUSAL: Final = 0
_HEADER: Final = _MAGIC + bytes([PROTOCOL])
_HEADER_SIZE: Final = len(_HEADER)


def _plain(value: object) -> str:
    """A text of another class than ``str`` (NumPy's, MarkupSafe's), which tasks and exceptions may say."""
    if isinstance(value, str):
        return str.__str__(value)
    raise NotImplementedError  # msgspec tells what it is that cannot be sent


_encoder = msgspec.msgpack.Encoder(enc_hook=_plain)
_decoder = msgspec.msgpack.Decoder(list[AnyMessage])


def fits(data: bytes, limit: int = 0) -> bool:
    """Whether a pickled value may travel.  ``limit``: bytes that the broker takes
    (``Welcome.max_payload_bytes``); 0: as many as a message holds."""
    return len(data) <= (limit if 0 < limit < MAX_VALUE_BYTES else MAX_VALUE_BYTES)


def sized(data: bytes, what: str, limit: int = 0) -> bytes:
    """The pickled value itself; ``what`` it is, for the message, and ``limit`` as in :func:`fits`.

    Raises
    ------
    SerializationError
        It is too large.
    """
    if not fits(data, limit):
        raise SerializationError(too_large(what, len(data), min(limit or MAX_VALUE_BYTES, MAX_VALUE_BYTES)))
    return data


def encode(messages: Sequence[AnyMessage], limit: int = MAX_MESSAGE_BYTES) -> list[bytes]:
    """Write messages as frames; each frame is complete in itself.

    Raises
    ------
    SerializationError
        A message has more bytes than ``limit``; none was written.
    """
    body = _pack(messages)
    if len(body) <= FRAME_BYTES:
        return [_HEADER + body]
    if (halves := _halve(messages)) is None:
        return [_HEADER + _checked(body, messages[0], limit)]
    return [frame for half in halves for frame in encode(half, limit)]


def _pack(messages: Sequence[AnyMessage]) -> bytes:
    try:
        return _encoder.encode(messages)
    except UnicodeEncodeError:
        # Tasks print lone surrogates (undecodable file names, say), which utf-8 lacks: spell them out.
        return _encoder.encode(_without_surrogates(_builtins(messages)))


def _builtins(messages: Sequence[AnyMessage]) -> Any:
    return msgspec.to_builtins(messages, builtin_types=(bytes,), enc_hook=_plain)


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode()
    if isinstance(value, dict):
        return {_without_surrogates(k): _without_surrogates(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_without_surrogates(item) for item in value]
    return value


def _halve(messages: Sequence[AnyMessage]) -> tuple[Sequence[AnyMessage], Sequence[AnyMessage]] | None:
    """Two smaller batches that say the same; None if it is a single item."""
    if len(messages) > 1:
        middle = len(messages) // 2
        return messages[:middle], messages[middle:]
    match messages[0]:
        case (
            Submit([_, _, *_] as items) | Assign([_, _, *_] as items) | Settle([_, _, *_] as items)
            | Accepted([_, _, *_] as items) | NotFound([_, _, *_] as items)
            | Watch([_, _, *_] as items) | Forget([_, _, *_] as items)
        ):  # fmt: skip
            middle = len(items) // 2
            kind: Any = type(messages[0])
            return [kind(items[:middle])], [kind(items[middle:])]
        case Cancel([_, _, *_] as ids, terminate):
            middle = len(ids) // 2
            return [Cancel(ids[:middle], terminate)], [Cancel(ids[middle:], terminate)]
    return None


def _checked(body: bytes, message: AnyMessage, limit: int) -> bytes:
    if len(body) > limit:
        raise SerializationError(
            f"{type(message).__name__} of {len(body) / 2**30:.1f} GiB is too large to send (the limit is"
            f" {limit / 2**30:g} GiB): pass large data by a file, or in parts"
        )
    return body


def decode(frames: Sequence[bytes | memoryview]) -> list[AnyMessage]:
    """Read frames back into messages, in order.

    Raises
    ------
    ProtocolError
        A frame is a refusal, of another protocol, or garbage; the message is for a person to read.
    """
    messages: list[AnyMessage] = []
    for frame in frames:
        if bytes(frame[:_HEADER_SIZE]) != _HEADER:
            raise _stranger(bytes(frame[:65536]))
        messages += _unpack(memoryview(frame)[_HEADER_SIZE:])
    return messages


def _unpack(body: memoryview) -> list[AnyMessage]:
    try:
        return _decoder.decode(body)
    # What a decoder says to bytes made by an enemy: also keys that cannot be hashed, nesting without end,
    # times before the first year.
    except (msgspec.MsgspecError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise ProtocolError(f"the other side sent a malformed message: {error}") from None


def _stranger(frame: bytes) -> ProtocolError:
    if not frame.startswith(_MAGIC) or len(frame) < _HEADER_SIZE:
        return ProtocolError(f"the other side does not speak nbqueue's protocol: it sent {frame[:20]!r}")
    if (version := frame[_HEADER_SIZE - 1]) == _REFUSAL:
        return ProtocolError(frame[_HEADER_SIZE:].decode("utf-8", "replace"))
    return ProtocolError(
        f"the other side speaks protocol {version}, nbqueue {__version__} here speaks protocol {PROTOCOL}:"
        " install the same version on both sides"
    )


def encode_refusal(text: str) -> bytes:
    """A frame for a peer whose protocol we do not speak; :func:`decode` raises ProtocolError of that text."""
    return _MAGIC + bytes([_REFUSAL]) + text.encode("utf-8", "replace")
