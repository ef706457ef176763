"""The widget of a map or group: one canvas for all tasks, however many.

The page is told two bytes a task, kind and progress, and only of tasks that changed.  It asks for more about
the few that it lists, and about the one that somebody looks at.
"""

import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from kernels_ext.details import Details, details
from kernels_ext.html import frozen_grid
from kernels_ext.text import describe_counts, reason
from kernels_ext.widgets.assets import module, style
from kernels_ext.widgets.base import LiveWidget
from kernels_ext.widgets.cards import CardFeed, row_of
from kernels_ext.widgets.messages import DeltaMessage, GridMessage, Kind, PageMessage, RowsMessage
from kernels_ext.widgets.tally import Tally
from nbqueue.states import FAILURE, PENDING, READY_STATES, RETRY, REVOKED, STARTED, SUCCESS

if TYPE_CHECKING:
    from nbqueue.client.group import GroupResult
    from nbqueue.client.result import AsyncResult

_STATES: dict[Kind, str] = {
    "sending": PENDING, "waiting": PENDING, "running": STARTED, "done": SUCCESS, "failed": FAILURE,
    "cancelled": REVOKED, "retrying": RETRY,
}  # fmt: skip
#: a page shows fewer rows at a time
MAX_ROWS = 200
#: failures that frozen html names
MAX_FROZEN_FAILURES = 10


class GridWidget(LiveWidget):
    """A grid of tasks coloured by state, counts, progress over all, and a list to look into them."""

    _esm = module("grid.js")
    _css = style()

    def __init__(self, group: "GroupResult", again: "Callable[[], GroupResult | None] | None" = None) -> None:
        results = group.tasks
        self._name = group.name
        self._tally = Tally(len(results))
        self._revision = 0
        self._inspected: tuple[int, CardFeed] | None = None
        self._failures: list[tuple[int, str]] = []
        #: strong until all tasks are finished: see conclude
        self._group: Callable[[], GroupResult | None] = lambda: group
        #: how to get the group from then on, as long as somebody else has it
        self._again = again if again is not None else weakref.ref(group)
        #: its tasks, as long as that is strong; to put them together takes a while
        self._tasks: list[AsyncResult] | None = results
        super().__init__(results)

    def redraw(self, changed: Sequence[int] | None) -> None:
        touched = self._note(range(self._tally.count) if changed is None else changed)
        if changed is None:
            self._tell_all()
        elif touched:
            self._revision += 1
            elapsed = self._tally.elapsed(time.time())
            message = DeltaMessage(type="delta", revision=self._revision, elapsed=elapsed)
            self.tell(message, self._tally.these(touched))
        if self._inspected is not None and (changed is None or self._inspected[0] in changed):
            self._tell_inspected(fresh=False)

    def greet(self) -> None:
        self._tell_all()
        if self._inspected is not None:
            self._tell_inspected(fresh=True)

    def answer(self, message: PageMessage) -> None:
        if message["type"] == "inspect":
            index = message["index"]
            self._inspected = None if index is None else (index, CardFeed(index))
            self._tell_inspected(fresh=True)
        elif message["type"] == "rows":
            self._tell_rows(message["indices"][:MAX_ROWS])
        else:
            super().answer(message)

    def cancel(self, index: int | None) -> None:
        group = self._group()
        if group is not None:
            (group if index is None else self._members()[index]).cancel()

    def result(self, index: int | None) -> "AsyncResult | None":
        results = self._members()
        return results[index] if index is not None and 0 <= index < len(results) else None

    def _members(self) -> "list[AsyncResult]":
        """Its tasks; none if nobody has the group any more."""
        if self._tasks is not None:
            return self._tasks
        group = self._group()
        return group.tasks if group is not None else []

    def ready(self) -> bool:
        results = self._members()
        return not results or all(
            results[index].peek().state in READY_STATES for index in self._tally.unfinished()
        )

    def conclude(self) -> None:
        # values may be large, and ipywidgets keeps widgets as long as the kernel lives: let go of them
        group = self._group()
        if group is not None:
            self._note(range(self._tally.count))
            failed = self._tally.of_kind("failed", MAX_FROZEN_FAILURES)
            results = self._members()
            self._failures = [(index, reason(results[index].peek())) for index in failed]
            self._group, self._tasks = self._again, None
        self._tell_all()
        self._tell_inspected(fresh=False)

    def text(self) -> str:
        return describe_counts(self._name, self._counts())

    def frozen(self) -> str:
        now = time.time()
        return frozen_grid(self._name, self._counts(), self._failures, self._tally.elapsed(now), now)

    def _counts(self) -> Counter[str]:
        counts: Counter[str] = Counter()
        for kind, number in self._tally.counts().items():
            counts[_STATES[kind]] += number
        return counts

    def _note(self, indices: Iterable[int]) -> list[int]:
        """Look at these tasks; the indices of those that changed."""
        results, note = self._members(), self._tally.note
        if not results:
            return []
        return [index for index in indices if note(index, results[index].peek())]

    def _tell_all(self) -> None:
        self._revision += 1
        message = GridMessage(
            type="grid",
            name=self._name,
            count=self._tally.count,
            revision=self._revision,
            elapsed=self._tally.elapsed(time.time()),
        )
        self.tell(message, self._tally.everything())

    def _tell_rows(self, indices: list[int]) -> None:
        found = ((index, self.result(index)) for index in indices)
        now = time.time()
        rows = [row_of(index, result.peek(), now) for index, result in found if result is not None]
        self.tell(RowsMessage(type="rows", rows=rows))

    def _tell_inspected(self, *, fresh: bool) -> None:
        if self._inspected is None:
            return
        index, feed = self._inspected
        result = self.result(index)
        if result is None:
            return
        view = result.peek()
        found = details(result, view) if view.state in READY_STATES else Details()
        tell = feed.everything if fresh else feed.news
        self.tell(tell(view, time.time(), found))
