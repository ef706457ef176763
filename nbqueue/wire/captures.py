"""The values that a task's functions read, pickled anew whenever they may have changed.

A value that is bound anew is seen by its identity.  One that is changed in place is seen because the
values are pickled at each call: all but the largest, if together they pass ``SMALL``.  These travel as
a blob, which is pickled once a cell run (:func:`new_epoch`).
"""

from collections.abc import Iterable
from operator import is_
from types import CellType
from typing import Any, NamedTuple, Protocol

from nbqueue.wire.blame import Part, captured_error, closed_over, read_global
from nbqueue.wire.fingerprint import ATOMS, is_definition
from nbqueue.wire.namespaces import CELLS, Captured
from nbqueue.wire.pickler import dumps
from nbqueue.wire.reads import EMPTY, Read, cell_content
from nbqueue.wire.shipment import Blob

#: bytes
SMALL = 16 * 1024
_epoch = 0


def new_epoch() -> None:
    """Large values that tasks read may have been changed in place: pickle them again at the next call.

    Called when a cell starts to run.  Where nobody calls it, in a script, they are pickled at each call.
    """
    global _epoch
    _epoch += 1


class Source(Protocol):
    """Where a captured value comes from."""

    @property
    def space(self) -> str: ...
    @property
    def key(self) -> str | int: ...
    def value(self) -> Any: ...
    def part(self, value: Any) -> Part:
        """How to name the value if it cannot be sent."""


class GlobalSource(NamedTuple):
    """A global that a task's function reads."""

    space: str
    read: Read
    reader: str

    @property
    def key(self) -> str:
        return self.read.name

    def value(self) -> Any:
        return self.read.namespace.get(self.read.name, EMPTY)

    def part(self, value: Any) -> Part:
        return read_global(self.read.name, f"{self.reader}()", value)


class CellSource(NamedTuple):
    """A variable of an enclosing function that a task's function reads."""

    key: int
    cell: CellType
    name: str
    reader: str

    @property
    def space(self) -> str:
        return CELLS

    def value(self) -> Any:
        return cell_content(self.cell)

    def part(self, value: Any) -> Part:
        return closed_over(self.name, f"{self.reader}()", value)


class Captures:
    """The values of a definition's sources."""

    def __init__(self, task: str, sources: Iterable[Source]) -> None:
        self._task = task
        self._sources = tuple(sources)
        self._values: list[Any] = []
        #: none of the values can change in place
        self._constant = False
        self._taken: tuple[bytes, Blob | None] = (b"", None)
        self._large: frozenset[int] = frozenset()
        self._large_epoch = 0

    def __bool__(self) -> bool:
        return bool(self._sources)

    def take(self) -> tuple[bytes, Blob | None] | None:
        """The values as they are now, small and large ones; None if one of them has become a definition.

        Raises
        ------
        SerializationError
            A value cannot be pickled; the message names it.
        """
        values = [source.value() for source in self._sources]
        if len(values) != len(self._values) or not all(map(is_, values, self._values)):
            if any(map(is_definition, values)):
                return None
            self._set(values)
        elif self._constant:
            return self._taken
        self._taken = (self._dumps_small(), self._dumps_large())
        return self._taken

    def _set(self, values: list[Any]) -> None:
        if any(values[index] is not self._values[index] for index in self._large):
            self._large = frozenset()
        self._values = values
        self._constant = all(type(value) in ATOMS or value is EMPTY for value in values)

    def _dumps_small(self) -> bytes:
        data = self._dumps(self._small())
        if len(data) > SMALL:
            self._large |= self._largest(len(data) - SMALL)
            self._taken = (b"", None)
            data = self._dumps(self._small())
        return data

    def _small(self) -> list[int]:
        return [index for index in range(len(self._values)) if index not in self._large]

    def _largest(self, excess: int) -> frozenset[int]:
        """The largest of the values counted as small, so many that the rest is."""
        sizes = sorted(((len(self._dumps([index])), index) for index in self._small()), reverse=True)
        largest = set()
        for size, index in sizes:
            if excess <= 0:
                break
            largest.add(index)
            excess -= size
        return frozenset(largest)

    def _dumps_large(self) -> Blob | None:
        if not self._large:
            return None
        last = self._taken[1]
        if last is not None and 0 < _epoch == self._large_epoch:
            return last
        self._large_epoch = _epoch
        data = self._dumps(sorted(self._large))
        return last if last is not None and last.data == data else Blob.of(data)

    def _dumps(self, indices: list[int]) -> bytes:
        captured: Captured = {}
        for index in indices:
            source, value = self._sources[index], self._values[index]
            if value is not EMPTY:
                captured.setdefault(source.space, {})[source.key] = value
        try:
            return dumps(captured) if captured else b""
        except Exception as error:
            parts = [self._sources[index].part(self._values[index]) for index in indices]
            raise captured_error(self._task, parts, error) from None
