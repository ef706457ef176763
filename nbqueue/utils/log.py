"""Loggers for tasks.

What they say goes to the task's output, as all of its logging does, and to the log of the worker, with the
task's name and id (the setting ``worker_task_log_format``).
"""

import logging
from typing import Final

#: parent of all of them
TASK_LOGGER: Final = "nbqueue.task"


def get_task_logger(name: str) -> logging.Logger:
    """The logger of that name, for use in tasks; Celery's function."""
    logger = logging.getLogger(name)
    if not (name == TASK_LOGGER or name.startswith(f"{TASK_LOGGER}.")):
        logger.parent = logging.getLogger(TASK_LOGGER)
    return logger


def get_logger(name: str) -> logging.Logger:
    """The logger of that name, as ``logging.getLogger`` has it; Celery's function."""
    return logging.getLogger(name)
