"""What workers say on their console, in Celery's form: ``[time: LEVEL/NAME] text``."""

import logging
import sys
from typing import TextIO

from nbqueue.core.worker import Ending
from nbqueue.messages import Outcome, Task
from nbqueue.states import FAILURE, SUCCESS
from nbqueue.wire import payload


def logger(name: str, level: str, stream: TextIO | None = None) -> logging.Logger:
    """A logger of our own (tasks may configure the root as they like) for the worker ``name``."""
    handler = logging.StreamHandler(stream or sys.__stderr__)
    handler.setFormatter(logging.Formatter(f"[%(asctime)s: %(levelname)s/{name}] %(message)s"))
    log = logging.getLogger(f"nbqueue.worker.{name}")
    log.setLevel(level.upper())
    log.handlers = [handler]
    log.propagate = False
    return log


def announce(log: logging.Logger, text: str) -> None:
    """Say it whatever the level is."""
    log.handle(log.makeRecord(log.name, logging.INFO, "", 0, text, (), None))


class TaskLog:
    """Tells of each task that is received and how it ended."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log

    def received(self, task: Task) -> None:
        self._log.info("task %s[%s] received", task.name, task.id)

    def ended(self, task: Task, ending: Ending) -> None:
        title, text = f"task {task.name}[{task.id}]", ""
        if ending.failure is not None:
            text = f"{ending.failure.type}({ending.failure.message!r})"
        if not isinstance(ending, Outcome):
            self._log.info("%s retry in %gs: %s", title, ending.countdown, text)
        elif ending.state == SUCCESS:
            self._log.info("%s succeeded in %.3gs: %s", title, ending.runtime, _shown(ending.value))
        elif ending.state == FAILURE and ending.failure is not None:
            self._log.error("%s raised unexpected: %s\n%s", title, text, ending.failure.traceback)
        else:
            self._log.info("%s revoked", title)


def _shown(value: bytes) -> str:
    """The value as text; it is loaded again, which only a worker that logs has to pay for."""
    try:
        text = repr(payload.loads(value)) if value else "None"
    except Exception as error:  # a __repr__ or __setstate__ of the task's own
        return f"({type(error).__name__} in its repr)"
    return text if len(text) <= 200 else f"{text[:200]}…"
