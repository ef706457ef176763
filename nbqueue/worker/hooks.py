"""What is told of a run beside its outcome: methods of the task's class, and signals.

::

    task_prerun ─▶ before_start ─▶ the function ─┬▶ on_success ─▶ task_success ─┐
                                                 ├▶ on_retry   ─▶ task_retry   ─┼▶ after_return, task_postrun
                                                 ├▶ on_failure ─▶ task_failure ─┤
                                                 └────────────── task_revoked ──┘

All in the executor, in the thread that ran the function, before the outcome leaves.  As in Celery, a
``before_start`` or ``on_success`` that raises makes a FAILURE; the others, and receivers of signals, are
logged and change nothing.
"""

import logging
import sys
import traceback
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final

from nbqueue import signals
from nbqueue.exceptions import Retry
from nbqueue.worker.context import TaskContext

_logger: Final = logging.getLogger("nbqueue.worker.hooks")


class ExceptionInfo:
    """An exception and where it was raised, as hooks and receivers are given it (``einfo``)."""

    def __init__(self, exception: BaseException) -> None:
        self.type = type(exception)
        self.exception = exception
        self.tb: TracebackType | None = exception.__traceback__

    @property
    def traceback(self) -> str:
        """The formatted traceback."""
        return "".join(traceback.format_exception(self.exception))

    @property
    def exc_info(self) -> tuple[type[BaseException], BaseException, TracebackType | None]:
        return self.type, self.exception, self.tb

    def __str__(self) -> str:
        return self.traceback

    def __repr__(self) -> str:
        return f"<ExceptionInfo: {self.exception!r}>"


def begin(current: TaskContext, instance: Any) -> None:
    """The function is about to be called; raises what ``before_start`` raises."""
    sender = instance if instance is not None else current
    id, args, kwargs = current.task.id, current.args, current.kwargs
    signals.task_prerun.send(sender, task_id=id, task=sender, args=args, kwargs=kwargs)
    if instance is not None:
        instance.before_start(id, args, kwargs)


def success(current: TaskContext, instance: Any, value: Any) -> None:
    """It returned; raises what ``on_success`` raises."""
    if instance is not None:
        instance.on_success(value, current.task.id, current.args, current.kwargs)
    signals.task_success.send(instance if instance is not None else current, result=value)


def failure(current: TaskContext, instance: Any, error: BaseException) -> None:
    """It raised, and is not run again."""
    id, args, kwargs, einfo = current.task.id, current.args, current.kwargs, ExceptionInfo(error)
    if instance is not None:
        _call(current, instance, instance.on_failure, error, id, args, kwargs, einfo)
    signals.task_failure.send(
        instance if instance is not None else current,
        task_id=id,
        exception=error,
        args=args,
        kwargs=kwargs,
        traceback=error.__traceback__,
        einfo=einfo,
    )


def retrying(current: TaskContext, instance: Any, error: BaseException, countdown: float) -> None:
    """It is run again, for that reason."""
    einfo = ExceptionInfo(error)
    if instance is not None:
        id, args, kwargs = current.task.id, current.args, current.kwargs
        _call(current, instance, instance.on_retry, error, id, args, kwargs, einfo)
    reason = error if isinstance(error, Retry) else Retry(exc=error, countdown=countdown)
    sender = instance if instance is not None else current
    signals.task_retry.send(sender, request=current.request, reason=reason, einfo=einfo)


def revoked(current: TaskContext, instance: Any) -> None:
    """It was cancelled while it ran."""
    sender = instance if instance is not None else current
    signals.task_revoked.send(sender, request=current.request, terminated=True, signum=2, expired=False)


def finish(current: TaskContext, instance: Any, state: str, value: Any) -> None:
    """It has ended; ``value`` is what it returned, or the exception."""
    id, args, kwargs = current.task.id, current.args, current.kwargs
    if instance is not None and state:
        einfo = ExceptionInfo(value) if isinstance(value, BaseException) else None
        _call(current, instance, instance.after_return, state, value, id, args, kwargs, einfo)
    sender = instance if instance is not None else current
    signals.task_postrun.send(
        sender, task_id=id, task=sender, args=args, kwargs=kwargs, retval=value, state=state or None
    )


def _call(current: TaskContext, instance: Any, method: Callable[..., object], *args: Any) -> None:
    try:
        method(*args)
    except Exception as error:
        internal_error(current, instance, error, f"{type(instance).__name__}.{method.__name__}")


def internal_error(current: TaskContext, instance: Any, error: Exception, where: str) -> None:
    """What is called beside the function has failed."""
    _logger.error("%s of %s[%s] raised %r", where, current.name, current.task.id, error, exc_info=error)
    signals.task_internal_error.send(
        instance if instance is not None else current,
        task_id=current.task.id,
        args=current.args,
        kwargs=current.kwargs,
        request=current.request,
        exception=error,
        traceback=error.__traceback__ or sys.exc_info()[2],
        einfo=ExceptionInfo(error),
    )
