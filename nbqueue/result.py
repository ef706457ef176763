"""Results under the name that Celery's users import them from."""

from nbqueue.client.group import GroupResult, ResultSet, as_completed, result_from_tuple
from nbqueue.client.result import AsyncResult
from nbqueue.client.tree import ResultBase

__all__ = ["AsyncResult", "GroupResult", "ResultBase", "ResultSet", "as_completed", "result_from_tuple"]
