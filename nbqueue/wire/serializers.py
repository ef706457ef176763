"""Values as JSON or msgpack, for those who do not want pickles.

What is written says what it is: a pickle begins with ``\\x80``, JSON is written behind ``j``, msgpack behind
``m``.  So readers need not be told, and refuse what they do not accept before any of it is loaded.
"""

import base64
import datetime
import decimal
import json
import uuid
from collections.abc import Callable, Collection
from typing import Any, Final

import msgspec

from nbqueue.exceptions import SerializationError

PICKLED: Final = "cloudpickle"
_TAGS: Final = {"json": b"j", "msgpack": b"m"}
_NAMES: Final = {b"j": "json", b"m": "msgpack"}


def written_by(data: bytes | memoryview) -> str:
    """The serializer that a value was written by."""
    return _NAMES.get(bytes(data[:1]), PICKLED)


def check_accepted(data: bytes | memoryview, accepted: Collection[str] | None) -> None:
    """Raise SerializationError if a value is written by another serializer than these; None: by any."""
    if accepted is not None and (found := written_by(data)) not in accepted:
        raise refused(found, accepted)


def refused(serializer: str, accepted: Collection[str]) -> SerializationError:
    """What to say of something that is not accepted."""
    only = ", ".join(sorted(accepted)) or "nothing"
    return SerializationError(
        f"refused content written by {serializer}: only {only} is accepted here (accept_content);"
        " the sender's task_serializer or result_serializer has to be one of these,"
        " and workers need tasks that go by name (-A)"
    )


def dumps(value: Any, serializer: str) -> bytes:
    """Write a value as "json" or "msgpack".

    Raises
    ------
    TypeError, ValueError
        It has something in it that cannot be written so.
    """
    return _TAGS[serializer] + _WRITERS[serializer](value)


def loads(data: bytes | memoryview) -> Any:
    """Read what :func:`dumps` has written.

    Raises
    ------
    ValueError
        It is damaged.
    """
    return _READERS[bytes(data[:1])](bytes(data[1:]))


def is_pickled(data: bytes | memoryview) -> bool:
    """Whether a value is neither JSON nor msgpack."""
    return bytes(data[:1]) not in _NAMES


# ── JSON, with the types that kombu's JSON knows, in its words ───────────────────────────────────


def _write_json(value: Any) -> bytes:
    return json.dumps(value, default=_marked, separators=(",", ":")).encode()


def _read_json(data: bytes) -> Any:
    return json.loads(data, object_hook=_unmarked)


def _marked(value: Any) -> Any:
    for name, (kind, write, _) in _JSON_TYPES.items():
        if isinstance(value, kind):
            return {"__type__": name, "__value__": write(value)}
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def _unmarked(found: dict[str, Any]) -> Any:
    if found.keys() == {"__type__", "__value__"} and found["__type__"] in _JSON_TYPES:
        return _JSON_TYPES[found["__type__"]][2](found["__value__"])
    return found


#: name → (type, how it is written, how it is read); a datetime is a date, too, and comes first
_JSON_TYPES: Final[dict[str, tuple[type, Callable[[Any], Any], Callable[[Any], Any]]]] = {
    "datetime": (datetime.datetime, datetime.datetime.isoformat, datetime.datetime.fromisoformat),
    "date": (datetime.date, datetime.date.isoformat, datetime.date.fromisoformat),
    "time": (datetime.time, datetime.time.isoformat, datetime.time.fromisoformat),
    "decimal": (decimal.Decimal, str, decimal.Decimal),
    "uuid": (uuid.UUID, lambda value: {"hex": value.hex}, lambda found: uuid.UUID(hex=found["hex"])),
    "bytes": (bytes, lambda value: base64.b64encode(value).decode(), base64.b64decode),
}

_WRITERS: Final[dict[str, Callable[[Any], bytes]]] = {"json": _write_json, "msgpack": msgspec.msgpack.encode}
_READERS: Final[dict[bytes, Callable[[bytes], Any]]] = {b"j": _read_json, b"m": msgspec.msgpack.decode}
