"""How far the tasks of a map or group are: two bytes a task, in the form in which a page is told."""

import sys
from array import array
from collections.abc import Iterable
from typing import TYPE_CHECKING

from kernels_ext.widgets.cards import kind_of
from kernels_ext.widgets.messages import KINDS, Kind

if TYPE_CHECKING:
    from nbqueue.client.records import View

_CODES = {kind: code for code, kind in enumerate(KINDS)}
_FINAL = frozenset(_CODES[kind] for kind in ("done", "failed", "cancelled"))
_ALL = 255


class Tally:
    """Kind and progress of ``count`` tasks, and when the first began and the last ended."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._kinds = bytearray(count)
        self._progress = bytearray(count)
        self._begun: float | None = None
        self._ended: float | None = None
        #: all tasks before this one are finished
        self._open = 0

    def note(self, index: int, view: "View") -> bool:
        """Take in how a task stands; True if the page can see a difference."""
        cell = (_CODES[kind_of(view)], _fraction(view))
        if view.started_at is not None:
            self._begun = min(view.started_at, self._begun or view.started_at)
        if view.finished_at is not None:
            self._ended = max(view.finished_at, self._ended or view.finished_at)
        if cell == (self._kinds[index], self._progress[index]):
            return False
        self._kinds[index], self._progress[index] = cell
        return True

    @property
    def finished(self) -> bool:
        """Whether all tasks are finished."""
        while self._open < self.count and self._kinds[self._open] in _FINAL:
            self._open += 1
        return self._open == self.count

    def unfinished(self) -> Iterable[int]:
        """Indices of the tasks that were not finished when last noted."""
        return (index for index in range(self._open, self.count) if self._kinds[index] not in _FINAL)

    def kind(self, index: int) -> Kind:
        return KINDS[self._kinds[index]]

    def counts(self) -> dict[Kind, int]:
        """How many tasks there are of each kind that there is."""
        numbers = {kind: self._kinds.count(code) for kind, code in _CODES.items()}
        return {kind: number for kind, number in numbers.items() if number}

    def of_kind(self, kind: Kind, limit: int) -> list[int]:
        """Indices of the first ``limit`` tasks of a kind."""
        found: list[int] = []
        index = self._kinds.find(_CODES[kind])
        while index >= 0 and len(found) < limit:
            found.append(index)
            index = self._kinds.find(_CODES[kind], index + 1)
        return found

    def elapsed(self, now: float) -> float | None:
        """Seconds from the first start until ``now`` (Unix time) or the end; None before the first start."""
        if self._begun is None:
            return None
        end = self._ended if self.finished and self._ended is not None else now
        return max(0.0, end - self._begun)

    def everything(self) -> list[bytes]:
        """Buffers of a GridMessage."""
        return [bytes(self._kinds), bytes(self._progress)]

    def these(self, indices: list[int]) -> list[bytes]:
        """Buffers of a DeltaMessage."""
        numbers = array("I", indices)
        if sys.byteorder == "big":
            numbers.byteswap()
        kinds = bytes(self._kinds[index] for index in indices)
        progress = bytes(self._progress[index] for index in indices)
        return [numbers.tobytes(), kinds, progress]


def _fraction(view: "View") -> int:
    """Progress as a byte; 0 where nothing was reported."""
    if not view.current or not view.total:
        return 0
    return max(0, min(_ALL, int(_ALL * view.current / view.total)))
