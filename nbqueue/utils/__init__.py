"""Where Celery's users look for small things: ``from nbqueue.utils.log import get_task_logger``."""
