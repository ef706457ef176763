"""What an executor holds, for its two links: they are of one process, and each of its own thread.

How much it is given in advance follows from how long its functions took, as in the ZeroMQ broker
(``core.executors``); here the executor itself keeps count.
"""

import threading
import weakref
from collections.abc import Iterable
from itertools import islice
from typing import Final

import msgspec

from nbqueue.core.dispatch import PATIENCE
from nbqueue.core.executors import TARGET, Durations
from nbqueue.core.records import LEASED, Record
from nbqueue.messages import MAX_BATCH, Task
from nbqueue.transports.redis import records
from nbqueue.transports.redis.names import tag_of
from nbqueue.transports.redis.records import Origin, Standing

#: functions whose durations a claim names
_NAMED: Final = 32


class Lease(msgspec.Struct, gc=False):
    """One task that an executor holds."""

    token: int
    task: Task
    #: when it was submitted, and by whom
    at: float
    origin: Origin
    #: how it stood when it was given out, but for the token
    standing: Standing
    #: seconds that it will take
    estimate: float = 0.0
    #: it may have told something that is kept beside the record
    traces: bool = False

    @property
    def record(self) -> Record:
        """The task as the core sees it, as it was when it was given out."""
        record = records.record_of(self.task, self.at, self.origin, self.standing, self.at)
        record.place, record.token = LEASED, self.token
        return record


class Leases:
    """See the module's docstring.  Safe from both threads."""

    def __init__(self) -> None:
        #: tasks that it runs at once
        self.slots = 1
        self._lock = threading.Lock()
        self._held: dict[int, Lease] = {}
        self._backlog = 0.0
        self._moved_at = 0.0
        self._durations = Durations()
        #: tag → seconds, of the functions that were measured last
        self._estimates: dict[str, float] = {}
        #: tasks that ended since somebody took these, by name
        self._ended: dict[str, int] = {}
        #: its first task takes longer than was thought: it gives back the others, and gets no more
        self.stuck = False
        #: function → one of its tasks, of those that have ended since
        self._measured: dict[str, Task] = {}
        #: leases that were absent from the last report
        self.absent: set[int] = set()

    def __len__(self) -> int:
        return len(self._held)

    def __contains__(self, token: int) -> bool:
        return token in self._held

    @property
    def tokens(self) -> set[int]:
        with self._lock:
            return set(self._held)

    @property
    def room(self) -> int:
        """How many tasks it may be given."""
        held = len(self._held)
        if self.stuck or (held >= self.slots and self._backlog >= TARGET):
            return 0
        return max(0, MAX_BATCH - held)

    @property
    def free(self) -> int:
        """How many more it could begin at once."""
        return max(0, self.slots - len(self._held))

    @property
    def budget(self) -> float:
        """Seconds of work that it may be given."""
        return max(0.0, TARGET - self._backlog)

    def hold(self, leases: Iterable[Lease], now: float) -> None:
        """It holds these from now on; their estimates are filled in."""
        origin, estimate = None, 0.0
        with self._lock:
            if not self._held:
                self._moved_at = now
            for lease in leases:
                if lease.origin is not origin:  # else it is the same function
                    origin, estimate = lease.origin, self._durations.estimate(lease.task)
                lease.estimate = estimate
                self._held[lease.token] = lease
                self._backlog += estimate

    def get(self, token: int) -> Lease | None:
        return self._held.get(token)

    def record(self, id: str) -> Record | None:
        """Of a task that it holds."""
        with self._lock:
            return next((lease.record for lease in self._held.values() if lease.record.task.id == id), None)

    def release(self, token: int, now: float) -> Lease | None:
        """It does not hold this any more; None if it did not."""
        with self._lock:
            if next(iter(self._held), 0) == token or (
                self.slots > 1 and token in islice(self._held, self.slots)
            ):
                self._moved_at, self.stuck = now, False
            lease = self._held.pop(token, None)
            if lease is not None:
                self._backlog = self._backlog - lease.estimate if self._held else 0.0
            return lease

    def keep(self, tokens: Iterable[int]) -> None:
        """It holds only what is among these."""
        kept = set(tokens)
        for token in self.tokens - kept:
            self.release(token, self._moved_at)

    def ran(self, task: Task, runtime: float) -> None:
        """So long did it take."""
        self._durations.note(task, runtime)
        self._measured[task.definition or task.name] = task

    @property
    def estimates(self) -> dict[str, float]:
        """What a claim is told of how long tasks take."""
        for task in self._measured.values():
            estimate, name = self._durations.estimate(task), tag_of(task)
            self._estimates.pop(name, None)
            if estimate < TARGET:
                self._estimates[name] = estimate
        self._measured.clear()
        while len(self._estimates) > _NAMED:
            del self._estimates[next(iter(self._estimates))]
        return self._estimates

    def count(self, name: str) -> None:
        """A task of that name has ended."""
        self._ended[name] = self._ended.get(name, 0) + 1

    def take_ended(self) -> dict[str, int]:
        """How many have ended since this was asked last, by name."""
        ended, self._ended = self._ended, {}
        return ended

    def stuck_since(self) -> float | None:
        """When it is to be looked at whether tasks wait behind a long one; None: not."""
        if self.stuck or len(self._held) <= self.slots:
            return None
        return self._moved_at + PATIENCE


_leases: "weakref.WeakValueDictionary[tuple[str, str], Leases]" = weakref.WeakValueDictionary()
_lock = threading.Lock()


def leases_of(url: str, executor: str) -> Leases:
    """The one object for both links of an executor."""
    with _lock:
        found = _leases.get((url, executor))
        if found is None:
            found = _leases[url, executor] = Leases()
        return found
