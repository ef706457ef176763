"""Results under the name that Celery's users import them from."""

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
    "as_completed",
    "result_from_tuple",
]
