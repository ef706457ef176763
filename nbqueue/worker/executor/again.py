"""Whether a task that raised is to be run again, and when."""

import os

from nbqueue.core import retry
from nbqueue.exceptions import Retry, TaskPredicate
from nbqueue.worker.context import TaskContext


def next_run(exc: BaseException, current: TaskContext, retries: int) -> tuple[float | None, BaseException]:
    """In how many seconds the task is to run again (None: not), and the exception to show for it.

    Raises
    ------
    TypeError, ValueError
        The task's options, or the exception that it raised, say something that cannot be.
    """
    options = current.options
    if isinstance(exc, Retry):
        if exc is current.granted or retry.allowed(options.max_retries, retries):
            return float(exc.countdown), exc.exc or exc
        return None, exc.exc or current.exhausted(options.max_retries)
    if current.granted is not None:  # it went on after retry(throw=False), and failed
        return None, exc
    if isinstance(exc, TaskPredicate) or not isinstance(exc, options.autoretry_for):
        return None, exc
    if isinstance(exc, options.dont_autoretry_for) or not retry.allowed(options.max_retries, retries):
        return None, exc
    return float(retry.delay(options, retries, int.from_bytes(os.urandom(4)) / 2**32)), exc
