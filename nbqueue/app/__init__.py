"""Applications under the names that Celery's users import them from."""

from typing import Any

from nbqueue.client.app import App, default_app, shared_task
from nbqueue.client.registry import current_application

Celery = App

__all__ = ["App", "Celery", "app_or_default", "default_app", "shared_task"]


def app_or_default(app: Any = None) -> Any:
    """The application, or the current one."""
    return current_application() if app is None else app
