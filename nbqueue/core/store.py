"""Every record, by id; finished ones expire, and go early when they take too much room."""

import itertools
from collections import OrderedDict
from collections.abc import Iterator

from nbqueue.core.records import DONE, Record


class Records:
    def __init__(self, expires: float, max_bytes: int) -> None:
        self._expires = expires
        self._max_bytes = max_bytes
        self._by_id: dict[str, Record] = {}
        #: finished records and their sizes when they finished, the oldest first
        self._finished: OrderedDict[str, tuple[Record, int]] = OrderedDict()
        self._finished_bytes = 0
        self._order = 0

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[Record]:
        return iter(self._by_id.values())

    def get(self, id: str) -> Record | None:
        return self._by_id.get(id)

    @property
    def unfinished(self) -> int:
        return len(self._by_id) - len(self._finished)

    def next_order(self) -> int:
        self._order += 1
        return self._order

    def continue_order(self, order: int) -> None:
        """Go on counting from there."""
        self._order = max(self._order, order)

    def add(self, record: Record) -> None:
        self._by_id[record.task.id] = record

    def finished(self, record: Record, now: float) -> None:
        """The record has its outcome."""
        record.place = DONE
        record.done_at = now
        self.shelve(record)

    def shelve(self, record: Record) -> None:
        """Count a record among the finished ones."""
        record.drop_arguments()
        size = record.size
        self._finished[record.task.id] = (record, size)
        self._finished_bytes += size
        while self._finished_bytes > self._max_bytes and len(self._finished) > 1:
            self.forget(next(iter(self._finished)))

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

    def newest(self, limit: int) -> list[Record]:
        """The last ``limit`` records that were accepted, newest first."""
        return list(itertools.islice(reversed(self._by_id.values()), limit))
