"""The sending side: a function goes by value once, and what it reads as it is at each call.

What a task's functions look up in their modules and closures is divided (``wire.fingerprint`` says
how): definitions go into one blob that is named by its hash, every other value is captured at each
submission (``wire.captures``), so that re-running ``K = 5`` reaches the worker with the next call.
"""

import io
import sys
import threading
from collections.abc import Callable
from types import CellType, FunctionType
from typing import Any, NamedTuple

from nbqueue.wire import namespaces
from nbqueue.wire.blame import definition_error
from nbqueue.wire.captures import Captures, CellSource, GlobalSource
from nbqueue.wire.fingerprint import ATOMS, Fingerprint, is_definition
from nbqueue.wire.pickler import Pickler, Reduced
from nbqueue.wire.reads import EMPTY, Read
from nbqueue.wire.shipment import Blob, Shipment, TaskOptions
from nbqueue.wire.sources import source_of

_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


class Definer:
    """A function with its options, ready to be sent as it is now."""

    def __init__(self, function: Callable[..., Any], options: TaskOptions) -> None:
        self._function = function
        self._options = options
        self._definition: _Definition | None = None
        self._shipment: Shipment | None = None
        self._lock = threading.Lock()

    def shipment(self) -> Shipment:
        """The function and what it reads, as they are now.

        Raises
        ------
        SerializationError
            Something that the function uses cannot be pickled; the message names it.
        """
        definition, shipment = self._definition, self._shipment
        if definition is None or not definition.fingerprint.holds():
            definition = None
        elif shipment is not None and not definition.captures:
            return shipment
        with self._lock:
            return self._pack(definition)

    def _pack(self, definition: "_Definition | None") -> Shipment:
        if definition is None:
            definition = self._define()
        captured = definition.captures.take()
        if captured is None:
            definition = self._define()
            captured = definition.captures.take()
            assert captured is not None, "a new definition has divided what it read"
        self._shipment = Shipment(definition.blob, *captured, definition.python)
        return self._shipment

    def _define(self) -> "_Definition":
        definition = _define(self._function, self._options)
        self._shipment = None  # first: shipment() reads the two in the other order, without the lock
        self._definition = definition
        return definition


class _Definition(NamedTuple):
    blob: Blob
    python: str
    fingerprint: Fingerprint
    captures: Captures


def _define(function: Callable[..., Any], options: TaskOptions) -> _Definition:
    buffer = io.BytesIO()
    pickler = _DefinitionPickler(buffer)
    try:
        pickler.dump((function, options, pickler.sources))  # the sources last: they are found on the way
    except Exception as error:
        raise definition_error(function, options, error) from None
    return _Definition(
        Blob.of(buffer.getvalue()),
        _PYTHON if pickler.has_code else "",
        pickler.fingerprint,
        Captures(options.name, [*pickler.captured_names.values(), *pickler.captured_cells]),
    )


class _DefinitionPickler(Pickler):
    """Leaves out what is captured, and takes down what the definition consists of."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self.fingerprint = Fingerprint()
        self.sources: dict[str, tuple[str, str]] = {}
        self.captured_names: dict[tuple[str, str], GlobalSource] = {}
        self.captured_cells: list[CellSource] = []
        self.has_code = False
        self._cell_names: dict[int, tuple[str, str]] = {}

    def _reduce_function_by_value(self, function: FunctionType) -> Reduced:
        self.has_code = True
        self.fingerprint.add_function(function)
        self._add_source(function.__code__.co_filename)
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            self._cell_names[id(cell)] = (name, function.__qualname__)
        return super()._reduce_function_by_value(function)

    def _add_source(self, filename: str) -> None:
        if filename not in self.sources:
            source = source_of(filename)
            if source is not None:
                self.sources[filename] = source

    def _goes_along(self, read: Read, value: Any, reader: FunctionType) -> bool:
        goes_along = super()._goes_along(read, value, reader)
        if not goes_along or is_definition(value):
            self.fingerprint.add_name(read, value)
            return goes_along
        space = self.space(read.namespace).key
        self.captured_names.setdefault((space, read.name), GlobalSource(space, read, reader.__qualname__))
        return False

    def _space_key(self, namespace: dict[str, Any]) -> str:
        # captured values name the space that they go to: those made for exec need a name too
        return super()._space_key(namespace) or f"{namespace.get('__name__', '')}@{len(self._spaces)}"

    def _reduce_cell_with(self, cell: CellType, content: Any) -> Reduced:
        if content is EMPTY or type(content) in ATOMS or is_definition(content):
            self.fingerprint.add_cell(cell, content)
            return super()._reduce_cell_with(cell, content)
        index = len(self.captured_cells)
        self.captured_cells.append(CellSource(index, cell, *self._cell_names.get(id(cell), ("?", "?"))))
        return namespaces.captured_cell, (index,)

    def _reduce_class_by_value(self, cls: type, reduced: tuple[Any, ...]) -> Reduced:
        self.has_code = True
        self.fingerprint.add_class(cls)
        return super()._reduce_class_by_value(cls, reduced)
