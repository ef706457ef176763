"""What workers say on their console, in Celery's form: ``[time: LEVEL/NAME] text``.

Three loggers::

    nbqueue.worker.NAME   the worker's own: tasks received and ended, executors that died
    nbqueue.task          of tasks (``get_task_logger``): to the console too, with the task's name and id
    (root)                all else that tasks log: to their output only

Formats are those of :mod:`logging`; the format ``json`` makes a line of JSON of each record.
"""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any, Final, TextIO

from nbqueue import signals
from nbqueue.core.worker import RunEnd
from nbqueue.messages import Outcome, Replaced, Retry, Returned, Task
from nbqueue.states import FAILURE, SUCCESS
from nbqueue.utils.log import TASK_LOGGER
from nbqueue.wire import payload
from nbqueue.worker.context import current
from nbqueue.worker.options import WorkerOptions

#: bytes of a pickled value past which only its size is told
SHOWN_LIMIT: Final = 10_000
JSON: Final = "json"
FORMAT: Final = "[%(asctime)s: %(levelname)s/%(processName)s] %(message)s"
TASK_FORMAT: Final = "[%(asctime)s: %(levelname)s/%(processName)s] %(task_name)s[%(task_id)s]: %(message)s"


class _Line(logging.Formatter):
    """Celery's formats, in which ``processName`` is the worker, and a task is named where there is one."""

    def __init__(self, form: str, name: str) -> None:
        super().__init__(form)
        self._name = name

    def format(self, record: logging.LogRecord) -> str:
        record.processName = self._name
        for field in ("task_name", "task_id"):
            if not hasattr(record, field):
                setattr(record, field, "???")
        return super().format(record)


class JsonLine(logging.Formatter):
    """A record as one line of JSON."""

    _FIELDS: Final = ("task_id", "task_name", "event", "runtime")

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        told: dict[str, Any] = {
            "time": moment,
            "level": record.levelname,
            "worker": self._name,
            "pid": record.process,
            "logger": record.name,
            "message": record.getMessage(),
        }
        told |= {field: getattr(record, field) for field in self._FIELDS if hasattr(record, field)}
        if record.exc_info:
            told["exception"] = self.formatException(record.exc_info)
        return json.dumps(told, default=str, ensure_ascii=False)


def logger(name: str, level: str, stream: TextIO | None = None, form: str = "") -> logging.Logger:
    """A logger of our own (tasks may configure the root as they like) for the worker ``name``."""
    log = logging.getLogger(f"nbqueue.worker.{name}")
    log.setLevel(level.upper())
    log.handlers = [_handler(stream, _formatter(form or FORMAT, name))]
    log.propagate = False
    return log


def set_up(options: WorkerOptions) -> logging.Logger:
    """The loggers of a worker's process; returns the worker's own.  Who listens to ``setup_logging`` has
    set up logging himself: there, all goes to the root logger."""
    name, told = options.nodename, _told(options)
    if signals.setup_logging.receivers:
        signals.setup_logging.send(None, **told)
        log = logging.getLogger(f"nbqueue.worker.{name}")
        log.setLevel(options.loglevel)
        return log
    log = logger(name, options.loglevel, form=options.log_format)
    signals.after_setup_logger.send(None, logger=log, **told)
    return log


def set_up_tasks(options: WorkerOptions, also: logging.Handler) -> None:
    """The logger of tasks; ``also`` is how the rest of what they log gets into their output."""
    if signals.setup_logging.receivers:
        return
    form = JSON if options.log_format == JSON else options.task_log_format or TASK_FORMAT
    console = _handler(None, _formatter(form, options.nodename))
    console.setLevel(options.loglevel)
    console.addFilter(_name_task)
    also.addFilter(lambda record: not logging.root.handlers)  # through which it gets there otherwise
    log = logging.getLogger(TASK_LOGGER)
    log.handlers = [console, also]
    signals.after_setup_task_logger.send(None, logger=log, **_told(options))


def _told(options: WorkerOptions) -> dict[str, Any]:
    return {
        "loglevel": logging.getLevelName(options.loglevel),
        "logfile": options.logfile or None,
        "format": options.log_format or FORMAT,
        "colorize": False,
    }


def _handler(stream: TextIO | None, formatter: logging.Formatter) -> logging.Handler:
    handler = logging.StreamHandler(stream or sys.__stderr__)
    handler.setFormatter(formatter)
    return handler


def _formatter(form: str, name: str) -> logging.Formatter:
    return JsonLine(name) if form == JSON else _Line(form, name)


def _name_task(record: logging.LogRecord) -> bool:
    if (task := current()) is not None:
        record.task_name, record.task_id = task.name, task.task.id
    return True


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
            self._say(logging.INFO, task, "received", "received")

    def warn(self, task: Task, text: str) -> None:
        """Something about a task that its people should know."""
        self._say(logging.WARNING, task, "warning", text)

    def ended(self, task: Task, ending: RunEnd, *, expected: bool = False) -> None:
        """How it ended; what is ``expected`` is no error, and has no traceback."""
        failed = isinstance(ending, Outcome) and ending.state == FAILURE and not expected
        if failed or self._talks:
            event, text = _account(ending, expected)
            runtime = ending.runtime if isinstance(ending, Outcome | Retry) else None
            self._say(logging.ERROR if failed else logging.INFO, task, event, text, runtime)

    def _say(self, level: int, task: Task, event: str, text: str, runtime: float | None = None) -> None:
        extra: dict[str, Any] = {"task_name": task.name, "task_id": task.id, "event": event}
        if runtime is not None:
            extra["runtime"] = runtime
        self._log.log(level, "task %s[%s] %s", task.name, task.id, text, extra=extra)


def _account(ending: RunEnd, expected: bool) -> tuple[str, str]:
    """What happened, in one word and in full."""
    if isinstance(ending, Replaced):
        return "replaced", f"replaced by [{ending.by}]"
    if isinstance(ending, Returned):
        return ("rejected", "rejected: back to the queue") if ending.rejected else ("returned", "given back")
    failure, text = ending.failure, ""
    if failure is not None:
        text = f"{failure.type}({failure.message!r})"
    if not isinstance(ending, Outcome):
        return "retried", f"retry in {ending.countdown:g}s: {text}"
    if ending.state == SUCCESS:
        return "succeeded", f"succeeded in {ending.runtime:.3g}s: {_shown(ending.value)}"
    if ending.state == FAILURE and failure is not None:
        if expected:
            return "failed", f"raised expected: {text}"
        return "failed", f"raised unexpected: {text}\n{failure.traceback}"
    return "revoked", "revoked"


def _shown(value: bytes) -> str:
    """The value as text; it is loaded again, which only a worker that logs has to pay for."""
    if len(value) > SHOWN_LIMIT:
        return f"({len(value):,} bytes)"
    try:
        text = repr(payload.loads(value)) if value else "None"
    except BaseException as error:  # a __repr__ or __setstate__ of the task's own
        return f"({type(error).__name__} in its repr)"
    return text if len(text) <= 200 else f"{text[:200]}…"
