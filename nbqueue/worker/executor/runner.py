"""Running one task, from its assignment to its ending, whatever it raises.

::

    definition, arguments ─▶ function(*args, **kwargs) ─▶ Outcome SUCCESS
            │                        │ raises
            └────────────────────────┴─▶ Outcome FAILURE or REVOKED, or Retry, Replaced or Returned

A task whose definition cannot be had now has not begun: its lease goes back.  So does that of one that
rejects itself, to the end of the line.  Who else is told of a run stands in :mod:`nbqueue.worker.hooks`.
"""

import os
import sys
from collections.abc import Callable
from time import perf_counter
from typing import Any, TypeAlias

from nbqueue import platform
from nbqueue.core.worker import RunEnd
from nbqueue.exceptions import Ignore, Reject, SerializationError, TaskRevokedError
from nbqueue.messages import Assignment, Failure, Outcome, Replaced, Returned
from nbqueue.messages import Retry as RetryMessage
from nbqueue.signals import Signal, task_received
from nbqueue.states import FAILURE, RETRY, REVOKED, SUCCESS
from nbqueue.wire import failure, payload
from nbqueue.worker import context, hooks
from nbqueue.worker.context import Replacement, TaskContext
from nbqueue.worker.executor.again import next_run
from nbqueue.worker.executor.inputs import Fetch, Inputs
from nbqueue.worker.executor.storage import Storage
from nbqueue.worker.executor.values import Caller, call_alone
from nbqueue.worker.interrupts import Gate
from nbqueue.worker.log import TaskLog
from nbqueue.worker.options import LEASE
from nbqueue.worker.reports import Reports
from nbqueue.worker.stream import ItemStream

#: how often this process was forked: each run asks, and this costs less than os.getpid()
_forks = 0


class Unready(Exception):
    """The task's definition cannot be had here and now; another executor may."""


#: an ending, and whether it is by an exception that the task is known to raise
_Told: TypeAlias = tuple[RunEnd, bool]


class Runner:
    """Runs tasks in the calling thread.

    Parameters
    ----------
    whole_process
        See :mod:`nbqueue.worker.context`.
    fetch
        Gets what did not come along: a large payload, what a step takes from others; b"" if it cannot be had.
    payload_limit
        Returns how many bytes of a value the broker takes; 0 if it has not said.
    event_limit
        The same of a meta or an item.
    accepted
        Serializers whose arguments are loaded; None: all.
    storage
        Where values are kept; with the broker unless a task says otherwise.
    log
        Where it says how tasks ended.
    caller
        Calls a function, and takes what it returns to its end.
    push, lease
        See :class:`ItemStream`.
    """

    def __init__(
        self,
        definitions: payload.Definitions,
        gate: Gate,
        *,
        worker: str,
        whole_process: bool,
        fetch: Fetch = lambda key: b"",
        payload_limit: Callable[[], int] = lambda: 0,
        event_limit: Callable[[], int] = lambda: 0,
        accepted: frozenset[str] | None = None,
        storage: Storage | None = None,
        log: TaskLog | None = None,
        caller: Caller = call_alone,
        push: Callable[[], object] = lambda: None,
        lease: Callable[[], float] = lambda: LEASE,
    ) -> None:
        self._definitions = definitions
        self._gate = gate
        self._worker = worker
        self._whole_process = whole_process
        self._payload_limit = payload_limit
        self._event_limit = event_limit
        self._accepted = accepted
        self._storage = storage if storage is not None else Storage()
        self._fetch = fetch
        self._inputs = Inputs(fetch, self._storage, accepted)
        self._log = log
        self._call = caller
        self._push = push
        self._lease = lease
        self._forks = _forks

    def run(self, assignment: Assignment, reports: Reports) -> RunEnd:
        """Run the task.  Raises nothing."""
        current = TaskContext(assignment, reports, self._worker, self._payload_limit(), self._event_limit())
        context.enter(current, whole_process=self._whole_process)
        if Signal.used:
            task_received.send(current, request=current.request)
        began = perf_counter()
        try:
            try:
                value = self._value(current, assignment)
                kept = self._kept(current, assignment, value)
            finally:
                self._gate.leave()
                if _forks != self._forks:
                    os._exit(0)  # a child that the task forked and let return
            told = self._returned(current, assignment, value, kept, perf_counter() - began)
        except Unready:
            return Returned([assignment.token])
        except BaseException as exc:  # whatever a task raises is how it ended
            # a pending interrupt is raised in here as soon as Python code runs, so by the first leave()
            self._gate.leave()
            told = self._ended(exc, current, assignment, perf_counter() - began)
        finally:
            _discharge(current)
            context.enter(None, whole_process=self._whole_process)
        if self._log is not None:
            self._log.ended(assignment.task, told[0], expected=told[1])
        return told[0]

    def _value(self, current: TaskContext, assignment: Assignment) -> Any:
        """What the task returns; raises what it raises."""
        task = assignment.task
        loaded = self._definitions.load(task)
        current.options, instance = loaded.options, loaded.instance
        current.instance, current.function = instance, loaded.function
        outcomes = self._inputs.outcomes(assignment) if task.step is not None else ()
        written = task.payload if not task.payload_key else self._fetched(task.payload_key)
        self._gate.enter(assignment.token)
        args, kwargs = payload.loads(written, self._accepted)
        if task.step is not None:
            args = self._inputs.arguments(assignment, outcomes, loaded, args, kwargs)
        current.called_with(args, kwargs)
        if instance is not None or Signal.used:
            hooks.begin(current, instance)
        if instance is not None:
            return self._call(instance.call_by_worker, (args, kwargs), {}, lambda: self._stream(current))
        if loaded.options.bind:
            args = (current, *args)
        return self._call(loaded.function, args, kwargs, lambda: self._stream(current))

    def _fetched(self, key: str) -> bytes:
        """A payload that was too large to come along."""
        if not (written := self._fetch(key)):
            raise SerializationError("the broker no longer has the task's arguments: submit the task again")
        return written

    def _stream(self, current: TaskContext) -> ItemStream:
        """Where the items of a generator go."""
        task = current.task
        return current.reports.open(
            ItemStream(
                task.id,
                current.reports.token,
                keep=not task.ignore_result,
                what=f"an item of {task.name}()",
                limit=current.event_limit,
                serializer=task.result_serializer,
                push=self._push,
                lease=self._lease(),
            )
        )

    def _kept(self, current: TaskContext, assignment: Assignment, value: Any) -> tuple[bytes, str]:
        """What of a value goes to the broker, and which backend has it otherwise."""
        task = current.task
        if task.ignore_result or current.granted is not None:
            return b"", ""
        what = f"the return value of {task.name}()"
        data = payload.dumps_value(value, what, current.payload_limit, task.result_serializer)
        return self._storage.keep(assignment, data)

    def _returned(
        self,
        current: TaskContext,
        assignment: Assignment,
        value: Any,
        kept: tuple[bytes, str],
        runtime: float,
    ) -> _Told:
        """The function returned."""
        if current.granted is not None:  # by retry(throw=False)
            return self._ended(current.granted, current, assignment, runtime)
        data, stored = kept
        outcome = self._outcome(assignment, SUCCESS, runtime, value=data, stored=stored)
        if current.instance is not None or Signal.used:
            try:
                hooks.success(current, current.instance, value)
            except Exception as error:
                hooks.internal_error(current, current.instance, error, "on_success")
                return self._failed(error, current, assignment, runtime)
            hooks.finish(current, current.instance, SUCCESS, value)
        return outcome, False

    def _outcome(
        self,
        assignment: Assignment,
        state: str,
        runtime: float,
        *,
        value: bytes = b"",
        failed: Failure | None = None,
        stored: str = "",
    ) -> Outcome:
        return Outcome(
            assignment.task.id,
            assignment.token,
            state,
            value,
            failed,
            runtime,
            self._worker,
            retries=assignment.retries,
            stored=stored,
        )

    # ── it raised ────────────────────────────────────────────────────────────────────────────

    def _ended(
        self, exc: BaseException, current: TaskContext, assignment: Assignment, runtime: float
    ) -> _Told:
        if self._gate.cancelled(assignment.token):
            return self._revoked(exc, current, assignment, runtime)
        if isinstance(exc, Replacement):
            hooks.finish(current, current.instance, "", exc)
            return Replaced(assignment.task.id, assignment.token, exc.by), False
        if isinstance(exc, Ignore):
            return self._ignored(exc, current, assignment, runtime)
        if isinstance(exc, Reject) and exc.requeue:
            hooks.finish(current, current.instance, "", exc)
            return Returned([assignment.token], rejected=True), False
        try:
            countdown, reason = next_run(exc, current, assignment.retries)
            failed = failure.capture(reason)
        except Exception as error:  # options that nobody has checked
            return self._failed(error, current, assignment, runtime)
        if countdown is None:
            return self._failed(reason, current, assignment, runtime)
        if current.instance is not None or Signal.used:
            hooks.retrying(current, current.instance, reason, countdown)
            hooks.finish(current, current.instance, RETRY, reason)
        again = RetryMessage(
            assignment.task.id, assignment.token, countdown, failed, runtime, current.changes
        )
        return again, False

    def _failed(
        self, error: BaseException, current: TaskContext, assignment: Assignment, runtime: float
    ) -> _Told:
        outcome = self._outcome(assignment, FAILURE, runtime, failed=failure.capture(error))
        if current.instance is not None or Signal.used:
            hooks.failure(current, current.instance, error)
            hooks.finish(current, current.instance, FAILURE, error)
        return outcome, _is_expected(error, current)

    def _revoked(
        self, exc: BaseException, current: TaskContext, assignment: Assignment, runtime: float
    ) -> _Told:
        revoked = failure.capture(TaskRevokedError("cancelled while it ran"))
        if current.instance is not None or Signal.used:
            hooks.revoked(current, current.instance)
            hooks.finish(current, current.instance, REVOKED, exc)
        return self._outcome(assignment, REVOKED, runtime, failed=revoked), False

    def _ignored(self, exc: Ignore, current: TaskContext, assignment: Assignment, runtime: float) -> _Told:
        """It has no value of its own, but perhaps one that it set before."""
        state, meta = current.claimed or (SUCCESS, None)
        value, stored, failed = b"", "", None
        try:
            if state == FAILURE:
                failed = _claimed_failure(meta)
            elif meta is not None:
                value, stored = self._kept(current, assignment, meta)
        except Exception as error:
            state, failed = FAILURE, failure.capture(error)
        if current.instance is not None or Signal.used:
            hooks.finish(current, current.instance, "", exc)
        outcome = self._outcome(assignment, state, runtime, value=value, failed=failed, stored=stored)
        return outcome, False


def _after_fork() -> None:
    global _forks
    _forks += 1


platform.in_forked_children(_after_fork)


def _claimed_failure(meta: Any) -> Failure:
    """What a task says that it failed by: ``{"exc_type": …, "exc_message": …}``, as Celery keeps it."""
    if isinstance(meta, BaseException):
        return failure.capture(meta)
    told = meta if isinstance(meta, dict) else {"exc_message": meta}
    message = told.get("exc_message", "")
    lines = message if isinstance(message, list | tuple) else [message]
    text = "\n".join(str(line) for line in lines)
    return Failure(str(told.get("exc_type", "Failure")), "", text, str(told.get("traceback", text)))


def _is_expected(error: BaseException, current: TaskContext) -> bool:
    try:
        return isinstance(error, current.options.throws)
    except TypeError:  # options that nobody has checked
        return False


def _discharge(current: TaskContext) -> None:
    """Do what the task has left to be done; it has ended, and this cannot change how."""
    for duty in current.duties:
        try:
            duty()
        except Exception as error:  # the broker is gone, say, and so is the way for the outcome
            sys.stderr.write(f"nbqueue: at the end of {current.name}: {error}\n")
