"""Celery's camera, under the name that its users import it from."""

from nbqueue.client.monitor import Polaroid

__all__ = ["Polaroid"]
