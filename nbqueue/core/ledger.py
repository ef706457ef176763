"""What is to be written down of this turn: gathered while it goes on, taken at its end."""

from math import isfinite

from nbqueue.core.entries import (
    AnyEntry,
    Changed,
    Defined,
    Ended,
    Fired,
    Forgot,
    Joined,
    Lease,
    Leased,
    Printed,
    Scheduled,
    Stood,
    Took,
    Tuned,
    Unscheduled,
)
from nbqueue.core.firings import Recurrence
from nbqueue.core.limits import Limits
from nbqueue.core.permissions import Key
from nbqueue.core.records import Record
from nbqueue.messages import Hello, Outcome, Output, Task


class Ledger:
    """Entries of one turn.

    A record of which something unusual is told is written as it stands at the end of the turn, so it
    does not matter how often, or in which order, it was told of.
    """

    def __init__(self) -> None:
        self._entries: list[AnyEntry] = []
        #: the last of the entries, if tasks may be added to it
        self._taken: Took | None = None
        self._leases: dict[str, Leased] = {}
        self._stood: dict[str, Record] = {}
        self._printed: list[Output] = []
        self._outcomes: list[Outcome] = []
        self._forgotten: list[str] = []

    def defined(self, key: str, blob: bytes) -> None:
        self._entries.append(Defined(key, blob))

    def joined(self, hello: Hello, key: Key) -> None:
        self._entries.append(Joined(hello, key))

    def took(self, record: Record) -> None:
        """A task was accepted.  Orders are consecutive; an entry has those that came one after the other."""
        taken = self._taken
        if taken is None or taken.sender != record.sender:
            taken = self._taken = Took(record.order, record.at, record.sender, [])
            self._entries.append(taken)
        taken.tasks.append(record.task)

    def leased(self, record: Record, now: float) -> None:
        leases = self._leases.get(record.executor)
        if leases is None:
            leases = self._leases[record.executor] = Leased(record.executor, now, [])
        leases.leases.append(Lease(record.task.id, record.token, record.attempt))

    def changed(self, record: Record) -> None:
        """Something else happened to a task than that it was leased or ended."""
        self._stood[record.task.id] = record

    def changed_task(self, task: Task) -> None:
        """A task is another one from now on."""
        self._entries.append(Changed(task))
        self._taken = None  # what is accepted from now on comes after it

    def ended(self, outcome: Outcome) -> None:
        self._outcomes.append(outcome)

    def printed(self, piece: Output) -> None:
        self._printed.append(piece)

    def tuned(self, limits: Limits, name: str) -> None:
        """Something was said of all tasks of a name."""
        self._taken = None  # tasks that come afterwards belong after it
        self._entries.append(tuned(limits, name))

    def forgot(self, id: str) -> None:
        self._forgotten.append(id)

    def scheduled(self, entry: Recurrence) -> None:
        self._entries.append(scheduled(entry))

    def fired(self, entry: Recurrence) -> None:
        self._entries.append(Fired(entry.app, entry.periodic.name, entry.handled, entry.last_id))

    def unscheduled(self, app: str, names: list[str]) -> None:
        self._entries.append(Unscheduled(app, names))

    def flush(self) -> list[AnyEntry]:
        """Everything since the last flush, in an order in which it can be read."""
        entries, self._entries = self._entries, []
        self._taken = None
        if self._leases:
            entries += self._leases.values()
            self._leases.clear()
        if self._stood:
            entries += [stood(record) for record in self._stood.values()]
            self._stood.clear()
        if self._outcomes:
            entries.append(Ended(self._outcomes))
            self._outcomes = []
        if self._printed:
            entries.append(Printed(self._printed))
            self._printed = []
        if self._forgotten:
            entries.append(Forgot(self._forgotten))
            self._forgotten = []
        return entries


def tuned(limits: Limits, name: str) -> Tuned:
    """What holds for a name now."""
    limiter = limits.limiters.get(name)
    last = limiter.last if limiter is not None and isfinite(limiter.last) else None
    pace = limiter.rate if limiter is not None else 0.0
    return Tuned(name, limits.rates.get(name), limits.times.get(name), last, pace)


def scheduled(entry: Recurrence) -> Scheduled:
    """A periodic task as it stands now."""
    return Scheduled(entry.app, entry.periodic, entry.sender, entry.anchor, entry.handled, entry.last_id)


def stood(record: Record) -> Stood:
    """A record as it stands now."""
    return Stood(
        record.task.id,
        record.place,
        record.state,
        record.token,
        record.executor,
        record.worker,
        record.attempt,
        record.retries,
        record.deaths,
        record.losses,
        record.leased_at,
        record.started_at,
        record.done_at,
        record.due,
        record.revoked,
        record.failure,
        record.outcome,
        record.by,
        record.unwanted,
    )
