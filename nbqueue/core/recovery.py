"""A broker from what earlier ones wrote down.

::

    entries ─▶ read ─▶ records, blobs, executors ─▶ finish ─▶ lanes, timers, leases

Leases stay where they were: their executors are known again, though not connected, and have a lease's
time to come back.  What an executor was given in the very moment in which the last broker died may be
missing here; it says so when it comes, see ``Tasks.claim``.
"""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

import msgspec

from nbqueue.core.entries import (
    FORMAT,
    AnyEntry,
    Began,
    Changed,
    Defined,
    Ended,
    Fired,
    Forgot,
    Joined,
    Leased,
    Printed,
    Scheduled,
    Stood,
    Took,
    Tuned,
    Unscheduled,
)
from nbqueue.core.executors import ExecutorState
from nbqueue.core.firings import Recurrence
from nbqueue.core.ledger import scheduled, stood, tuned
from nbqueue.core.limits import TimeLimits
from nbqueue.core.output import OutputLog
from nbqueue.core.periodic import Schedules
from nbqueue.core.records import DONE, LEASED, SCHEDULED, WAITING, Record, Sender
from nbqueue.exceptions import ProtocolError
from nbqueue.messages import Outcome

if TYPE_CHECKING:
    from nbqueue.core.tasks import Tasks

#: tasks, and bytes of them, after which a portion of a snapshot ends
BATCH: Final = 100
BATCH_BYTES: Final = 4 * 2**20


class Recovery:
    """Reads all entries of a journal, in order; :meth:`finish` then puts everything in its place."""

    def __init__(self, tasks: "Tasks", schedules: Schedules, epoch: float, max_output: int) -> None:
        self.boot = 0
        self.executors: dict[str, Joined] = {}
        self._tasks = tasks
        self._schedules = schedules
        self._entries: dict[tuple[str, str], Recurrence] = {}
        self._records: dict[str, Record] = {}
        #: kept here until it is known which of them tasks refer to
        self._blobs: dict[str, bytes] = {}
        self._epoch = epoch
        self._max_output = max_output
        #: what is added to a time that was written
        self._shift = 0.0
        self._order = 0

    def read(self, entries: Iterable[AnyEntry]) -> None:
        """Take in what was written in one turn.

        Raises
        ------
        ProtocolError
            Another version of nbqueue wrote it.
        """
        for entry in entries:
            match entry:
                case Took():
                    self._took(entry)
                case Leased():
                    self._leased(entry)
                case Ended():
                    for outcome in entry.outcomes:
                        self._ended(outcome)
                case Stood():
                    self._stood(entry)
                case Printed():
                    self._printed(entry)
                case Defined():
                    self._blobs[entry.key] = entry.blob
                case Joined():
                    self.executors[entry.hello.id] = entry
                case Changed(task):
                    if (record := self._records.get(task.id)) is not None:
                        record.task = task
                case Forgot():
                    for id in entry.ids:
                        self._records.pop(id, None)
                case Tuned():
                    self._tuned(entry)
                case Scheduled(app, periodic):
                    self._entries[app, periodic.name] = Recurrence(
                        app, periodic, entry.sender, entry.anchor, entry.handled, entry.last_id
                    )
                case Fired():
                    self._fired(entry)
                case Unscheduled(app, names):
                    for name in names:
                        self._entries.pop((app, name), None)
                case Began():
                    self._began(entry)

    def _began(self, entry: Began) -> None:
        if entry.format != FORMAT:
            raise ProtocolError(
                f"this journal is of format {entry.format}, and this nbqueue reads format {FORMAT}: use the"
                " nbqueue that wrote it, or another data folder"
            )
        self.boot = max(self.boot, entry.boot)
        self._shift = entry.epoch - self._epoch

    def _took(self, entry: Took) -> None:
        at = entry.at + self._shift
        for order, task in enumerate(entry.tasks, entry.order):
            # in place of an earlier one of that id, which had expired, or of a snapshot's: its life follows
            record = Record(task, at, order, entry.sender, watchers=(entry.sender.client,))
            self._records[task.id] = record
            if task.step is not None:
                record.place = WAITING
            elif task.countdown > 0:
                record.place, record.due = SCHEDULED, at + task.countdown
            if task.rate:
                self._tasks.limits.heard(task)
        self._order = max(self._order, entry.order + len(entry.tasks))

    def _leased(self, entry: Leased) -> None:
        for lease in entry.leases:
            record = self._records.get(lease.id)
            if record is not None:
                record.place = LEASED
                record.executor, record.token, record.attempt = entry.executor, lease.token, lease.attempt
                record.leased_at = entry.at + self._shift
                self._tasks.limits.started(record.task, record.leased_at)

    def _tuned(self, entry: Tuned) -> None:
        limits = self._tasks.limits
        limits.set_rate(entry.name, entry.rate)
        times = None
        if entry.times is not None:
            soft, hard, since = entry.times
            times = TimeLimits(soft, hard, since + self._shift)
        limits.set_times(entry.name, times)
        if entry.last is not None and entry.pace:
            limiter = limits.limiter(entry.name, entry.pace)
            limiter.last = max(limiter.last, entry.last + self._shift)

    def _ended(self, outcome: Outcome) -> None:
        record = self._records.get(outcome.id)
        if record is not None:
            self._settle(record, outcome)

    def _settle(self, record: Record, outcome: Outcome) -> None:
        record.place = DONE
        record.state, record.token = outcome.state, outcome.token
        record.worker = outcome.worker
        record.retries = outcome.retries
        record.outcome = msgspec.structs.replace(outcome, at=outcome.at + self._shift)
        record.done_at = record.outcome.at

    def _stood(self, entry: Stood) -> None:
        record = self._records.get(entry.id)
        if record is None:
            return
        shift = self._shift
        record.place, record.state = entry.place, entry.state
        record.token, record.executor, record.worker = entry.token, entry.executor, entry.worker
        record.attempt, record.retries = entry.attempt, entry.retries
        record.deaths, record.losses = entry.deaths, entry.losses
        record.leased_at, record.due = entry.leased_at + shift, entry.due + shift
        record.started_at = None if entry.started_at is None else entry.started_at + shift
        record.revoked, record.failure = entry.revoked, entry.failure
        record.by, record.unwanted = entry.by, entry.unwanted
        if entry.outcome is not None:
            self._settle(record, entry.outcome)
            record.done_at = entry.done_at + shift

    def _printed(self, entry: Printed) -> None:
        for piece in entry.pieces:
            record = self._records.get(piece.id)
            if record is not None:
                if record.output is None:
                    record.output = OutputLog(self._max_output)
                record.output.add(piece)

    def _fired(self, fired: Fired) -> None:
        entry = self._entries.get((fired.app, fired.name))
        if entry is not None:
            entry.handled, entry.last_id = fired.handled, fired.last_id

    def finish(self, now: float) -> None:
        """Everything has been read: go on where the last broker stopped."""
        blobs = self._tasks.blobs
        for entry in self._entries.values():
            for key in (entry.periodic.task.definition, entry.periodic.task.captured_key):
                if key in self._blobs:
                    blobs.add(key, self._blobs[key])
            self._schedules.restore(entry)
        self._schedules.set_epoch(self._epoch)
        self._tasks.steps.expect(self._records.values())
        for record in sorted(self._records.values(), key=_by_age):
            if record.place != DONE:
                for key in (record.task.definition, record.task.captured_key):
                    if key in self._blobs:
                        blobs.add(key, self._blobs[key])
            self._tasks.restore(record, self.executors.get(record.executor), now)
        self._tasks.steps.resume(now)
        for key, blob in self._blobs.items():
            blobs.add(key, blob)  # as long as there is room for what no task refers to
        self._tasks.records.continue_order(self._order)


def _by_age(record: Record) -> tuple[bool, float]:
    """Those that are done first, by their end, since the oldest may have to make room; the others, which
    hold leases or wait, in the order in which they came or were given out."""
    if record.place == DONE:
        return (False, record.done_at)
    return (True, record.token if record.place == LEASED else record.order)


def standing(
    tasks: "Tasks", schedules: Schedules, executors: Iterable[ExecutorState], began: Began
) -> Iterator[list[AnyEntry]]:
    """All that there is to know, in portions; what happens meanwhile is to be written down beside it."""
    yield [began, *(Joined(executor.hello, executor.key) for executor in executors)]
    yield [tuned(tasks.limits, name) for name in tasks.limits.names]
    for key in tasks.blobs:
        if blob := tasks.blobs.get(key):  # else it was dropped since
            yield [Defined(key, blob)]
    for entry in list(schedules.entries.values()):
        if schedules.entries.get(entry.key) is entry:
            yield [scheduled(entry)]
    portion: list[Record] = []
    size = 0
    for record in list(tasks.records):
        if tasks.records.get(record.task.id) is not record:
            continue  # deleted since
        portion.append(record)
        size += record.size
        if len(portion) == BATCH or size > BATCH_BYTES:
            yield _entries_of(portion)
            portion, size = [], 0
    yield _entries_of(portion)


def _entries_of(records: list[Record]) -> list[AnyEntry]:
    """Tasks that came together are named together; of those to which nothing has happened no more is said."""
    entries: list[AnyEntry] = []
    took = Took(0, 0.0, Sender(""), [])
    for record in records:
        came = (record.order, record.at, record.sender)
        if came != (took.order + len(took.tasks), took.at, took.sender):
            took = Took(*came, [])
            entries.append(took)
        took.tasks.append(record.task)
    for record in records:
        if record.attempt or record.place == DONE or _has_its_turn(record):
            entries.append(stood(record))
        if record.output is not None:
            entries.append(Printed(record.output.pieces))
    return entries


def _has_its_turn(record: Record) -> bool:
    """Whether it is a step that waits for others no longer: its countdown is under way."""
    return record.task.step is not None and record.place != WAITING
