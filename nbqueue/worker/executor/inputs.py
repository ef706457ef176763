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
from nbqueue.worker.executor.storage import Storage

#: gets a blob of the broker's; b"" if it has none
Fetch = Callable[[str], bytes]


class Inputs:
    """See the module's docstring.

    Parameters
    ----------
    fetch
        Gets what did not come along.
    storage
        Where values may be that the broker does not keep.
    accepted
        Serializers whose content is loaded; None: all.
    """

    def __init__(self, fetch: Fetch, storage: Storage, accepted: frozenset[str] | None = None) -> None:
        self._fetch = fetch
        self._storage = storage
        self._accepted = accepted

    def outcomes(self, assignment: Assignment) -> Sequence[Outcome]:
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
            portion = self._fetch(inputs.key_of(assignment.task.id, len(found)))
            if not portion:
                raise SerializationError("the broker no longer has what this step takes from those before it")
            found += inputs.unpack(portion)
        return found

    def arguments(
        self,
        assignment: Assignment,
        outcomes: Sequence[Outcome],
        loaded: payload.LoadedTask,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> tuple[Any, ...]:
        """All positional arguments of a step; ``args`` and ``kwargs`` are its own.

        Raises
        ------
        SerializationError, ResultBackendError
            A value cannot be loaded here.
        """
        step = assignment.task.step
        if step is None or step.takes is None:
            return args
        if step.on != FAILURE:
            return (self._value(step.takes, outcomes, assignment), *args)
        failed = outcomes[0]
        told = (self._request(assignment, failed), _exception(failed), _traceback(failed))
        first = (None,) if loaded.options.bind else ()
        if _takes(loaded.function, (*first, *told, *args), kwargs):
            return (*told, *args)
        return (failed.id, *args)

    def _value(self, takes: Any, outcomes: Sequence[Outcome], assignment: Assignment) -> Any:
        """The values of outcomes, in lists as ``takes`` has their indices."""
        if isinstance(takes, list):
            return [self._value(item, outcomes, assignment) for item in takes]
        outcome = outcomes[takes]
        value = self._storage.load(assignment, outcome) if outcome.stored else outcome.value
        return payload.loads(value, self._accepted) if value else None

    def _request(self, assignment: Assignment, failed: Outcome) -> Request:
        """The call that failed; its arguments only if they can be had here."""
        args: tuple[Any, ...] = ()
        kwargs: dict[str, Any] = {}
        task = assignment.about or assignment.task
        written = task.payload or (self._fetch(task.payload_key) if task.payload_key else b"")
        if assignment.about is not None and written:
            with contextlib.suppress(SerializationError):
                args, kwargs = payload.loads(written, self._accepted)
        run = Assignment(task, failed.token, failed.retries, failed.retries + 1)
        return request_of(run, args, kwargs, failed.worker)


def _takes(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    try:
        inspect.signature(function).bind(*args, **kwargs)
    except TypeError:
        return False
    except ValueError:  # it has no signature: Celery's newer way
        return True
    return True


def _exception(failed: Outcome) -> BaseException | None:
    return failure.rebuild(failed.failure) if failed.failure is not None else None


def _traceback(failed: Outcome) -> str:
    return failed.failure.traceback if failed.failure is not None else ""
