"""Where Celery's users look for small things: ``from nbqueue.utils.log import get_task_logger``."""

from uuid import uuid4

__all__ = ["uuid"]


def uuid() -> str:
    """An id for a task that is to be known before it is sent: ``apply_async(task_id=uuid())``."""
    return str(uuid4())
