"""Every setting, in one table: its name, type, default and what it does.

A setting ``x`` is looked up in this order: the environment variable ``NBQUEUE_X``, what code set on
``app.conf``, the default.  A name that is not in the table is an error that names the nearest one.
"""

import difflib
import math
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from nbqueue.exceptions import ConfigurationError


class Setting(NamedTuple):
    """One row of the table."""

    name: str
    convert: Callable[[str], Any]  #: from the text of an environment variable
    default: Any
    doc: str
    #: other environment variables that are read when NBQUEUE_<NAME> is not set
    aliases: tuple[str, ...] = ()


def _seconds(text: str) -> float:
    value = float(text)
    if math.isnan(value) or value < 0:
        raise ValueError(f"{text} is not a number of seconds")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 0:
        raise ValueError(f"{text} is negative")
    return value


def _one_of(*words: str) -> Callable[[str], str]:
    def convert(text: str) -> str:
        if text not in words:
            raise ValueError(f"{' or '.join(words)} is expected")
        return text

    return convert


SETTINGS: Mapping[str, Setting] = {
    s.name: s
    for s in (
        Setting("broker", str, "", "URL of the broker; empty: the local cluster, started on first use", ("CELERY_BROKER_URL",)),
        Setting("workers", _count, 0, "executor processes of the local cluster; 0: one a core"),
        Setting("task_default_queue", str, "default", "queue of a task that names none"),
        Setting("worker_heartbeat", _seconds, 2.0, "seconds between two signs of life"),
        Setting("worker_lease", _seconds, 10.0, "seconds without a sign of life after which a worker counts as lost"),
        Setting("max_task_deaths", _count, 3, "how often a task may kill its worker before it ends in FAILURE"),
        Setting("max_worker_losses", _count, 10, "how often a task may lose its whole worker before it ends in FAILURE"),
        Setting("cancel_grace", _seconds, 3.0, "seconds that a cancelled task has to clean up before its process is killed"),
        Setting("connect_timeout", _seconds, 5.0, "seconds without an answer after which a broker counts as unreachable"),
        Setting("drain_timeout", _seconds, 10.0, "seconds that a client waits at exit until its tasks are accepted"),
        Setting("max_unacknowledged", _count, 100_000, "submissions under way past which delay() blocks"),
        Setting("idle_timeout", _seconds, 600.0, "seconds without clients and work after which the local cluster ends itself; 0: never"),
        Setting("result_expires", _seconds, 86_400.0, "seconds that the record of a finished task is kept; 0: for ever"),
        Setting("max_result_bytes", _count, 2**30, "bytes of finished records past which the oldest go"),
        Setting("journal_sync", _one_of("none", "batch"), "none", "batch: the broker's journal is on disk before others are told, so that it survives a power failure; none: only the broker's own death"),
        Setting("max_output_bytes", _count, 2**20, "characters of output kept a task; past them the middle is dropped"),
        Setting("max_connections", _count, 10_000, "clients, workers and executors (two each) past which a broker refuses newcomers"),
    )
}  # fmt: skip


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
        """Set several at once; None means the default."""
        for name, value in values.items():
            row = _row(name)
            if value is None:
                self._values.pop(row.name, None)
            else:
                self._values[row.name] = value
        object.__setattr__(self, "version", self.version + 1)

    def lookup(self, name: str) -> tuple[Any, str]:
        """The value of a setting, and where it comes from: an environment variable's name, "code" or "default"."""
        row = _row(name)
        for variable in (f"NBQUEUE_{row.name.upper()}", *row.aliases):
            text = os.environ.get(variable)
            if text:
                try:
                    return row.convert(text), variable
                except ValueError as error:
                    raise ConfigurationError(f"{variable}={text!r}: {error}") from None
        if row.name in self._values:
            return self._values[row.name], "code"
        return row.default, "default"


def _row(name: str) -> Setting:
    try:
        return SETTINGS[name]
    except KeyError:
        if name.startswith("__"):  # copy, pickle and inspect ask for these
            raise AttributeError(name) from None
        near = difflib.get_close_matches(name, SETTINGS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else f"; there are: {', '.join(SETTINGS)}"
        raise ConfigurationError(f"no setting is called {name!r}{hint}") from None
