"""Results under the name that Celery's users import them from."""

from nbqueue.client.eager import EagerResult
from nbqueue.client.group import GroupResult, as_completed
from nbqueue.client.result import AsyncResult

__all__ = ["AsyncResult", "EagerResult", "GroupResult", "as_completed"]
