"""What a step of a workflow is called with, beside its own arguments: the values of those before it, or what
is known of a failure.

::

    Assignment.inputs, or portions fetched ─▶ outcomes ─▶ values ─▶ function(value, *args, **kwargs)
                                                      └─▶ failure ─▶ errback(request, exc, traceback)
"""

import contextlib
import inspect
from collections.abc import Callable, Sequence
from typing import Any

from nbqueue.core import inputs
from nbqueue.exceptions import SerializationError
from nbqueue.messages import Assignment, Outcome
from nbqueue.request import Request
from nbqueue.states import FAILURE
from nbqueue.wire import failure, payload
from nbqueue.worker.context import request_of

#: gets a blob of the broker's; b"" if it has none
Fetch = Callable[[str], bytes]


def outcomes_of(assignment: Assignment, fetch: Fetch) -> Sequence[Outcome]:
    """How those that a step takes from have ended.

    Raises
    ------
    SerializationError
        The broker has them no longer.
    """
    step = assignment.task.step
    if step is None or step.takes is None or assignment.inputs:
        return assignment.inputs
    found: list[Outcome] = []
    while len(found) < len(step.after):
        portion = fetch(inputs.key_of(assignment.task.id, len(found)))
        if not portion:
            raise SerializationError("the broker no longer has what this step takes from those before it")
        found += inputs.unpack(portion)
    return found


def arguments(
    assignment: Assignment,
    outcomes: Sequence[Outcome],
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    *,
    bound: bool,
) -> tuple[Any, ...]:
    """All positional arguments of a step; ``args`` and ``kwargs`` are its own.

    Raises
    ------
    SerializationError
        A value cannot be loaded here.
    """
    step = assignment.task.step
    if step is None or step.takes is None:
        return args
    if step.on != FAILURE:
        return (_value(step.takes, outcomes), *args)
    failed = outcomes[0]
    told = (_request(assignment, failed), _exception(failed), _traceback(failed))
    if _takes(function, (*((None,) if bound else ()), *told, *args), kwargs):
        return (*told, *args)
    return (failed.id, *args)


def _value(takes: Any, outcomes: Sequence[Outcome]) -> Any:
    """The values of outcomes, in lists as ``takes`` has their indices."""
    if isinstance(takes, list):
        return [_value(item, outcomes) for item in takes]
    value = outcomes[takes].value
    return payload.loads(value) if value else None


def _takes(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    try:
        inspect.signature(function).bind(*args, **kwargs)
    except TypeError:
        return False
    except ValueError:  # it has no signature: Celery's newer way
        return True
    return True


def _request(assignment: Assignment, failed: Outcome) -> Request:
    """The call that failed; its arguments only if they can be had here."""
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}
    task = assignment.about or assignment.task
    if assignment.about is not None and assignment.about.payload:
        with contextlib.suppress(SerializationError):
            args, kwargs = payload.loads(assignment.about.payload)
    run = Assignment(task, failed.token, failed.retries, failed.retries + 1)
    return request_of(run, args, kwargs, failed.worker)


def _exception(failed: Outcome) -> BaseException | None:
    return failure.rebuild(failed.failure) if failed.failure is not None else None


def _traceback(failed: Outcome) -> str:
    return failed.failure.traceback if failed.failure is not None else ""
