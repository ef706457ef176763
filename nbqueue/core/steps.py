"""What happens to a task that waits for others: it joins, is looked at when one of them ends, runs or ends.

::

    join ─▶ WAITING ─▶ (a predecessor ends: ended) ─▶ look ─▶ enqueue, as any other task
                                                         └──▶ settle, with what core.workflow says

One end may cause ten thousand others (a long chain that fails): they are dealt with one after the other, not
one inside of the other.
"""

from collections import deque
from collections.abc import Callable, Iterable
from typing import TypeAlias

from nbqueue import messages as m
from nbqueue.core import inputs, lifecycle, timers
from nbqueue.core.audience import Audience
from nbqueue.core.dispatch import Dispatcher
from nbqueue.core.ledger import Ledger
from nbqueue.core.records import DONE, READY, SCHEDULED, WAITING, Record
from nbqueue.core.store import Records
from nbqueue.core.timers import Timers
from nbqueue.core.workflow import Workflow, broker_outcome, consequence, depends_on_others
from nbqueue.states import FAILURE, SUCCESS

#: takes the record, its outcome and the time
Settle: TypeAlias = Callable[[Record, m.Outcome, float], None]


class Steps:
    """All tasks that wait for others.  ``settle`` is that of ``Tasks``, which calls :meth:`ended` in turn."""

    def __init__(
        self,
        workflow: Workflow,
        records: Records,
        dispatch: Dispatcher,
        audience: Audience,
        pending: Timers,
        ledger: Ledger,
        settle: Settle,
    ) -> None:
        self._workflow = workflow
        self._records = records
        self._dispatch = dispatch
        self._audience = audience
        self._timers = pending
        self._ledger = ledger
        self._settle = settle
        #: tasks that have ended, whose dependents are to be looked at
        self._ended: deque[Record] = deque()
        #: steps, and one before each that has ended, which are looked at when nothing else follows: what
        #: becomes of the others before them makes a difference
        self._late: deque[tuple[Record, Record]] = deque()
        dispatch.assignment_of_step = self._assignment

    # ── in ───────────────────────────────────────────────────────────────────────────────────

    def accept(self, record: Record, now: float) -> None:
        """A new step is there."""
        step = record.task.step
        assert step is not None, record
        record.place = WAITING
        if step.on == m.SAVED:
            task = record.task
            self._settle(record, m.Outcome(task.id, 0, SUCCESS, task.payload, at=now), now)
            return
        unknown = self._workflow.join(record, self._records)
        for id in step.after:
            self._records.hold(id)
        self._look_for(unknown, record, now)

    def expect(self, found: Iterable[Record]) -> None:
        """These were written down by an earlier broker: keep what unfinished steps need of them."""
        for record in found:
            if record.place != DONE:
                self._workflow.expect(record)

    def resume(self, now: float) -> None:
        """All tasks of an earlier broker are in their places: go on with those that wait for others."""
        found = [r for r in self._records if r.place != DONE and (r.task.step is not None or r.by)]
        unknown = {record.task.id: self._workflow.join(record, self._records) for record in found}
        for record in found:
            if record.place == READY and self.is_blocked(record):
                self._dispatch.lane(record.task).withdrawn()
                record.place = WAITING
            if record.place == WAITING:
                self._look_for(unknown[record.task.id], record, now)

    def _look_for(self, unknown: str, record: Record, now: float) -> None:
        if unknown:
            text = f"it waits for task {unknown}, of which there is no record: it expired or was forgotten"
            self._settle(record, broker_outcome(record, FAILURE, "ResultNotFoundError", text, now), now)
        else:
            self.look(record, now)

    # ── on ───────────────────────────────────────────────────────────────────────────────────

    def is_blocked(self, record: Record) -> bool:
        """Whether a step has to wait (once more): its worker was lost, and what it took from others was the
        outcome of a run that the last broker did not live to write down."""
        return bool(record.predecessors) and self._workflow.left(record.task.id) > 0

    def look(self, record: Record, now: float) -> None:
        """See what became of those that it waits for, and wait on if there is nothing else to be done."""
        record.place = WAITING
        for id in record.predecessors:
            ended = self._records.get(id)
            if ended is not None and ended.place == DONE:
                outcome = consequence(record, ended, self._records, now)
                if outcome is not None:
                    self._settle(record, outcome, now)
                    return
        if not self._workflow.left(record.task.id):
            self._go(record, now)

    def _go(self, record: Record, now: float) -> None:
        """It waits for nobody any more; its times count from now."""
        task = record.task
        record.due = now + task.countdown
        if task.expires is not None:
            self._timers.set(now + task.expires, timers.EXPIRY, task.id)
        if task.countdown > 0:
            record.place = SCHEDULED
            self._timers.set(record.due, timers.DUE, task.id, record.token)
        else:
            self._dispatch.enqueue(record, now)
        if task.countdown > 0 or task.expires is not None:
            self._ledger.changed(record)

    def replace(self, record: Record, by: str, now: float) -> None:
        """From now on it waits for another task, and will end as that one does."""
        other = self._records.get(by)
        if other is None or record.task.id in (by, *other.predecessors):
            text = f"it was replaced by task {by}, of which there is no record, or which waits for it"
            self._settle(record, broker_outcome(record, FAILURE, "ResultNotFoundError", text, now), now)
            return
        self.left(record)
        record.forget_run()
        record.state = lifecycle.follow(record.state, lifecycle.REPLACE, record)
        record.by = by
        self._workflow.join(record, self._records)
        self._records.hold(by)
        self._ledger.changed(record)
        self._audience.tell(record, m.Requeued(record.task.id, ""))
        self.look(record, now)

    # ── out ──────────────────────────────────────────────────────────────────────────────────

    def left(self, record: Record) -> None:
        """A step needs nothing from others any more."""
        for id in self._workflow.leave(record):
            self._records.release(id)
            needless = self._records.get(id)
            if needless is not None and needless.unwanted and needless.place == DONE:
                self._records.forget(id)
                self._ledger.forgot(id)

    def ended(self, record: Record, now: float) -> None:
        """A task that others may wait for has ended."""
        self._ended.append(record)
        if len(self._ended) > 1:  # a call further up comes to it
            return
        while self._ended:
            self._tell(self._ended[0], now)
            while self._late and len(self._ended) == 1:
                self._decide(*self._late.popleft(), now)
            self._ended.popleft()

    def _tell(self, ended: Record, now: float) -> None:
        for step in self._workflow.ended(ended):
            if step.place == WAITING:
                outcome = consequence(step, ended, self._records, now)
                if outcome is None:
                    if not self._workflow.left(step.task.id):
                        self._go(step, now)
                elif depends_on_others(step, ended, self._records):
                    self._late.append((step, ended))
                else:
                    self._settle(step, outcome, now)

    def _decide(self, step: Record, ended: Record, now: float) -> None:
        outcome = consequence(step, ended, self._records, now)
        if outcome is not None and step.place == WAITING:
            self._settle(step, outcome, now)

    def forget(self, record: Record) -> None:
        """Delete a finished record, as soon as no step needs it."""
        if record.task.id in self._workflow.dependents:
            record.unwanted = True
            self._ledger.changed(record)
        else:
            self._records.forget(record.task.id)
            self._ledger.forgot(record.task.id)

    # ── what they take ───────────────────────────────────────────────────────────────────────

    def _assignment(self, record: Record) -> m.Assignment:
        return m.Assignment(
            record.task,
            record.token,
            record.retries,
            record.attempt,
            self._along(record),
            about=self._about(record),
        )

    def _along(self, record: Record) -> list[m.Outcome]:
        """What it takes, if that is little."""
        step, found, size = record.task.step, [], 0
        if step is None or step.takes is None:
            return []
        for id in step.after:
            outcome = self._outcome(id)
            size += inputs.size_of(outcome) if outcome is not None else inputs.MAX_ALONG
            if outcome is None or size > inputs.MAX_ALONG:
                return []
            found.append(outcome)
        return found

    def _about(self, record: Record) -> m.Task | None:
        step = record.task.step
        if step is None or step.on != FAILURE or step.takes is None or not step.after:
            return None
        failed = self._records.get(step.after[0])
        return failed.task if failed is not None else None

    def _outcome(self, id: str) -> m.Outcome | None:
        record = self._records.get(id)
        return record.outcome if record is not None else None

    def portion(self, id: str, start: int) -> bytes:
        """Outcomes that a step takes, from that number on; b"" if there are none, or none any more."""
        record = self._records.get(id)
        step = record.task.step if record is not None else None
        if step is None:
            return b""
        found = (self._outcome(id) for id in step.after[start:])
        return inputs.pack(outcome for outcome in found if outcome is not None)
