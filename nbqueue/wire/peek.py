"""A look at the arguments of somebody's task that runs nobody's code.

A pickle may name any function and have it called while it is loaded.  Here every name stands for a
:class:`Placeholder`, which does nothing and knows what it stands for: numbers, text, lists and dicts come out
as they are, anything else as ``<numpy.ndarray>``.

A few bytes can also be written so that loading them fills the memory, or takes for ever.  So only small
pickles are looked at, none that asks for such things, and what is shown of them is bounded.
"""

import io
import json
import pickle
import pickletools
import reprlib
from collections.abc import Mapping
from typing import Any, Final

import msgspec

#: bytes of arguments that are looked at
MOST_BYTES: Final = 4096
#: tuples that are used again within others: the hash of such a one takes two steps for each level below it
_MOST_NESTED: Final = 20
_UNKNOWN: Final = "<…>"
_PLAIN: Final = (type(None), bool, int, float)

_short = reprlib.Repr()
_short.maxlevel = 4
_short.maxstring = _short.maxother = 120


class _Named(type):
    """A class that is shown as a value of it is: a pickle may hold either."""

    def __repr__(cls) -> str:
        return f"<{vars(cls).get('_name', 'object')}>"


class Placeholder(metaclass=_Named):
    """In place of whatever a pickle names."""

    _name = "object"

    def __new__(cls, *args: Any, **kwargs: Any) -> "Placeholder":
        return object.__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __call__(self, *args: Any, **kwargs: Any) -> "Placeholder":
        return self

    def __setstate__(self, state: Any) -> None:
        pass

    def __repr__(self) -> str:
        return f"<{self._name}>"

    def __hash__(self) -> int:
        return 0

    # what else a pickle may do to an object: fill a list, a dict or a set
    def append(self, item: Any) -> None:
        pass

    def extend(self, items: Any) -> None:
        pass

    def add(self, item: Any) -> None:
        pass

    def __setitem__(self, key: Any, value: Any) -> None:
        pass


class _Blind(pickle.Unpickler):
    """Finds placeholders only."""

    def find_class(self, module: str, name: str) -> Any:
        return _Named("Placeholder", (Placeholder,), {"_name": f"{module}.{name}"})

    def persistent_load(self, pid: Any) -> Any:
        return Placeholder()


def arguments(payload: bytes | None, serializer: str = "") -> tuple[Any, Any]:
    """``args`` and ``kwargs`` of a task: plain values, with the ``repr`` of what is none; ``"<…>"`` in place
    of what is too large or cannot be read."""
    if payload is None or len(payload) > MOST_BYTES:
        return _UNKNOWN, _UNKNOWN
    try:
        args, kwargs = _read(payload, serializer)
        return [_shown(value) for value in args], {str(k): _shown(v) for k, v in dict(kwargs).items()}
    except Exception:  # whatever it is, it was not written by us
        return _UNKNOWN, _UNKNOWN


def _read(payload: bytes, serializer: str) -> Any:
    if serializer == "json":
        return json.loads(payload)
    if serializer == "msgpack":
        return msgspec.msgpack.decode(payload)
    if not _is_harmless(payload):
        raise ValueError("this pickle is no call's arguments")
    return _Blind(io.BytesIO(payload), buffers=()).load()


def _is_harmless(payload: bytes) -> bool:
    """Whether loading it takes no more room and time than its size lets expect."""
    tuples = reused = 0
    for opcode, argument, _ in pickletools.genops(payload):
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT", "FRAME") and int(argument or 0) > len(payload):
            return False
        tuples += opcode.name.startswith("TUPLE")
        reused += opcode.name.endswith("GET")
    return min(tuples, reused) <= _MOST_NESTED


def _shown(value: Any, level: int = 3) -> Any:
    """A value that any output can hold."""
    if isinstance(value, _PLAIN):
        return value if not isinstance(value, int) or abs(value) < 2**63 else _short.repr(value)
    if type(value) is str:
        return value if len(value) <= _short.maxstring else _short.repr(value)[1:-1]
    if level and type(value) in (list, tuple) and len(value) <= 20:
        return [_shown(item, level - 1) for item in value]
    if level and isinstance(value, Mapping) and len(value) <= 20:
        return {str(key)[:120]: _shown(item, level - 1) for key, item in value.items()}
    return _short.repr(value)
