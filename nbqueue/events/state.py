"""What a monitor knows, under the name that Celery's users import it from."""

from nbqueue.client.monitor import State, Task, Worker

__all__ = ["State", "Task", "Worker"]
