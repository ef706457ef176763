"""Remote control under the names that Celery's users import it from."""

from nbqueue.client.control import Control, Inspect

__all__ = ["Control", "Inspect"]
