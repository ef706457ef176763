"""Every record, by id; finished ones expire, and go early when they take too much room."""

from collections import deque
from collections.abc import Iterator

from nbqueue.core.records import DONE, Record


class Records:
    def __init__(self, expires: float, max_bytes: int) -> None:
        self._expires = expires
        self._max_bytes = max_bytes
        self._by_id: dict[str, Record] = {}
        #: finished records, the oldest first; forgotten ones are stepped over
        self._finished: deque[Record] = deque()
        self._finished_bytes = 0
        self._unfinished = 0
        self._order = 0

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[Record]:
        return iter(self._by_id.values())

    def get(self, id: str) -> Record | None:
        return self._by_id.get(id)

    @property
    def unfinished(self) -> int:
        return self._unfinished

    def next_order(self) -> int:
        self._order += 1
        return self._order

    def add(self, record: Record) -> None:
        self._by_id[record.task.id] = record
        self._unfinished += 1

    def finished(self, record: Record, now: float) -> None:
        """The record has its outcome."""
        record.place = DONE
        record.done_at = now
        record.drop_arguments()
        self._unfinished -= 1
        self._finished.append(record)
        self._finished_bytes += record.size
        while self._finished_bytes > self._max_bytes and len(self._finished) > 1:
            self._drop_oldest()

    def forget(self, id: str) -> None:
        """Delete a finished record."""
        record = self._by_id.get(id)
        if record is not None and record.place == DONE:
            del self._by_id[id]

    def expire(self, now: float) -> None:
        """Delete what has been finished for too long."""
        while self._finished and self._expires and self._finished[0].done_at + self._expires <= now:
            self._drop_oldest()

    def next_expiry(self) -> float | None:
        if not self._finished or not self._expires:
            return None
        return self._finished[0].done_at + self._expires

    def _drop_oldest(self) -> None:
        record = self._finished.popleft()
        self._finished_bytes -= record.size
        if self._by_id.get(record.task.id) is record:
            del self._by_id[record.task.id]

    def newest(self, limit: int) -> list[Record]:
        """The last ``limit`` records that were accepted, newest first."""
        ids = []
        for id in reversed(self._by_id):
            ids.append(id)
            if len(ids) >= limit:
                break
        return [self._by_id[id] for id in ids]
