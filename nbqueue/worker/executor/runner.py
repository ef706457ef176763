"""Running one task, from its assignment to its ending, whatever it raises.

::

    definition, arguments ─▶ function(*args, **kwargs) ─▶ Outcome SUCCESS
            │                        │ raises
            └────────────────────────┴─▶ Outcome FAILURE or REVOKED, or Retry, or Replaced

A task whose definition cannot be had now has not begun: it has no ending, and goes back.
"""

import os
import sys
from collections.abc import AsyncIterator, Callable
from time import perf_counter
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any

from nbqueue.core import retry
from nbqueue.core.worker import Ending
from nbqueue.exceptions import Ignore, Reject, Retry, TaskPredicate, TaskRevokedError
from nbqueue.messages import Assignment, Failure, Outcome, Replaced
from nbqueue.messages import Retry as RetryMessage
from nbqueue.states import FAILURE, REVOKED, SUCCESS
from nbqueue.wire import failure, payload
from nbqueue.worker import context
from nbqueue.worker.context import Replacement, TaskContext
from nbqueue.worker.executor import inputs
from nbqueue.worker.interrupts import Gate
from nbqueue.worker.reports import Reports


class Unready(Exception):
    """The task's definition cannot be had here and now; another executor may."""


class Runner:
    """Runs tasks in the calling thread.

    Parameters
    ----------
    whole_process
        See :mod:`nbqueue.worker.context`.
    fetch
        Gets what a step takes from others, where it did not come along; b"" if it cannot be had.
    payload_limit
        Returns how many bytes of a value the broker takes; 0 if it has not said.
    """

    def __init__(
        self,
        definitions: payload.Definitions,
        gate: Gate,
        *,
        worker: str,
        whole_process: bool,
        fetch: inputs.Fetch = lambda key: b"",
        payload_limit: Callable[[], int] = lambda: 0,
    ) -> None:
        self._definitions = definitions
        self._gate = gate
        self._worker = worker
        self._whole_process = whole_process
        self._fetch = fetch
        self._payload_limit = payload_limit

    def run(self, assignment: Assignment, reports: Reports) -> Ending | None:
        """Run the task; returns None if it could not begin.  Raises nothing."""
        current = TaskContext(assignment, reports, self._worker, self._payload_limit())
        context.enter(current, whole_process=self._whole_process)
        began = perf_counter()
        try:
            try:
                data = self._value(current, assignment)
            finally:
                self._gate.leave()
        except Unready:
            return None
        except BaseException as exc:  # whatever a task raises is how it ended
            # a pending interrupt is raised in here as soon as Python code runs, so by the first leave()
            self._gate.leave()
            return self._ended(exc, current, assignment, perf_counter() - began)
        finally:
            _discharge(current)
            context.enter(None, whole_process=self._whole_process)
        return self._outcome(assignment, SUCCESS, perf_counter() - began, value=data)

    def _value(self, current: TaskContext, assignment: Assignment) -> bytes:
        """What the task returns, pickled; raises what it raises."""
        task = assignment.task
        loaded = self._definitions.load(task)
        current.options = loaded.options
        outcomes = inputs.outcomes_of(assignment, self._fetch) if task.step is not None else ()
        self._gate.enter(assignment.token)
        args, kwargs = payload.loads(task.payload)
        if task.step is not None:
            args = inputs.arguments(
                assignment, outcomes, loaded.function, args, kwargs, bound=loaded.options.bind
            )
        current.args, current.kwargs = args, kwargs
        bound = (current, *args) if loaded.options.bind else args
        value = _finished(loaded.function(*bound, **kwargs))
        if task.ignore_result:
            return b""
        return payload.dumps_value(value, f"the return value of {task.name}()", current.payload_limit)

    def _outcome(
        self,
        assignment: Assignment,
        state: str,
        runtime: float,
        *,
        value: bytes = b"",
        failed: Failure | None = None,
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
        )

    def _ended(
        self, exc: BaseException, current: TaskContext, assignment: Assignment, runtime: float
    ) -> Ending:
        if self._gate.cancelled(assignment.token):
            revoked = failure.capture(TaskRevokedError("cancelled while it ran"))
            return self._outcome(assignment, REVOKED, runtime, failed=revoked)
        if isinstance(exc, Replacement):
            return Replaced(assignment.task.id, assignment.token, exc.by)
        if isinstance(exc, Ignore):
            return self._outcome(assignment, SUCCESS, runtime)
        try:
            countdown, reason = _next_run(exc, current, assignment.retries)
            failed = failure.capture(reason)
        except Exception as error:  # options that nobody has checked
            countdown, failed = None, failure.capture(error)
        if countdown is not None:
            return RetryMessage(assignment.task.id, assignment.token, countdown, failed, runtime)
        return self._outcome(assignment, FAILURE, runtime, failed=failed)


def _next_run(exc: BaseException, current: TaskContext, retries: int) -> tuple[float | None, BaseException]:
    """In how many seconds the task is to run again (None: not), and the exception to show for it."""
    options = current.options
    if isinstance(exc, Retry):
        if exc is current.granted or retry.allowed(options.max_retries, retries):
            return float(exc.countdown), exc.exc or exc
        return None, exc.exc or current.exhausted(options.max_retries)
    if isinstance(exc, Reject) and exc.requeue:
        return 0.0, exc
    if isinstance(exc, TaskPredicate) or not isinstance(exc, options.autoretry_for):
        return None, exc
    if not retry.allowed(options.max_retries, retries):
        return None, exc
    return float(retry.delay(options, retries, int.from_bytes(os.urandom(4)) / 2**32)), exc


def _discharge(current: TaskContext) -> None:
    """Do what the task has left to be done; it has ended, and this cannot change how."""
    for duty in current.duties:
        try:
            duty()
        except Exception as error:  # the broker is gone, say, and so is the way for the outcome
            sys.stderr.write(f"nbqueue: at the end of {current.name}: {error}\n")


def _finished(value: Any) -> Any:
    """The value itself; of a coroutine what it returns, of a generator the list of its items."""
    kind = type(value)
    if kind is GeneratorType:
        return list(value)
    if kind is CoroutineType:
        return _run_async(lambda: value)
    if kind is AsyncGeneratorType:
        return _run_async(lambda: _items(value))
    return value


async def _items(generator: AsyncIterator[Any]) -> list[Any]:
    return [item async for item in generator]


def _run_async(start: Callable[[], Any]) -> Any:
    # only workers that run such tasks need it
    import asyncio

    return asyncio.run(start())
