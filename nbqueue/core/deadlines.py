"""What time brings to a task: it is due, it expires, its run has lasted too long.

Limits count from the start of a run, of which a broker hears late or not at all.  So a timer is set for the
earliest moment, and looks again when it fires.
"""

from collections.abc import Callable

from nbqueue.core import timers, verdicts
from nbqueue.core.dispatch import Dispatcher, limits
from nbqueue.core.records import DONE, LEASED, SCHEDULED, Record
from nbqueue.core.runs import Runs
from nbqueue.core.store import Records


class Deadlines:
    """See the module's docstring; ``begin`` lets a task run that waited for its time, ``end`` ends one."""

    def __init__(
        self,
        records: Records,
        dispatch: Dispatcher,
        runs: Runs,
        pending: timers.Timers,
        begin: Callable[[Record, float], None],
        end: Callable[[Record, verdicts.Ending, float], None],
    ) -> None:
        self._records = records
        self._dispatch = dispatch
        self._runs = runs
        self._timers = pending
        self._begin = begin
        self._end = end

    def fire(self, timer: timers.Timer, now: float) -> None:
        """What a timer asks for, if it still makes sense."""
        if timer.kind == timers.KILL:
            self._runs.kill(timer.id, timer.token, now)
        elif timer.kind == timers.RATE:
            self._dispatch.rate_due(timer.id, now)
        elif (record := self._records.get(timer.id)) is None:
            return
        elif timer.kind == timers.EXPIRY:
            self._expire(record, now)
        elif record.token == timer.token:  # else it is that of an earlier lease
            self._fire_for(record, timer.kind, now)

    def _fire_for(self, record: Record, kind: str, now: float) -> None:
        if kind == timers.DUE and record.place == SCHEDULED:
            self._begin(record, now)
        elif kind == timers.HARD_LIMIT and record.place == LEASED:
            self._hard_limit(record, now)
        elif kind == timers.SOFT_LIMIT and record.place == LEASED:
            self._soft_limit(record, now)

    def _expire(self, record: Record, now: float) -> None:
        if record.place == DONE or record.by:
            return
        if verdicts.is_fresh(record, self._began(record)):
            if record.place == LEASED:
                self._runs.interrupt(record, "cancel")
            self._end(record, verdicts.EXPIRED, now)

    def _hard_limit(self, record: Record, now: float) -> None:
        limit = self._limits(record)[0] or 0.0
        if not self._is_early(record, timers.HARD_LIMIT, limit, now):
            self._runs.kill(record.executor, record.token, now)
            self._end(record, verdicts.overran(limit), now)

    def _soft_limit(self, record: Record, now: float) -> None:
        limit = self._limits(record)[1] or 0.0
        if not self._is_early(record, timers.SOFT_LIMIT, limit, now):
            self._runs.interrupt(record, "soft_time_limit")

    def _limits(self, record: Record) -> tuple[float | None, float | None]:
        return limits(record.task, self._dispatch.executors.get(record.executor))

    def _is_early(self, record: Record, kind: str, limit: float, now: float) -> bool:
        """Whether its run has not lasted so long; then look again when it will have."""
        began = self._began(record)
        due = (now if began is None else began) + limit
        if due <= now:
            return False
        self._timers.set(due, kind, record.task.id, record.token)
        return True

    def _began(self, record: Record) -> float | None:
        """When its run began, None if it has not.  A function that holds the GIL cannot report its start,
        but then it is the first of what its executor holds."""
        if record.started_at is not None or record.place != LEASED:
            return record.started_at
        executor = self._dispatch.executors.get(record.executor)
        if executor is None or not executor.runs(record.token):
            return None
        return max(record.leased_at, executor.moved_at)

    def prune(self) -> None:
        """Drop timers of tasks that have ended, when they are many."""
        if len(self._timers) > 1000 + 2 * self._records.unfinished:
            self._timers.keep(self._wants)

    def _wants(self, timer: timers.Timer) -> bool:
        record = self._records.get(timer.id)
        return timer.kind in (timers.KILL, timers.RATE, timers.ORDER) or (
            record is not None and record.place != DONE
        )
