"""What workers say on their console, in Celery's form: ``[time: LEVEL/NAME] text``."""

import logging
import sys
from typing import Final, TextIO

from nbqueue.core.worker import Ending
from nbqueue.messages import Outcome, Replaced, Task
from nbqueue.states import FAILURE, SUCCESS
from nbqueue.wire import payload

#: bytes of a pickled value past which only its size is told
SHOWN_LIMIT: Final = 10_000


def logger(name: str, level: str, stream: TextIO | None = None) -> logging.Logger:
    """A logger of our own (tasks may configure the root as they like) for the worker ``name``."""
    handler = logging.StreamHandler(stream or sys.__stderr__)
    shown = name.replace("%", "%%")
    handler.setFormatter(logging.Formatter(f"[%(asctime)s: %(levelname)s/{shown}] %(message)s"))
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
        self._talks = log.isEnabledFor(logging.INFO)

    def received(self, task: Task) -> None:
        if self._talks:
            self._log.info("task %s[%s] received", task.name, task.id)

    def ended(self, task: Task, ending: Ending) -> None:
        failed = isinstance(ending, Outcome) and ending.state == FAILURE
        level = logging.ERROR if failed else logging.INFO
        if failed or self._talks:
            self._log.log(level, "task %s[%s] %s", task.name, task.id, _account(ending))


def _account(ending: Ending) -> str:
    if isinstance(ending, Replaced):
        return f"replaced by [{ending.by}]"
    failure, text = ending.failure, ""
    if failure is not None:
        text = f"{failure.type}({failure.message!r})"
    if not isinstance(ending, Outcome):
        return f"retry in {ending.countdown:g}s: {text}"
    if ending.state == SUCCESS:
        return f"succeeded in {ending.runtime:.3g}s: {_shown(ending.value)}"
    if ending.state == FAILURE and failure is not None:
        return f"raised unexpected: {text}\n{failure.traceback}"
    return "revoked"


def _shown(value: bytes) -> str:
    """The value as text; it is loaded again, which only a worker that logs has to pay for."""
    if len(value) > SHOWN_LIMIT:
        return f"({len(value):,} bytes)"
    try:
        text = repr(payload.loads(value)) if value else "None"
    except BaseException as error:  # a __repr__ or __setstate__ of the task's own
        return f"({type(error).__name__} in its repr)"
    return text if len(text) <= 200 else f"{text[:200]}…"
