"""Every record, by id, within the limits of ``docs/howto/limits.md``.

Unfinished records are counted by queue and by size, so that a new task can be refused when there are
too many.  Finished ones expire, and go early when they take too much room: the oldest first, but none
that a client is waiting to be told of.  When only such are left the records are :attr:`Records.full`, and
no more tasks are run until clients have read, or are gone.

What a waiting step of a workflow needs is held apart: it neither expires nor goes early, and counts with the
unfinished tasks, whose arguments it is.
"""

import itertools
from collections import OrderedDict
from collections.abc import Callable, Container, Iterator
from typing import Final

from nbqueue.core.records import DONE, Record, task_size
from nbqueue.core.settings import BrokerSettings
from nbqueue.messages import Task
from nbqueue.states import FAILURE

#: records looked at, for one finished, in search of one that may go
_TRIES: Final = 8
#: records that a look for those of one notebook goes through
LOOKED_THROUGH: Final = 100_000


class Records:
    """See the module's docstring.

    Parameters
    ----------
    needed
        Says whether a client waits to be told of a finished record.
    awaited
        Ids of the tasks of which steps may take something.
    """

    def __init__(
        self,
        settings: BrokerSettings,
        needed: Callable[[Record], bool],
        awaited: Container[str] = frozenset(),
    ) -> None:
        self._expires = settings.result_expires
        # plain attributes: each task is measured against them
        self._max_queued, self._max_queued_bytes = settings.max_queued, settings.max_queued_bytes
        self._max_results, self._max_result_bytes = settings.max_results, settings.max_result_bytes
        self._needed = needed
        self._awaited = awaited
        self._by_id: dict[str, Record] = {}
        #: unfinished records a queue, and the bytes of all of them
        self.queued: dict[str, int] = {}
        self.queued_bytes = 0
        #: finished records and their sizes when they finished, the oldest first
        self._finished: OrderedDict[str, tuple[Record, int]] = OrderedDict()
        self._finished_bytes = 0
        #: finished records that steps need, with their sizes, and the bytes of all of them
        self._held: dict[str, tuple[Record, int]] = {}
        self.held_bytes = 0
        self._order = 0

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[Record]:
        return iter(self._by_id.values())

    def get(self, id: str) -> Record | None:
        return self._by_id.get(id)

    @property
    def unfinished(self) -> int:
        return len(self._by_id) - len(self._finished) - len(self._held)

    def next_order(self) -> int:
        self._order += 1
        return self._order

    def continue_order(self, order: int) -> None:
        """Go on counting from there."""
        self._order = max(self._order, order)

    # ── unfinished ones ──────────────────────────────────────────────────────────────────────

    def refusal(self, task: Task, size: int, used_bytes: int = 0) -> str:
        """Why there is no room for a new task of that size (``task_size``), "" if there is.  ``used_bytes``:
        of the definitions that unfinished tasks refer to."""
        if self.queued.get(task.queue, 0) >= self._max_queued:
            return (
                f"queue {task.queue!r} is full: it has {self._max_queued:,} unfinished tasks (max_queued);"
                " submit again when some are done"
            )
        queued = self.queued_bytes + self.held_bytes + used_bytes
        if queued + size > self._max_queued_bytes:
            return (
                f"the queues are full: a task of {size:,} bytes and the unfinished ones, of"
                f" {queued:,}, are more than {self._max_queued_bytes:,} (max_queued_bytes);"
                " submit again when some are done, or send large data by a file"
            )
        return ""

    def add(self, record: Record) -> None:
        """Keep an unfinished record."""
        task = record.task
        self._by_id[task.id] = record
        self.queued[task.queue] = self.queued.get(task.queue, 0) + 1
        record.counted = task_size(task)
        self.queued_bytes += record.counted

    def replace_task(self, record: Record, task: Task) -> None:
        """The task of an unfinished record is another one from now on."""
        self._discount(record)
        record.task = task
        self.add(record)

    def _discount(self, record: Record) -> None:
        """It does not count among the unfinished any more."""
        queue = record.task.queue
        self.queued_bytes -= record.counted
        left = self.queued[queue] - 1
        if left:
            self.queued[queue] = left
        else:
            del self.queued[queue]

    # ── finished ones ────────────────────────────────────────────────────────────────────────

    def finished(self, record: Record, now: float) -> None:
        """The record has its outcome."""
        self._discount(record)
        record.place = DONE
        record.done_at = now
        self.shelve(record)

    def shelve(self, record: Record) -> None:
        """Count a record among the finished ones; of an earlier broker it is not known before."""
        id = record.task.id
        self._by_id[id] = record
        if record.state != FAILURE or id not in self._awaited:  # its errback may want to see them
            record.drop_arguments()
        size = record.size
        if id in self._awaited:
            self._held[id] = (record, size)
            self.held_bytes += size
        else:
            self._finished[id] = (record, size)
            self._finished_bytes += size

    def hold(self, id: str) -> None:
        """A step needs a record from now on, which may have ended before."""
        if id in self._finished:
            record, size = self._finished.pop(id)
            self._finished_bytes -= size
            self._held[id] = (record, size)
            self.held_bytes += size

    def is_held(self, id: str) -> bool:
        """Whether it is finished, and needed by a step."""
        return id in self._held

    def release(self, id: str) -> None:
        """No step needs a record any more; it expires with those that finish now."""
        if id in self._held:
            record, size = self._held.pop(id)
            self.held_bytes -= size
            self.shelve(record)

    @property
    def full(self) -> bool:
        """Whether finished records take more room than they may."""
        return (
            self._finished_bytes > self._max_result_bytes or len(self._finished) > self._max_results
        ) and len(self._finished) > 1

    def make_room(self) -> None:
        """Let the oldest go while there are too many; one that is needed gets to the end of the line."""
        tries = _TRIES
        while tries and self.full:
            id, (record, _) = next(iter(self._finished.items()))
            if self._needed(record):
                self._finished.move_to_end(id)
                tries -= 1
            else:
                self.forget(id)

    def forget(self, id: str) -> None:
        """Delete a finished record."""
        if id in self._finished:
            _, size = self._finished.pop(id)
            self._finished_bytes -= size
            del self._by_id[id]

    def expire(self, now: float) -> None:
        """Delete what has been finished for too long."""
        while (due := self.next_expiry()) is not None and due <= now:
            self.forget(next(iter(self._finished)))

    def next_expiry(self) -> float | None:
        if not self._finished or not self._expires:
            return None
        record, _ = next(iter(self._finished.values()))
        return record.done_at + self._expires

    def newest(self, limit: int, notebook: str = "") -> list[Record]:
        """The last ``limit`` records that were accepted, newest first; of one notebook, if it is named."""
        records = reversed(self._by_id.values())
        if notebook:
            # to look through a million would take longer than a turn may
            recent = itertools.islice(records, LOOKED_THROUGH)
            records = (record for record in recent if record.sender.notebook == notebook)
        return list(itertools.islice(records, limit))
