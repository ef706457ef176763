"""What happens to a task, from its acceptance to its one outcome.

::

    accept ─▶ (schedule) ─▶ dispatch ─▶ started, report ─▶ settle
                  ▲            │ retry                       ▲
                  └────────────┘                             │
      requeue ◀── lost, given back        revoke, fail ──────┘

A step of a workflow waits for others before it is scheduled or dispatched (``core.steps``).  What time brings
stands in ``core.deadlines``, what an executor is told of a run that is to end in ``core.runs``.
Every way out goes through :meth:`Tasks.settle`, which can be gone through once.
"""

from typing import Final

import msgspec

from nbqueue import messages as m
from nbqueue.core import deaths, lifecycle, timers, verdicts
from nbqueue.core.audience import Audience, started
from nbqueue.core.blobs import Blobs
from nbqueue.core.deadlines import Deadlines
from nbqueue.core.dispatch import Dispatcher, limited_to
from nbqueue.core.entries import Joined
from nbqueue.core.executors import ExecutorState
from nbqueue.core.ledger import Ledger
from nbqueue.core.outbox import Outbox
from nbqueue.core.output import OutputLog
from nbqueue.core.records import DONE, LEASED, READY, SCHEDULED, WAITING, Record, Sender
from nbqueue.core.runs import Runs
from nbqueue.core.settings import BrokerSettings, too_large
from nbqueue.core.steps import Steps
from nbqueue.core.store import Records
from nbqueue.core.streams import Streams
from nbqueue.core.workflow import Workflow
from nbqueue.states import FAILURE, READY_STATES

_TOO_MUCH_HELD: Final = verdicts.Ending(
    FAILURE,
    "SerializationError",
    "the values that steps of workflows wait to take are more than max_queued_bytes: pass large data by"
    " files",
)
_RESULTS_UNREAD: Final = (
    "waiting until clients have read their results, which take all the room (max_result_bytes)"
)


class Tasks:
    """All tasks, and the steps that they can take."""

    def __init__(
        self,
        settings: BrokerSettings,
        dispatch: Dispatcher,
        audience: Audience,
        pending: timers.Timers,
        outbox: Outbox,
        ledger: Ledger,
    ) -> None:
        #: why nothing can be written down, "" if it can
        self.unwritable = ""
        self.workflow = Workflow()
        self.records = Records(settings, audience.waits_for, self.workflow.dependents)
        self.blobs = Blobs()
        self.streams = Streams(audience, outbox, settings.worker_lease)
        self._settings = settings
        self._payload_limit = settings.payload_limit
        self.limits = dispatch.limits
        self.events = dispatch.events
        self._dispatch = dispatch
        self._audience = audience
        self._timers = pending
        self._ledger = ledger
        self.runs = Runs(dispatch, pending, outbox, settings.cancel_grace)
        self.deadlines = Deadlines(self.records, dispatch, self.runs, pending, self._enqueue, self.end)
        self.steps = Steps(self.workflow, self.records, dispatch, audience, pending, ledger, self.settle)

    # ── in ───────────────────────────────────────────────────────────────────────────────────

    def lacking(self, task: m.Task) -> str:
        """The key of a blob that the task needs and that is not here, "" if all are."""
        # each task is looked at, and most lack nothing: no loop for two keys
        if task.definition and task.definition not in self.blobs:
            return task.definition
        if task.captured_key and task.captured_key not in self.blobs:
            return task.captured_key
        return ""

    def refusal(self, task: m.Task, size: int) -> str:
        """Why there is no room for a task that is new, of that size (``task_size``), "" if there is."""
        length, limit = len(task.payload) + len(task.captured), self._payload_limit
        if length > limit:
            return too_large(f"the arguments of {task.name}()", length, limit)
        return self.records.refusal(task, size, self.blobs.used_bytes)

    def accept(self, task: m.Task, sender: Sender, now: float) -> None:
        """Keep a task; one that is known already is only told of again: its client sent it once more, since
        it did not hear of its acceptance."""
        known = self.records.get(task.id)
        if known is not None:
            self._audience.join(known, sender.client)
        else:
            self.keep(task, sender, now)

    def keep(self, task: m.Task, sender: Sender, now: float) -> None:
        """Accept a task that is not known."""
        parent = self.records.get(task.parent_id) if task.parent_id else None
        if parent is not None:
            sender = sender._replace(notebook=parent.sender.notebook)
        record = Record(task, now, self.records.next_order(), sender, watchers=(sender.client,))
        self.records.add(record)
        self._ledger.took(record)
        self._refer(task)
        if self.events.on:
            self.events.sent(record, now)
        if task.rate and self.limits.heard(task):
            self._dispatch.rate_due(task.name, now)
        if task.step is not None:
            self.steps.accept(record, now)
            return
        if task.expires is not None:
            self._timers.set(now + task.expires, timers.EXPIRY, task.id)
        if task.countdown > 0:
            self._schedule(record, now + task.countdown)
        else:
            self._dispatch.enqueue(record, now)

    def define(self, message: m.Define) -> bool:
        """Keep a blob; False if it was here already."""
        is_new = self.blobs.add(message.key, message.blob)
        if is_new:
            self._ledger.defined(message.key, message.blob)
        return is_new

    def _refer(self, task: m.Task) -> None:
        for key in (task.definition, task.captured_key):
            if key:
                self.blobs.refer(key)

    def _enqueue(self, record: Record, now: float) -> None:
        """It may run, if it does not have to wait for others."""
        if self.steps.is_blocked(record):
            self.steps.look(record, now)
        else:
            self._dispatch.enqueue(record, now)

    def _schedule(self, record: Record, due: float) -> None:
        record.place, record.due = SCHEDULED, due
        self._timers.set(due, timers.DUE, record.task.id, record.token)

    # ── a run, as its executor reports it ────────────────────────────────────────────────────

    def _current(self, id: str, token: int) -> Record | None:
        """The record, if the report is about its current lease."""
        record = self.records.get(id)
        return record if record is not None and record.is_held_by(token) else None

    def started(self, message: m.Started, executor: ExecutorState, now: float) -> None:
        record = self._current(message.id, message.token)
        if record is None:
            return
        record.pid = executor.pid
        if record.started_at is None:  # it is told again after a new connection
            record.started_at, record.worker = now, executor.worker.name
            record.state = lifecycle.follow(record.state, lifecycle.START, record)
            self._ledger.changed(record)  # limits count from now, whatever broker counts
            self._audience.tell(record, started(record))
            if self.events.on:
                self.events.started(record, executor, now)
            if self.streams.wishes:
                self.streams.pull(record, executor)

    def printed(self, message: m.Output) -> None:
        record = self.records.get(message.id)
        if record is not None:  # a last piece may come after the outcome
            if record.output is None:
                record.output = OutputLog(self._settings.max_output_bytes)
            record.output.add(message)
            self._ledger.printed(message)
            self._audience.tell(record, message)

    def stream(self, client: str, message: m.Stream, now: float) -> None:
        """A client reads the items of a task as they are yielded; once it is done, its outcome has them."""
        record = self.records.get(message.id)
        if record is not None and record.place != DONE:
            self.streams.ask(record, client, message, self._dispatch.executors.get(record.executor), now)

    def yielded(self, message: m.Item) -> None:
        record = self._current(message.id, message.token)
        if record is not None:
            self.streams.item(record, message)

    def progressed(self, message: m.Progress) -> None:
        record = self._current(message.id, message.token)
        if record is not None:
            record.progress = message
            self._audience.tell(record, message)

    def updated(self, message: m.Update) -> None:
        record = self._current(message.id, message.token)
        if record is not None and message.state not in READY_STATES:  # only an outcome ends a task
            record.update = message
            lifecycle.follow(record.state, lifecycle.REPORT, record)
            record.state = message.state
            self._audience.tell(record, message)

    def ended(self, outcome: m.Outcome, executor: ExecutorState, now: float) -> None:
        """A run ended; its outcome counts if the lease is still the task's."""
        record = self._dispatch.release(executor, outcome.token, now)
        if record is not None and record.is_held_by(outcome.token):
            self._dispatch.durations.note(record.task, outcome.runtime)
            worker, limit = executor.worker, self._payload_limit
            worker.count(record.task.name)
            final = verdicts.outcome_of(record, outcome, worker.name, now, limit)
            if final.value and record.task.id in self.workflow.dependents and self._overflows(final.value):
                final = _TOO_MUCH_HELD.outcome(record, now)
            self.settle(record, final, now)

    def _overflows(self, value: bytes) -> bool:
        """Whether there is no room for what steps wait to take."""
        return self.records.held_bytes + len(value) > self._settings.max_queued_bytes

    def replaced(self, message: m.Replaced, executor: ExecutorState, now: float) -> None:
        """A run ended, and the task is to end as another one will."""
        record = self._dispatch.release(executor, message.token, now)
        if record is None or not record.is_held_by(message.token):
            return
        if record.revoked:
            self.cancel(message.by, now, terminate=False)
            self.end(record, verdicts.CANCELLED, now)
        else:
            self.steps.replace(record, message.by, now)

    def retried(self, message: m.Retry, executor: ExecutorState, now: float) -> None:
        """A run asks for another one."""
        record = self._dispatch.release(executor, message.token, now)
        if record is None or not record.is_held_by(message.token):
            return
        ending = verdicts.retried(record, message, now)
        if ending is None and message.changes is not None:
            ending = self._change(record, message.changes)
        if ending is not None:
            self.end(record, ending, now)
            return
        if self.events.on:
            self.events.retried(record, executor, now)
        self._audience.tell(record, m.Retrying(record.task.id, record.retries, message.failure, record.due))
        self._schedule(record, record.due)
        self._ledger.changed(record)

    def _change(self, record: Record, changes: m.Changes) -> verdicts.Ending | None:
        """The next run is another call; how the task ends if there is something wrong with that."""
        task = verdicts.changed(record.task, changes, self._payload_limit)
        if not isinstance(task, m.Task):
            return task
        self.records.replace_task(record, task)
        self._ledger.changed_task(task)
        return None

    # ── leases that ended without an outcome ─────────────────────────────────────────────────

    def take_back(self, executor: ExecutorState, token: int, now: float, *, last: bool = False) -> None:
        """The executor never started it; or the task itself wants to be run later, after the ``last`` of
        those that wait."""
        record = self._dispatch.release(executor, token, now)
        if record is not None:
            if last and self.events.on and record.is_held_by(token):
                self.events.rejected(record, executor, now)
            self._requeue(record, "", now, last=last)

    def spare(self, executor: ExecutorState, token: int, now: float) -> None:
        """An executor died while it ran that lease: it had not come to those after it, and even a task that
        must not be started twice may go to another.  Of one that runs several at once nobody can tell."""
        if executor.slots == 1:
            after = [t for t, r in executor.held.items() if t > token and not r.task.acks_late]
            for untouched in reversed(after):
                self.take_back(executor, untouched, now)

    def died(self, executor: ExecutorState, token: int, death: m.ExecutorLost, now: float) -> None:
        """An executor died; a task that was running there is charged for it."""
        record = self._dispatch.release(executor, token, now)
        if record is None or not record.is_held_by(token):
            return
        if (ending := verdicts.died(record, death, self._settings.max_task_deaths)) is not None:
            self.end(record, ending, now)
        else:
            self._requeue(record, deaths.manner_of_death(death), now)

    def abandoned(self, executor: ExecutorState, reason: str, now: float, *, charge: bool) -> None:
        """An executor is gone with all that it held; ``charge`` the tasks that were running for it."""
        for record in self._dispatch.remove(executor, now):
            if record.place == LEASED:
                limit = self._settings.max_worker_losses
                if (ending := verdicts.lost(record, reason, limit, charge=charge)) is not None:
                    self.end(record, ending, now)
            self._requeue(record, reason, now)

    def _requeue(self, record: Record, reason: str, now: float, *, last: bool = False) -> None:
        """The task waits again, before the others or after the ``last`` of them."""
        if record.place != LEASED:
            return
        if (ending := verdicts.requeued(record, now)) is not None:
            self.end(record, ending, now)
            return
        self._ledger.changed(record)
        if reason:
            self._audience.tell(record, m.Requeued(record.task.id, reason))
        if self.steps.is_blocked(record):
            self.steps.look(record, now)
        elif last:
            self._dispatch.enqueue(record, now)
        else:
            self._dispatch.put_back(record)

    # ── after another broker ─────────────────────────────────────────────────────────────────

    def restore(self, record: Record, holder: Joined | None, now: float) -> None:
        """Put a record where the last broker had it; ``holder`` is the executor of its lease."""
        if record.place == DONE:
            self.records.shelve(record)
            self.records.make_room()
            if record.unwanted and record.task.id not in self.workflow.dependents:
                self.records.forget(record.task.id)
            return
        self.records.add(record)
        task = record.task
        if self.lacking(task):
            self._fail_for_lack(record, now)
            return
        self._refer(task)
        if record.place == WAITING:
            return  # until all others are in their places: see Steps.resume
        if task.expires is not None:
            self._timers.set(verdicts.expires_at(record), timers.EXPIRY, task.id)
        if record.place == SCHEDULED:
            self._schedule(record, record.due)
        elif record.place == LEASED and holder is not None:
            times = self.limits.times.get(task.name)
            if times is not None and times.since < record.leased_at:
                record.task = limited_to(task, times)
            self._dispatch.restore(record, self._dispatch.executor(holder.hello, now, holder.key), now)
        elif record.place == LEASED and not task.acks_late:
            self.end(record, verdicts.lost_for_good("its worker is not known any more"), now)
        else:
            self._enqueue(record, now)

    def _fail_for_lack(self, record: Record, now: float) -> None:
        """A repaired journal has the task, but not what it is made of."""
        record.task = msgspec.structs.replace(record.task, definition="", captured_key="")
        record.place = SCHEDULED
        text = "its function was lost with a damaged journal: submit it again"
        self.end(record, verdicts.Ending(FAILURE, "ResultNotFoundError", text), now)

    def claim(self, executor: ExecutorState, id: str, token: int, now: float) -> bool:
        """An executor says that it has a lease of which we do not know; False if it is not to be kept."""
        record = self.records.get(id)
        if record is None:
            return False
        if record.place == DONE and (record.executor, record.token) == (executor.id, token):
            executor.hold_again(record, now)  # its end is still to be heard of
            return True
        if record.token < token < self._dispatch.first_token and self._might_hold(executor, record, now):
            # given out in the moment in which the last broker died, and not written down
            if record.place == READY:
                self._dispatch.claimed(record)
            elif record.place == WAITING:
                record.due = now
            record.token = token
            record.attempt += 1
            self._dispatch.restore(record, executor, now)
            self._dispatch.started_unheard(record, now)
            self._ledger.changed(record)
            return True
        return False

    def _might_hold(self, executor: ExecutorState, record: Record, now: float) -> bool:
        """Whether a task that waits can have been given to an executor."""
        waits = record.place == READY or (record.place == SCHEDULED and record.due <= now)
        # what it waited for may have ended in that moment, too, and will be told of again
        waits = waits or (record.place == WAITING and not record.by)
        return waits and self._dispatch.lane(record.task).key.served_by(executor)

    # ── out ──────────────────────────────────────────────────────────────────────────────────

    def settle(self, record: Record, outcome: m.Outcome, now: float) -> None:
        """The one outcome of a task."""
        if record.place == READY:
            self._dispatch.withdraw(record)
        record.state = lifecycle.follow(record.state, verdicts.EVENT_OF[outcome.state], record)
        record.outcome = outcome
        self._ledger.ended(outcome)
        if self.streams.wishes:
            self.streams.forget(outcome.id)
        for key in (record.task.definition, record.task.captured_key):
            if key:
                self.blobs.release(key)
        self.records.finished(record, now)
        self._audience.tell_outcome(record, outcome)
        if self.events.on:
            self.events.ended(record, outcome, self._dispatch.executors.get(record.executor), now)
        if record.task.step is not None or record.by:
            self.steps.left(record)
        if self.records.full:
            self.make_room(now)
        if record.task.id in self.workflow.dependents:
            self.steps.ended(record, now)

    def make_room(self, now: float) -> None:
        """Let old results go; while there is no room for those of more tasks, run none."""
        self.records.make_room()
        self._dispatch.pause(self.unwritable or (_RESULTS_UNREAD if self.records.full else ""), now)

    def end(self, record: Record, ending: verdicts.Ending, now: float) -> None:
        """A task ends without an outcome of a run."""
        self.settle(record, ending.outcome(record, now), now)

    def cancel(self, id: str, now: float, *, terminate: bool, at_once: bool = False) -> None:
        """What waits never runs; what runs is interrupted if ``terminate``, else left to end.  ``at_once``:
        its process is killed without time to clean up."""
        record = self.records.get(id)
        if record is None or record.place == DONE:
            return
        if record.place != LEASED:
            self.end(record, verdicts.CANCELLED, now)
            if record.by:
                self._cancel_replacement(record, now, terminate=terminate)
        elif terminate:
            self.runs.cancel(record, now, at_once=at_once)
            self.end(record, verdicts.CANCELLED, now)
        else:
            record.revoked = True
            self._ledger.changed(record)
            self.runs.drop(record)

    def _cancel_replacement(self, record: Record, now: float, *, terminate: bool) -> None:
        """The last of those by which one after the other was replaced; the others end as it does."""
        last = self.records.get(record.by)
        while last is not None and last.by and last.place != DONE:
            last = self.records.get(last.by)
        if last is not None:
            self.cancel(last.task.id, now, terminate=terminate)

    def prune(self, now: float) -> None:
        """Drop timers, lanes, limiters and wishes that nobody needs any more."""
        self.streams.prune(now)
        self.deadlines.prune()
        self._dispatch.lanes.prune()
        self.limits.prune(now, self._dispatch.lanes.limited)
