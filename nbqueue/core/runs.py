"""What executors are told of runs that are to end: by an interrupt, and by a kill if that did not help.

::

    interrupt ──(cancel_grace)──▶ kill ──(cancel_grace)──▶ kill … until the executor is gone, or gave it back
    drop: what it has not begun, it is not to begin
"""

from nbqueue import messages as m
from nbqueue.core import timers
from nbqueue.core.dispatch import Dispatcher
from nbqueue.core.executors import ExecutorState
from nbqueue.core.outbox import Outbox
from nbqueue.core.records import Record


class Runs:
    """Those that go on, as far as they are to be ended.  ``grace``: seconds that a task has to clean up."""

    def __init__(self, dispatch: Dispatcher, pending: timers.Timers, outbox: Outbox, grace: float) -> None:
        self._dispatch = dispatch
        self._timers = pending
        self._outbox = outbox
        self._grace = grace

    def interrupt(self, record: Record, reason: str) -> None:
        """Have an exception raised in the task."""
        executor = self._dispatch.executors.get(record.executor)
        if executor is not None:
            self._outbox.send(executor.control, m.Interrupt(record.task.id, record.token, reason))

    def cancel(self, record: Record, now: float, *, at_once: bool) -> None:
        """Interrupt it, and end its process if that is in vain; ``at_once``: without time to clean up."""
        self.interrupt(record, "cancel")
        self._timers.set(now + (0.0 if at_once else self._grace), timers.KILL, record.executor, record.token)

    def drop(self, record: Record) -> None:
        """It is not to begin, if it has not begun."""
        executor = self._dispatch.executors.get(record.executor)
        if executor is not None:
            self._outbox.send(executor.control, m.Drop([record.token]))

    def kill(self, executor_id: str, token: int, now: float) -> None:
        """End the process that still runs this lease; again and again, until it is heard that it did."""
        executor = self._dispatch.executors.get(executor_id)
        if executor is not None and token in executor.held:
            self._outbox.send(executor.worker.peer, m.Kill(executor.id, token, "its task is over"))
            self._timers.set(now + self._grace, timers.KILL, executor_id, token)

    def remind(self, executor: ExecutorState, now: float) -> None:
        """Its control link was away: say again which leases are over."""
        for token, record in executor.held.items():
            if not record.is_held_by(token):
                self._outbox.send(executor.control, m.Interrupt(record.task.id, token, "cancel"))
                self._timers.set(now + self._grace, timers.KILL, executor.id, token)
            elif record.revoked:
                self._outbox.send(executor.control, m.Drop([token]))
