"""What a task knows of itself: ``self`` of a task with ``bind=True``, and :func:`progress`."""

import weakref
from collections.abc import Iterable, Iterator, Mapping, Sized
from dataclasses import dataclass, field
from datetime import timedelta
from numbers import Real
from typing import Any, Final, NoReturn, SupportsFloat, TypeVar, cast

from nbqueue.core import retry
from nbqueue.current import Run
from nbqueue.current import run as current_run
from nbqueue.exceptions import Ignore, MaxRetriesExceededError, Retry
from nbqueue.messages import Assignment, Task
from nbqueue.states import PROGRESS
from nbqueue.wire import payload
from nbqueue.worker.output import OutputBuffer
from nbqueue.worker.reports import Reports

T = TypeVar("T")


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


@dataclass(frozen=True, kw_only=True)
class Request:
    """The call that is being run, in Celery's words; durations in seconds."""

    id: str
    task: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    #: runs that ended in RETRY before this one
    retries: int
    #: 1 for the first lease, whatever ended the earlier ones
    attempt: int
    root_id: str | None
    parent_id: str | None
    group: str | None
    #: name of the worker
    hostname: str
    delivery_info: Mapping[str, Any]
    #: how long after its submission it may start, and how long it was held back
    expires: float | None
    eta: float | None
    timelimit: tuple[float | None, float | None]
    ignore_result: bool
    called_directly: bool = field(default=False, init=False)


def request_of(
    task: Task, args: tuple[Any, ...], kwargs: Mapping[str, Any], *, retries: int, attempt: int, hostname: str
) -> Request:
    """The request of a run of a task."""
    return Request(
        id=task.id,
        task=task.name,
        args=args,
        kwargs=kwargs,
        retries=retries,
        attempt=attempt,
        root_id=task.root_id or task.id,
        parent_id=task.parent_id or None,
        group=task.group or None,
        hostname=hostname,
        delivery_info={
            "exchange": "",
            "routing_key": task.queue,
            "priority": task.priority,
            "redelivered": attempt > retries + 1,
        },
        expires=task.expires,
        eta=task.countdown or None,
        timelimit=(task.time_limit, task.soft_time_limit),
        ignore_result=task.ignore_result,
    )


class Replacement(Ignore):
    """Ends a run whose task is to end as another one does."""

    def __init__(self, by: str) -> None:
        super().__init__(by)
        self.by = by


class TaskContext(Run):
    """The running task: what it was called with, and what it can say while it runs."""

    def __init__(
        self, assignment: Assignment, reports: Reports, hostname: str, payload_limit: int = 0
    ) -> None:
        self.reports = reports
        #: bytes of a value that the broker takes; 0 if it has not said
        self.payload_limit = payload_limit
        #: options it was defined with; the defaults until they are loaded
        self.options = _DEFAULT_OPTIONS
        self.args: tuple[Any, ...] = ()
        self.kwargs: dict[str, Any] = {}
        #: the retry that :meth:`retry` has granted
        self.granted: Retry | None = None
        super().__init__(assignment.task)
        self._assignment = assignment
        self._hostname = hostname

    @property
    def name(self) -> str:
        return self._assignment.task.name

    @property
    def max_retries(self) -> int | None:
        return self.options.max_retries

    @property
    def request(self) -> Request:
        assignment = self._assignment
        return request_of(
            assignment.task,
            self.args,
            self.kwargs,
            retries=assignment.retries,
            attempt=assignment.attempt,
            hostname=self._hostname,
        )

    def update_state(self, state: str | None = None, meta: Any = None) -> None:
        """Set a custom state; it is reported within 50 ms, the latest one only.

        ``current``, ``total`` and ``description`` in a meta dict also move the progress bar.

        Raises
        ------
        SerializationError
            ``meta`` cannot be pickled, or is too large.
        TypeError
            The state is no text.
        ConfigurationError
            The state is one that nothing follows: a task gets there by returning or raising.
        """
        pickled = payload.dumps_value(meta, "the meta of update_state", self.payload_limit)
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
        *,
        exc: BaseException | None = None,
        countdown: float | timedelta | None = None,
        max_retries: int | None = None,
    ) -> NoReturn:
        """End this run and ask for another, ``countdown`` seconds from now (or a timedelta; the task's
        ``default_retry_delay`` unless given).  Never returns: ``raise self.retry()`` says so to readers.

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
        delay = self.options.default_retry_delay if countdown is None else countdown
        if isinstance(delay, timedelta):
            delay = delay.total_seconds()
        self.granted = Retry(exc=exc, countdown=float(delay))
        raise self.granted

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

    def exhausted(self, limit: int | None) -> MaxRetriesExceededError:
        """The error of a task that asks for more retries than it has."""
        return MaxRetriesExceededError(f"{self.name}[{self._assignment.task.id}] was retried {limit} times")


class _Loop:
    """One ``for`` loop that reports; see :meth:`Reports.claim`."""

    __slots__ = ("__weakref__",)


def progress(iterable: Iterable[T], total: float | None = None, description: str = "") -> Iterator[T]:
    """Yield the items of an iterable and report how many are done, as the running task's progress.

    ``total`` is ``len(iterable)`` where it has one.  Outside of tasks the items are yielded and nothing
    else is done.  Of loops inside of loops the outermost one reports.
    """
    context = current()
    if context is None:
        return iter(iterable)
    if total is None:
        total = _length(iterable)
    return _counted(iterable, total, description, context.reports)


def _length(iterable: Iterable[object]) -> int | None:
    if not isinstance(iterable, Sized):
        return None
    try:
        return len(iterable)
    except TypeError:  # a loader of data that comes as a stream, say
        return None


def _counted(
    iterable: Iterable[T], total: SupportsFloat | None, description: object, reports: Reports
) -> Iterator[T]:
    loop = _Loop()
    own = weakref.ref(loop)
    if not reports.claim(own):
        yield from iterable
        return
    done = 0
    reports.show(done, total, description)
    try:
        for item in iterable:
            yield item
            done += 1
            reports.show(done, total, description)
    finally:
        reports.release(own)
