"""What a cell takes along from the notebook, as bytes.

All of it is one pickle, so that what belongs together stays together.  The notebook's functions among
the values share one namespace when they are loaded, and with it an *anchor*, a function that does
nothing: its globals are where the cell has to run to be among them.  The sources of their cells go
along for tracebacks.
"""

import io
from collections.abc import Mapping
from types import FunctionType
from typing import Any, NamedTuple

from nbqueue.wire import blame, namespaces, payload, sources
from nbqueue.wire.pickler import Pickler


class Luggage(NamedTuple):
    """What a cell took along, unpacked."""

    #: where the cell is to run
    namespace: dict[str, Any]
    values: dict[str, Any]


def pack(values: Mapping[str, Any], notebook: dict[str, Any], label: str) -> bytes:
    """Pickle values of the namespace ``notebook`` for a cell that is called ``label``.

    Raises
    ------
    SerializationError
        One of the values cannot be pickled; the message names it.
    """
    buffer = io.BytesIO()
    pickler = _Packer(buffer)
    anchor = FunctionType(_nothing.__code__, notebook, "anchor")
    try:
        pickler.dump((anchor, dict(values), pickler.sources))  # the sources last: they are found on the way
    except Exception as error:
        parts = [blame.read_global(name, "the cell", value) for name, value in values.items()]
        raise blame.captured_error(label, parts, error) from error
    return buffer.getvalue()


def unpack(packed: bytes) -> Luggage:
    """Load what was packed, into a namespace that nothing else has a part in.

    Raises
    ------
    SerializationError
        It cannot be loaded here, for want of a module for instance; the message says why.
    """
    namespaces.enter(namespaces.Namespaces())
    anchor, values, found = payload.loads(packed)
    sources.remember(found)
    return Luggage(anchor.__globals__, values)


def _nothing() -> None:
    pass


class _Packer(Pickler):
    """Takes down the sources of the functions that go by value."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self.sources: dict[str, tuple[str, str]] = {}

    def _reduce_function_by_value(self, function: FunctionType) -> Any:
        filename = function.__code__.co_filename
        if filename != __file__ and filename not in self.sources:
            source = sources.source_of(filename)
            if source is not None:
                self.sources[filename] = source
        return super()._reduce_function_by_value(function)
