"""Every setting, in one table: its name, type, default and what it does.

A setting ``x`` is looked up in this order: the environment variable ``NBQUEUE_X``, what code set on
``app.conf``, the default.  A name that is not in the table is an error that names the nearest one, and
so is a value that cannot be: in code where it is set, in the environment where it is looked up.
"""

import difflib
import math
import numbers
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

from nbqueue.exceptions import ConfigurationError

T = TypeVar("T")


class Setting(NamedTuple):
    """One row of the table."""

    name: str
    #: the value as it is used, from what code has set or from the text of an environment variable;
    #: raises ValueError with what is expected
    convert: Callable[[Any], Any]
    default: Any
    doc: str
    #: other environment variables that are read when NBQUEUE_<NAME> is not set
    aliases: tuple[str, ...] = ()


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("a str is expected")
    return value


def full_url(broker: Any) -> str:
    """The URL of a broker that may have been named by ``HOST:PORT`` alone; "" stays.

    Raises
    ------
    ConfigurationError
        It is no text.
    """
    if not isinstance(broker, str):
        raise ConfigurationError("a str such as 'zmq://HOST:PORT' is expected")
    return f"zmq://{broker}" if broker and "://" not in broker else broker


def _seconds(value: Any) -> float:
    seconds = _number(float, value, numbers.Real)
    if seconds is None or not (math.isfinite(seconds) and seconds >= 0):
        raise ValueError("a number of seconds, 0 or more, is expected")
    return seconds


def _period(value: Any) -> float:
    seconds = _number(float, value, numbers.Real)
    if seconds is None or not (math.isfinite(seconds) and seconds > 0):
        raise ValueError("a positive number of seconds is expected")
    return seconds


def _count(value: Any) -> int:
    count = _number(int, value, numbers.Integral)
    if count is None or count < 0:
        raise ValueError("a whole number, 0 or more, is expected")
    return count


def _number(kind: Callable[[Any], T], value: Any, numeric: type) -> T | None:
    """A number or its text as a Python one, None if it is neither."""
    if isinstance(value, bool) or not isinstance(value, numeric | str):
        return None
    try:
        return kind(value)
    except (ValueError, OverflowError):
        return None


def _one_of(*words: str) -> Callable[[Any], str]:
    def convert(value: Any) -> str:
        if value not in words:
            raise ValueError(f"{' or '.join(words)} is expected")
        return str(value)

    return convert


SETTINGS: Mapping[str, Setting] = {
    s.name: s
    for s in (
        Setting("broker", full_url, "", "URL of the broker, or its HOST:PORT; empty: the local cluster, started on first use", ("CELERY_BROKER_URL",)),
        Setting("workers", _count, 0, "executor processes of the local cluster; 0: one a core"),
        Setting("task_default_queue", _text, "default", "queue of a task that names none"),
        Setting("worker_heartbeat", _period, 2.0, "seconds between two signs of life"),
        Setting("worker_lease", _period, 10.0, "seconds without a sign of life after which a worker counts as lost; longer than worker_heartbeat"),
        Setting("worker_pool", _one_of("processes", "threads"), "processes", "what tasks of a worker run in: processes, one task each, or the threads of one process"),
        Setting("worker_max_tasks_per_child", _count, 0, "tasks after which an executor process is replaced; 0: never"),
        Setting("worker_max_memory_per_child", _count, 0, "KiB of memory past which an executor process is replaced, after its task; 0: never"),
        Setting("worker_log_format", _text, "", "format of a worker's own lines, as in logging; json: a line of JSON each; empty: Celery's"),
        Setting("worker_task_log_format", _text, "", "format of what tasks log by get_task_logger; there are task_name and task_id in it, too"),
        Setting("max_task_deaths", _count, 3, "how often a task may kill its worker before it ends in FAILURE"),
        Setting("max_worker_losses", _count, 10, "how often a task may lose its whole worker before it ends in FAILURE"),
        Setting("cancel_grace", _seconds, 3.0, "seconds that a cancelled task has to clean up before its process is killed"),
        Setting("connect_timeout", _seconds, 5.0, "seconds without an answer after which a broker counts as unreachable"),
        Setting("broker_patience", _seconds, 3600.0, "seconds without its broker after which a worker ends, having finished what runs; 0: never; 30 in the local cluster"),
        Setting("drain_timeout", _seconds, 10.0, "seconds that a client waits at exit until its tasks are accepted"),
        Setting("max_unacknowledged", _count, 100_000, "submissions under way past which delay() blocks"),
        Setting("idle_timeout", _seconds, 600.0, "seconds without clients and work after which the local cluster ends itself; 0: never"),
        Setting("result_expires", _seconds, 86_400.0, "seconds that the record of a finished task is kept; 0: for ever"),
        Setting("max_results", _count, 1_000_000, "finished records past which the oldest go"),
        Setting("max_result_bytes", _count, 2**30, "bytes of finished records past which the oldest go"),
        Setting("journal_sync", _one_of("none", "batch"), "none", "batch: the broker's journal is on disk before others are told, so that it survives a power failure; none: only the broker's own death"),
        Setting("max_output_bytes", _count, 2**20, "characters of output kept a task; past them the middle is dropped"),
        Setting("max_payload_bytes", _count, 2**29, "bytes of the arguments, of the function or of the value of one task"),
        Setting("max_message_bytes", _count, 2**30, "bytes of one message past which the broker hangs up; 2 MiB to 1 GiB"),
        Setting("max_queued", _count, 1_000_000, "unfinished tasks of one queue past which new ones are refused"),
        Setting("max_queued_bytes", _count, 2**31, "bytes of unfinished tasks in all queues past which new ones are refused"),
        Setting("max_connections", _count, 10_000, "clients, workers and executors (two each) past which a broker refuses newcomers"),
    )
}  # fmt: skip


_PREFIX = "NBQUEUE_"
#: variables of the same form that are no settings: for the key, for folders, for tracebacks of the command line
OTHER_VARIABLES = (
    "NBQUEUE_KEY", "NBQUEUE_KEY_FILE", "NBQUEUE_DATA_DIR", "NBQUEUE_RUNTIME_DIR", "NBQUEUE_DEBUG",
)  # fmt: skip


def unread_variables() -> Iterator[tuple[str, str]]:
    """Each environment variable NBQUEUE_… that nothing reads, with the nearest one that is read, or ""."""
    known = [*(name.upper() for name in SETTINGS), *(name.removeprefix(_PREFIX) for name in OTHER_VARIABLES)]
    for variable in sorted(os.environ):
        name = variable.removeprefix(_PREFIX)
        if name != variable and name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            yield variable, f"{_PREFIX}{near[0]}" if near else ""


class Settings:
    """The settings of one application: attributes by name, environment first."""

    #: grows with each change
    version: int

    def __init__(self, **values: Any) -> None:
        object.__setattr__(self, "_values", {})
        object.__setattr__(self, "version", 0)
        self.update(**values)

    def __getattr__(self, name: str) -> Any:
        return self.lookup(name)[0]

    def __setattr__(self, name: str, value: Any) -> None:
        self.update(**{name: value})

    def __dir__(self) -> Iterator[str]:
        return iter(SETTINGS)

    def update(self, **values: Any) -> None:
        """Set several at once, or none of them.  None unsets what is empty by default, such as ``broker``.

        Raises
        ------
        ConfigurationError
            There is no setting of that name, or it cannot have that value.
        """
        after = dict(self._values)
        for name, value in values.items():
            row = _row(name)
            if value is None and not row.default:
                after.pop(row.name, None)
            else:
                after[row.name] = _converted(row, value, said=row.name)
        object.__setattr__(self, "_values", after)
        object.__setattr__(self, "version", self.version + 1)

    def lookup(self, name: str) -> tuple[Any, str]:
        """The value of a setting, and where it comes from: an environment variable's name, "code" or "default"."""
        row = _row(name)
        for variable in (f"{_PREFIX}{row.name.upper()}", *row.aliases):
            text = os.environ.get(variable)
            if text:
                return _converted(row, text, said=variable), variable
        if row.name in self._values:
            return self._values[row.name], "code"
        return row.default, "default"


def _converted(row: Setting, value: Any, *, said: str) -> Any:
    try:
        return row.convert(value)
    except ValueError as error:
        raise ConfigurationError(f"{said}={value!r}: {error}") from None


def _row(name: str) -> Setting:
    try:
        return SETTINGS[name]
    except KeyError:
        if name.startswith("__"):  # copy, pickle and inspect ask for these
            raise AttributeError(name) from None
        near = difflib.get_close_matches(name, SETTINGS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else f"; there are: {', '.join(SETTINGS)}"
        raise ConfigurationError(f"no setting is called {name!r}{hint}") from None
