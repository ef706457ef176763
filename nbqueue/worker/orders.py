"""What a worker is asked and told by remote control: one function a command, each with Celery's answer.

An order arrives at the supervisor's link, is carried out in its loop, and answered at once.
"""

import os
import platform as python_platform
import re
import resource
import sys
from collections import OrderedDict
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any, Final, Protocol

import msgspec

from nbqueue._version import __version__
from nbqueue.conversions import count
from nbqueue.exceptions import ConfigurationError
from nbqueue.messages import Order, Reply
from nbqueue.settings import SETTINGS, Settings
from nbqueue.worker.options import WorkerOptions

#: orders of which the reply is remembered, should they come twice
REMEMBERED: Final = 100
#: user and password in a URL
_PASSWORD: Final = re.compile(r"://[^/@\s]*@")


class Worker(Protocol):
    """What orders do to a supervisor."""

    @property
    def executors(self) -> list[int]:
        """Pids."""

    def shutdown(self, reason: str = "") -> None: ...
    def grow(self, count: int = 1) -> None: ...
    def shrink(self, count: int = 1) -> None: ...
    def restart(self) -> None: ...
    def autoscale(self, most: int, least: int) -> None: ...
    def add_consumer(self, queue: str) -> None: ...
    def cancel_consumer(self, queue: str) -> None: ...


class Orders:
    """Carries out what a worker is ordered; ``worker`` is its supervisor."""

    def __init__(self, worker: Worker, options: WorkerOptions) -> None:
        self._worker = worker
        self._options = options
        self._began = monotonic()
        self._replies: OrderedDict[int, Reply] = OrderedDict()
        self._commands: Mapping[str, Callable[[dict[str, Any]], Any]] = {
            "ping": lambda args: {"ok": "pong"},
            "stats": self._stats,
            "conf": self._conf,
            "report": self._report,
            "shutdown": self._shutdown,
            "pool_grow": self._pool_grow,
            "pool_shrink": self._pool_shrink,
            "pool_restart": self._pool_restart,
            "autoscale": self._autoscale,
            "add_consumer": self._add_consumer,
            "cancel_consumer": self._cancel_consumer,
        }

    def obey(self, order: Order) -> Reply:
        """Carry out an order; one that comes twice, once."""
        reply = self._replies.get(order.number)
        if reply is None:
            reply = self._replies[order.number] = self._carry_out(order)
            while len(self._replies) > REMEMBERED:
                self._replies.popitem(last=False)
        return reply

    def forget(self) -> None:
        """Another broker counts from 1."""
        self._replies.clear()

    def _carry_out(self, order: Order) -> Reply:
        command = self._commands.get(order.command)
        if command is None:
            return Reply(
                order.number, error=f"this worker, nbqueue {__version__}, knows no {order.command!r}"
            )
        try:
            return Reply(order.number, command(order.args))
        except (ConfigurationError, ValueError, TypeError) as error:
            return Reply(order.number, error=str(error))
        except KeyError as error:
            return Reply(order.number, error=f"{order.command} needs {error}")

    # ── what is asked ────────────────────────────────────────────────────────────────────────

    def _stats(self, args: dict[str, Any]) -> dict[str, Any]:
        pids = self._worker.executors
        return {
            "pid": os.getpid(),
            "uptime": int(monotonic() - self._began),
            "broker": {"url": _censored(self._options.url)},
            "pool": {
                "implementation": "nbqueue.worker.supervisor",
                "max-concurrency": len(pids),
                "processes": pids,
            },
            "tags": list(self._options.tags),
            "resources": self._options.offered,
            "rusage": _rusage(),
            "memory": _memory(pids),
        }

    def _conf(self, args: dict[str, Any]) -> dict[str, Any]:
        settings = Settings()
        values = {name: _censored(settings.lookup(name)[0]) for name in SETTINGS}
        options = msgspec.to_builtins(self._options)
        options["url"] = _censored(options["url"])
        options.pop("connection")
        return {**values, "worker": options}

    def _report(self, args: dict[str, Any]) -> dict[str, Any]:
        settings = Settings()
        said = {name: settings.lookup(name) for name in SETTINGS}
        lines = [
            f"software -> nbqueue:{__version__} py:{python_platform.python_version()}",
            f"platform -> system:{os.uname().sysname} arch:{os.uname().machine} kernel:{os.uname().release}",
            f"python   -> {sys.executable}",
            f"broker   -> {_censored(self._options.url)}",
            *(f"{n}: {_censored(v)!r} ({source})" for n, (v, source) in said.items() if source != "default"),
        ]
        return {"ok": "\n".join(lines)}

    # ── what is to be done ───────────────────────────────────────────────────────────────────

    def _shutdown(self, args: dict[str, Any]) -> dict[str, Any]:
        self._worker.shutdown("told to by remote control")
        return {"ok": "shutting down"}

    def _pool_grow(self, args: dict[str, Any]) -> dict[str, Any]:
        self._worker.grow(_several(args.get("n", 1)))
        return {"ok": "pool will grow"}

    def _pool_shrink(self, args: dict[str, Any]) -> dict[str, Any]:
        self._worker.shrink(_several(args.get("n", 1)))
        return {"ok": "pool will shrink"}

    def _pool_restart(self, args: dict[str, Any]) -> dict[str, Any]:
        self._worker.restart()
        return {"ok": "reload started"}

    def _autoscale(self, args: dict[str, Any]) -> dict[str, Any]:
        most, least = _several(args["max"]), count(args.get("min") or 0)
        self._worker.autoscale(most, least)
        return {"ok": f"autoscale now max={most} min={least}"}

    def _add_consumer(self, args: dict[str, Any]) -> dict[str, Any]:
        self._worker.add_consumer(str(args["queue"]))
        return {"ok": f"add consumer {args['queue']}"}

    def _cancel_consumer(self, args: dict[str, Any]) -> dict[str, Any]:
        self._worker.cancel_consumer(str(args["queue"]))
        return {"ok": f"no longer consuming from {args['queue']}"}


def _several(value: Any) -> int:
    found = count(value)
    if found < 1:
        raise ValueError(f"a number of processes, 1 or more, is expected, not {value!r}")
    return found


def _censored(value: Any) -> Any:
    """A value that any output can hold, without the password that a URL may have."""
    if isinstance(value, str):
        return _PASSWORD.sub("://********@", value)
    return value if isinstance(value, int | float | bool | None) else _censored(str(value))


def _rusage() -> dict[str, float]:
    """Of the supervisor, as Celery names it."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    names = ("utime", "stime", "maxrss", "minflt", "majflt", "inblock", "oublock", "nvcsw", "nivcsw")
    return {name: getattr(usage, f"ru_{name}") for name in names}


def _memory(pids: list[int]) -> dict[str, int]:
    """Bytes that each process has of real memory, by pid."""
    import psutil  # 20 ms to load, and not every worker is asked

    found = {}
    for pid in [os.getpid(), *pids]:
        try:
            found[str(pid)] = psutil.Process(pid).memory_info().rss
        except psutil.Error:  # it has just ended
            continue
    return found
