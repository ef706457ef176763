"""What a worker and its executors are told at their start: JSON on standard input, never argv, since
it holds the broker's key."""

import os
import re
import socket
import sys
from typing import Any, Final

import msgspec

from nbqueue._version import __version__
from nbqueue.core.amounts import MEMORY
from nbqueue.exceptions import ConfigurationError
from nbqueue.messages import EXECUTOR, WORKER, Hello
from nbqueue.platform import cores, memory_size
from nbqueue.settings import Settings
from nbqueue.transports import transport
from nbqueue.transports.base import Transport
from nbqueue.wire import keys, signing
from nbqueue.wire.keys import Connection

#: seconds between two signs of life, until the broker's Welcome says otherwise
HEARTBEAT: Final = 2.0
#: and that a word of the broker's is good for, likewise
LEASE: Final = 10.0
POOLS: Final = ("processes", "threads", "solo")


class WorkerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What ``nbqueue worker`` was asked for."""

    #: of the broker, ``zmq://host:port`` or ``redis://…``
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
    #: what tasks may demand of their worker, beside a queue
    tags: tuple[str, ...] = ()
    #: what its executors share; ``memory`` in bytes, this machine's if it is not named
    resources: dict[str, float] = {}
    #: "processes": each runs one task at a time; "threads": one process that runs ``concurrency`` tasks;
    #: "solo": one process, one task
    pool: str = "processes"
    #: async tasks that a process runs together
    concurrency_async: int = 1
    #: most and least executors, by how busy they are; None: as many as ``concurrency`` says
    autoscale: tuple[int, int] | None = None
    #: tasks after which an executor is replaced, and KiB of memory; 0: never
    max_tasks_per_child: int = 0
    max_memory_per_child: int = 0
    #: seconds, of tasks that have no limit of their own
    time_limit: float | None = None
    soft_time_limit: float | None = None
    #: replace executors when the code of their tasks changes
    autoreload: bool = False
    #: of what is kept in Redis; "" for a broker that needs none
    signing_key: str = ""
    #: what a broker process would have: settings by name, where there is none
    settings: dict[str, Any] = {}

    @property
    def processes(self) -> int:
        """How many executors there are at first."""
        if self.pool != "processes":
            return 1
        return self.autoscale[1] if self.autoscale else self.concurrency or cores()

    @property
    def slots(self) -> int:
        """Tasks that an executor runs at once."""
        return (self.concurrency or cores()) if self.pool == "threads" else self.concurrency_async

    @property
    def offered(self) -> dict[str, float]:
        """What tasks may occupy."""
        return {MEMORY: float(memory_size()), **self.resources}

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


def remember(options: WorkerOptions) -> WorkerOptions:
    """Make the keys known to this process; returns the options with those that it was told otherwise."""
    if options.connection:
        keys.remember(keys.decode_key(options.connection, keys.parse_url(options.url)))
    hidden = signing.hide()
    if options.signing_key:
        signing.remember(options.signing_key)
        return options
    return msgspec.structs.replace(options, signing_key=hidden)


def way_to_broker(options: WorkerOptions) -> Transport:
    """The transport, after :func:`remember`."""
    return transport(options.url, Settings(**options.settings))


def checked(options: WorkerOptions, **changes: Any) -> WorkerOptions:
    """The options with changes, if they go together.

    Raises
    ------
    ConfigurationError
        They do not.
    """
    options = msgspec.structs.replace(options, **changes)
    if options.pool not in POOLS:
        raise ConfigurationError(f"there is no pool {options.pool!r}; there are: {', '.join(POOLS)}")
    if options.autoscale is not None:
        most, least = options.autoscale
        if not 1 <= least <= most:
            raise ConfigurationError(f"autoscale={most},{least}: MAX,MIN with MIN of 1 or more is expected")
        if options.pool != "processes":
            raise ConfigurationError(f"a pool of {options.pool} has its size from the start: no autoscale")
    if options.pool == "threads" and options.concurrency_async > 1:
        raise ConfigurationError("in a pool of threads async tasks count like all others: give --concurrency")
    if options.pool == "threads" and options.time_limit is not None:
        raise ConfigurationError(
            "a time limit ends a process, and with it the tasks beside it: use a pool of processes, or give"
            " tasks a soft_time_limit"
        )
    if options.autoreload and not options.app:
        raise ConfigurationError("autoreload watches the modules of an application: give it with -A")
    hard, soft = options.time_limit, options.soft_time_limit
    if hard is not None and soft is not None and soft > hard:
        raise ConfigurationError(f"soft_time_limit ({soft:g} s) is above time_limit ({hard:g} s)")
    return options


def worker_identity(options: WorkerOptions, id: str, queues: list[str]) -> Hello:
    """The supervisor's Hello."""
    return msgspec.structs.replace(_identity(options, WORKER, id, id), queues=queues)


def executor_identity(options: ExecutorOptions, registered: list[str]) -> Hello:
    """An executor's Hello."""
    hello = _identity(options.worker, EXECUTOR, options.executor_id, options.worker_id)
    limits = [options.worker.time_limit, options.worker.soft_time_limit]
    return msgspec.structs.replace(
        hello, registered=registered, slots=options.worker.slots, limits=limits if any(limits) else []
    )


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
        tags=list(options.tags),
        resources=options.offered,
    )
