"""The application under the name that Celery's users import it from."""

from nbqueue.app import App, Celery

__all__ = ["App", "Celery"]
