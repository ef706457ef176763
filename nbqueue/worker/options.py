"""What a worker and its executors are told at their start: JSON on standard input, never argv, since
it holds the broker's key."""

import os
import re
import socket
import sys
from typing import Final

import msgspec

from nbqueue._version import __version__
from nbqueue.messages import EXECUTOR, WORKER, Hello
from nbqueue.platform import cores
from nbqueue.wire import keys
from nbqueue.wire.keys import Connection

#: seconds between two signs of life, until the broker's Welcome says otherwise
HEARTBEAT: Final = 2.0


class WorkerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What ``nbqueue worker`` was asked for."""

    #: of the broker, ``zmq://host:port``
    url: str
    #: its key as ``keys.encode_key`` writes it; "" to look for it by the URL
    connection: str = ""
    #: executor processes; 0: one a core
    concurrency: int = 0
    queues: tuple[str, ...] = ("default",)
    #: shown name, in which %h is the host's name, %n its first part, %d the others; "" for ``worker@%h``
    name: str = ""
    #: ``module[:attr]`` whose tasks it has
    app: str = ""
    #: "DEBUG", "INFO", "WARNING", "ERROR"
    loglevel: str = "WARNING"
    #: file that takes the place of standard error; %h, %n, %d as in the name, %i the executor's number (0 for
    #: the supervisor), %I the same after a dash (nothing for the supervisor)
    logfile: str = ""
    #: of its own lines and of those of tasks, as in :mod:`logging`; "json"; "" for Celery's
    log_format: str = ""
    task_log_format: str = ""
    #: part of the local cluster: ends with its broker
    local: bool = False
    #: see the setting of that name; those of the local cluster have a patience of their own
    broker_patience: float = 3600.0
    #: serves tasks of this environment (a ``sys.prefix``) only; "" for any of its Python version, as somebody
    #: who starts a worker on another machine expects
    env: str = ""
    #: file that holds the supervisor's pid while it runs; "" for none
    pidfile: str = ""

    @property
    def processes(self) -> int:
        return self.concurrency or cores()

    @property
    def nodename(self) -> str:
        host = socket.gethostname()
        short, _, domain = host.partition(".")
        parts = {"%h": host, "%n": short, "%d": domain}
        return re.sub("%[hnd]", lambda found: parts[found[0]], self.name or "worker@%h")


class ExecutorOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a supervisor tells an executor."""

    worker: WorkerOptions
    worker_id: str
    executor_id: str
    #: file descriptor of its :class:`nbqueue.worker.slot.Slot`
    slot: int
    #: as its supervisor knows it: while it is away, nobody else could tell
    broker: Connection | None = None


def remember(options: WorkerOptions) -> None:
    """Make the broker's key known to this process."""
    if options.connection:
        keys.remember(keys.decode_key(options.connection, keys.parse_url(options.url)))


def worker_identity(options: WorkerOptions, id: str) -> Hello:
    """The supervisor's Hello."""
    return _identity(options, WORKER, id, id)


def executor_identity(options: ExecutorOptions, registered: list[str]) -> Hello:
    """An executor's Hello."""
    hello = _identity(options.worker, EXECUTOR, options.executor_id, options.worker_id)
    return msgspec.structs.replace(hello, registered=registered)


def _identity(options: WorkerOptions, role: str, id: str, worker: str) -> Hello:
    return Hello(
        role,
        id,
        version=__version__,
        host=socket.gethostname(),
        pid=os.getpid(),
        worker=worker,
        name=options.nodename,
        python=f"{sys.version_info.major}.{sys.version_info.minor}",
        env=options.env,
        queues=list(options.queues),
        local=options.local,
    )
