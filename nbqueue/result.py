"""Results under the name that Celery's users import them from."""

from collections.abc import Iterator
from contextlib import contextmanager

from nbqueue import current
from nbqueue.client.eager import EagerResult
from nbqueue.client.group import GroupResult, ResultSet, as_completed, result_from_tuple
from nbqueue.client.result import AsyncResult
from nbqueue.client.tree import ResultBase

__all__ = [
    "AsyncResult",
    "EagerResult",
    "GroupResult",
    "ResultBase",
    "ResultSet",
    "allow_join_result",
    "as_completed",
    "result_from_tuple",
]


@contextmanager
def allow_join_result() -> Iterator[None]:
    """In here a task may wait for others: ``get()`` does not raise RuntimeError.  If all executors do so,
    nobody is left to run what they wait for."""
    token = current.may_wait.set(True)
    try:
        yield
    finally:
        current.may_wait.reset(token)
