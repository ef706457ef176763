"""What a task knows of itself and can say while it runs: ``self`` of a task with ``bind=True``."""

import logging
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from numbers import Real
from time import time
from types import MappingProxyType
from typing import Any, Final, NoReturn, SupportsFloat, cast

import nbqueue
from nbqueue import exceptions
from nbqueue.core import retry
from nbqueue.current import Run
from nbqueue.current import run as current_run
from nbqueue.exceptions import ConfigurationError, Ignore, Retry
from nbqueue.messages import Assignment, Changes
from nbqueue.request import Request
from nbqueue.states import FAILURE, PROGRESS, SUCCESS
from nbqueue.utils.log import get_task_logger
from nbqueue.wire import payload
from nbqueue.worker.output import OutputBuffer
from nbqueue.worker.reports import Reports

#: what ``self.retry`` may change of the call, beside its arguments
_CHANGEABLE: Final = ("queue", "priority", "time_limit", "soft_time_limit", "headers")
_DEFAULT_OPTIONS: Final = payload.TaskOptions(name="")


def current() -> "TaskContext | None":
    """The task that the caller runs in, None outside of tasks."""
    return cast("TaskContext | None", current_run.get())  # executors enter nothing else


def enter(context: "TaskContext | None", *, whole_process: bool) -> None:
    """Make this the current task (None: there is none), of the whole process or of this thread."""
    current_run.enter(context, whole_process=whole_process)


def output_buffer() -> OutputBuffer | None:
    """Where the caller's printing goes, None outside of tasks."""
    context = current()
    return None if context is None else context.reports.output


class Replacement(Ignore):
    """Ends a run whose task is to end as another one does."""

    def __init__(self, by: str) -> None:
        super().__init__(by)
        self.by = by


class TaskContext(Run):
    """The running task: what it was called with, and what it can say while it runs."""

    #: Celery's tasks have it as an attribute: ``except self.MaxRetriesExceededError``
    MaxRetriesExceededError: Final = exceptions.MaxRetriesExceededError

    # Most runs need none of these: as the class' own they cost nothing.
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = MappingProxyType({})
    #: of the task's class, whose methods are told of the run; None when it has none
    instance: Any = None
    #: what runs
    function: Callable[..., Any] | None = None
    _made: Any = None
    #: the retry that :meth:`retry` has granted, and what is to be different then
    granted: Retry | None = None
    changes: Changes | None = None
    #: the end that ``update_state`` has claimed: it counts if the task then raises Ignore
    claimed: tuple[str, Any] | None = None
    _request: Request | None = None

    def __init__(
        self,
        assignment: Assignment,
        reports: Reports,
        hostname: str,
        payload_limit: int = 0,
        event_limit: int = 0,
    ) -> None:
        self.reports = reports
        #: bytes of a value that the broker takes; 0 if it has not said
        self.payload_limit = payload_limit
        #: and of a meta or an item
        self.event_limit = event_limit
        #: options it was defined with; the defaults until they are loaded
        self.options = _DEFAULT_OPTIONS
        super().__init__(assignment.task)
        self._assignment = assignment
        self._hostname = hostname

    @property
    def name(self) -> str:
        return self._assignment.task.name

    #: see nbqueue.signals
    __nbqueue_sender__ = name

    @property
    def app(self) -> Any:
        """The application of this process: the one that the worker has by ``-A``, or else the default one at
        the worker's broker."""
        # by the front door, which loads it on first use: workers do without clients as long as tasks do
        return nbqueue.current_app

    def __getattr__(self, name: str) -> Any:
        """What the task has as it was made by ``@app.task``: ``self.apply_async(…)``, ``self.s(…)``."""
        if name.startswith("_") or self.function is None:
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        if self._made is None:
            self._made = self._own_task(self.function)
        return getattr(self._made, name)

    def _own_task(self, function: Callable[..., Any]) -> Any:
        """The application's task of that name; or one of the function, whose calls go where this one did."""
        known = self.app.tasks.get(self.name)
        if known is not None and known.function is function:
            return known
        task = self._assignment.task
        made = nbqueue.Task.on_worker(function, self.options)
        made.queue = task.queue
        if task.serializer:
            made.serializer = task.serializer
        if task.priority:
            made.priority = task.priority
        return made

    def get_logger(self) -> logging.Logger:
        """What ``nbqueue.utils.log.get_task_logger`` gives for its name."""
        return get_task_logger(self.name)

    @property
    def max_retries(self) -> int | None:
        return self.options.max_retries

    @property
    def default_retry_delay(self) -> float:
        return self.options.default_retry_delay

    def called_with(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """The arguments are there."""
        self.args, self.kwargs = args, kwargs
        if self._request is not None:  # whoever was told of the task's arrival has asked for it
            self._request = None

    @property
    def request(self) -> Request:
        """The call that is being run."""
        if self._request is None:
            self._request = request_of(self._assignment, self.args, self.kwargs, self._hostname)
        return self._request

    def update_state(
        self, state: str | None = None, meta: Any = None, *, task_id: str | None = None, **_: Any
    ) -> None:
        """Set a custom state; it is reported within 50 ms, the latest one only.

        ``current``, ``total`` and ``description`` in a meta dict also move the progress bar.  FAILURE and
        SUCCESS count when the task then raises Ignore: the way to choose what the record says.

        Raises
        ------
        SerializationError
            ``meta`` cannot be pickled, or is too large.
        TypeError
            The state is no text.
        ConfigurationError
            The state is REVOKED, which only others can say; or ``task_id`` is that of another task.
        """
        if task_id is not None and task_id != self._assignment.task.id:
            raise ConfigurationError(f"a task sets its own state only, and {task_id!r} is another one")
        if state in (SUCCESS, FAILURE):
            self.claimed = (state, meta)
            return
        written_by = self._assignment.task.result_serializer
        pickled = payload.dumps_value(meta, "the meta of update_state", self.event_limit, written_by)
        self.reports.update(PROGRESS if state is None else state, pickled)
        if isinstance(meta, dict) and isinstance(current := meta.get("current"), Real):
            total = meta.get("total")
            known = total if isinstance(total, Real) else None
            self.progress(current, known, meta.get("description") or "")

    def progress(
        self, current: SupportsFloat, total: SupportsFloat | None = None, description: object = ""
    ) -> None:
        """Say how far the task is; ``total`` None when nobody knows.

        Raises
        ------
        TypeError, ValueError, OverflowError
            ``current`` or ``total`` cannot be a float.
        """
        self.reports.show(current, total, description)

    def retry(
        self,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        exc: BaseException | None = None,
        throw: bool = True,
        eta: datetime | None = None,
        countdown: float | timedelta | None = None,
        max_retries: int | None = None,
        **options: Any,
    ) -> Retry:
        """End this run and ask for another.  ``raise self.retry()`` tells readers that it does not return.

        Parameters
        ----------
        args, kwargs
            Of the next run; those of this one unless given.
        exc
            What the task ends with when no retries are left.
        throw
            False: return the exception instead of raising it.  However this run then returns, it is the next
            one that counts; if it raises something else, that counts.
        eta, countdown
            When: a datetime with time zone; seconds from now or a timedelta.  Else after the task's
            ``default_retry_delay``.
        max_retries
            In place of the task's.
        options
            ``queue``, ``priority``, ``time_limit``, ``soft_time_limit``, ``headers`` of the next run.

        Raises
        ------
        Retry
            What ends the run.
        MaxRetriesExceededError
            No retries are left, and ``exc`` was not given; else ``exc`` itself.
        """
        limit = self.options.max_retries if max_retries is None else max_retries
        if not retry.allowed(limit, self._assignment.retries):
            raise exc if exc is not None else self.exhausted(limit)
        self.changes = self._changes(args, kwargs, options)
        self.granted = Retry(exc=exc, countdown=self._pause(eta, countdown))
        if throw:
            raise self.granted
        return self.granted

    def _pause(self, eta: datetime | None, countdown: float | timedelta | None) -> float:
        if eta is not None:
            if eta.tzinfo is None:
                raise ConfigurationError(f"eta={eta} has no time zone: use datetime.now(timezone.utc) + …")
            return max(0.0, eta.timestamp() - time())
        delay = self.options.default_retry_delay if countdown is None else countdown
        return delay.total_seconds() if isinstance(delay, timedelta) else float(delay)

    def replace(self, signature: Any) -> NoReturn:
        """End this run, and have the task end as a signature does: its value is that of the signature's last
        task, and so is its failure.  Of a group it is the list of the values.  Whatever comes after the task
        waits for that.  Never returns: ``raise self.replace(…)`` says so to readers.

        Raises
        ------
        TypeError
            It is no signature.
        """
        if not hasattr(signature, "submit_as_replacement"):
            raise TypeError(f"a task is replaced by a signature, such as add.s(2, 2), not by {signature!r}")
        raise Replacement(signature.submit_as_replacement())

    def add_to_chord(self, signature: Any, lazy: bool = False) -> NoReturn:
        """Celery's way to let a chord grow while it runs.  Here a chord's members are fixed when it is sent.

        Raises
        ------
        NotImplementedError
            Always; it names the other way.
        """
        raise NotImplementedError(
            "a chord's members are fixed when it is sent: let the member be more tasks instead, by"
            " raise self.replace(group(…))"
        )

    def _changes(
        self, args: Iterable[Any] | None, kwargs: Mapping[str, Any] | None, options: dict[str, Any]
    ) -> Changes | None:
        if unknown := options.keys() - set(_CHANGEABLE):
            raise TypeError(
                f"retry() cannot change {', '.join(sorted(unknown))}; it can: {', '.join(_CHANGEABLE)}"
            )
        data = None
        if args is not None or kwargs is not None:
            call = (
                self.args if args is None else tuple(args),
                dict(self.kwargs if kwargs is None else kwargs),
            )
            serializer = self._assignment.task.serializer
            data = payload.dumps_arguments(*call, self.name, self.payload_limit, serializer)
        given = {name: value for name, value in options.items() if value is not None}
        return Changes(payload=data, **given) if data is not None or given else None

    def exhausted(self, limit: int | None) -> exceptions.MaxRetriesExceededError:
        """The error of a task that asks for more retries than it has."""
        return exceptions.MaxRetriesExceededError(
            f"{self.name}[{self._assignment.task.id}] was retried {limit} times"
        )


def request_of(
    assignment: Assignment, args: tuple[Any, ...], kwargs: Mapping[str, Any], hostname: str
) -> Request:
    """The request of a run."""
    task = assignment.task
    headers = task.headers or {}
    return Request(
        id=task.id,
        task=task.name,
        args=args,
        kwargs=kwargs,
        retries=assignment.retries,
        attempt=assignment.attempt,
        root_id=task.root_id or task.id,
        parent_id=task.parent_id or None,
        group=task.group or None,
        eta=_moment(assignment.at, task.countdown or None),
        expires=_moment(assignment.at, task.expires),
        timelimit=(task.time_limit, task.soft_time_limit),
        hostname=hostname,
        delivery_info={
            "exchange": "",
            "routing_key": task.queue,
            "priority": task.priority,
            "redelivered": assignment.attempt > assignment.retries + 1,
        },
        origin=task.origin or None,
        headers=task.headers,
        stamps=headers.get("stamps") or {},
        stamped_headers=headers.get("stamped_headers"),
        correlation_id=task.id,
        ignore_result=task.ignore_result,
        called_directly=False,
    )


def _moment(at: float, delay: float | None) -> str | None:
    """So many seconds after then, as ISO 8601; None if there is no such moment."""
    if delay is None or not at:
        return None
    return datetime.fromtimestamp(at + delay, UTC).isoformat()
