"""Tasks under the names that Celery's users import them from."""

from nbqueue.client.task import Task
from nbqueue.request import Request

Context = Request

__all__ = ["Context", "Task"]
