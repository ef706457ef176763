"""Events under the name that Celery's users import them from; ``app.events`` reads them."""

from nbqueue.client.events import Events, Receiver, Stream

EventReceiver = Receiver

__all__ = ["EventReceiver", "Events", "Receiver", "Stream"]
