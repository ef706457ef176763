"""The local cluster's workers: one supervisor an environment (``sys.prefix``), with executors of its own.

Which ones there are is known to the broker, but only once they have connected; until then a record
beside the broker's connection file says that one is on its way.
"""

import hashlib
import socket
import sys
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import msgspec

from nbqueue import platform
from nbqueue.launch.ask import ask
from nbqueue.launch.errors import LaunchError
from nbqueue.launch.processes import Child, tail
from nbqueue.settings import Settings
from nbqueue.wire import keys
from nbqueue.wire.keys import Connection

_LOOK_EVERY = 0.02


class LocalWorker(msgspec.Struct, frozen=True):
    """A supervisor that was started here, and the broker that it was started for."""

    pid: int
    #: see ``platform.process_started``
    started: float
    broker_pid: int
    broker_started: float
    #: executors that it has when it is ready
    processes: int

    @property
    def is_alive(self) -> bool:
        return platform.process_alive(self.pid, self.started)

    def serves(self, connection: Connection) -> bool:
        return (self.broker_pid, self.broker_started) == (connection.pid, connection.started)


def spawn(cwd: Path) -> Child:
    """Start a supervisor, which waits for :func:`configure`; its tasks find the files of ``cwd``."""
    return Child("nbqueue.worker", cwd=cwd, log=log_path())


def configure(
    child: Child, connection: Connection, processes: int, queues: Sequence[str], settings: Settings
) -> None:
    """Connect a new supervisor to the broker, and put it on record."""
    processes = processes or platform.cores()
    child.configure(
        {
            "url": connection.url,
            "name": f"{_environment_name()}@{socket.gethostname()}",
            "concurrency": processes,
            "queues": queues,
            "local": True,
            "env": sys.prefix,
            "max_tasks_per_child": settings.worker_max_tasks_per_child,
            "max_memory_per_child": settings.worker_max_memory_per_child,
            "log_format": settings.worker_log_format,
            "task_log_format": settings.worker_task_log_format,
        }
    )
    started = platform.process_started(child.pid)
    worker = LocalWorker(child.pid, started, connection.pid, connection.started, processes)
    platform.write_private(_record_path(), msgspec.json.encode(worker))


def is_recorded(connection: Connection) -> bool:
    """Whether this environment's worker for that broker was started, and lives."""
    worker = _read(_record_path())
    return worker is not None and worker.serves(connection) and worker.is_alive


def has_died(connection: Connection) -> bool:
    """Whether this environment's worker for that broker was started, and is no more."""
    worker = _read(_record_path())
    return worker is not None and worker.serves(connection) and not worker.is_alive


def strike_off_dead() -> None:
    """Forget this environment's worker if it is no more: another one that is there does its work."""
    worker = _read(_record_path())
    if worker is not None and not worker.is_alive:
        _record_path().unlink(missing_ok=True)


def adopt(dead: Connection, successor: Connection) -> None:
    """Put on record that the workers of a broker which died, of any environment, are its successor's."""
    for path in _folder().glob("*.json"):
        worker = _read(path)
        if worker is not None and worker.serves(dead) and worker.is_alive:
            taken = msgspec.structs.replace(
                worker, broker_pid=successor.pid, broker_started=successor.started
            )
            platform.write_private(path, msgspec.json.encode(taken))


def is_there(connection: Connection, queues: Collection[str]) -> bool:
    """Whether this environment has a worker for these queues, on its way or connected, whoever started it."""
    return is_recorded(connection) or any(
        not set(queues).difference(worker["queues"])
        for worker in for_this_environment(ask(connection.url, "status"))
    )


def recorded() -> list[LocalWorker]:
    """All supervisors of the local cluster that live, of any environment."""
    return [worker for path in _folder().glob("*.json") if (worker := _read(path)) and worker.is_alive]


def local_pids(status: dict[str, Any]) -> list[int]:
    """The supervisors that end with their broker, of any environment and whoever started them."""
    return [worker["pid"] for worker in status["workers"] if _is_here(worker)]


def wait_ready(connection: Connection, timeout: float = 15.0) -> dict[str, Any]:
    """Wait until this environment's worker can run tasks, and return the broker's status.

    Raises
    ------
    LaunchError
        It died, or is not ready in time; the message has the last lines of its log.
    """
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        status: dict[str, Any] = ask(connection.url, "status")
        expected = _read(_record_path())
        if _is_complete(status, expected):
            return status
        if expected is None or not expected.is_alive:
            break
        time.sleep(_LOOK_EVERY)
    raise LaunchError(f"the worker did not start; its log {log_path()} ends with:\n{tail(log_path())}")


def _is_complete(status: dict[str, Any], expected: LocalWorker | None) -> bool:
    """Whether the worker on record has all its executors; without one, whether any worker has some."""
    if expected is None or not expected.is_alive:
        return any(worker["children"] for worker in for_this_environment(status))
    found = (worker for worker in status["workers"] if worker["pid"] == expected.pid and _is_here(worker))
    return any(len(worker["children"]) >= expected.processes for worker in found)


def log_path() -> Path:
    return keys.data_dir() / "worker.log"


def for_this_environment(status: dict[str, Any]) -> list[dict[str, Any]]:
    """Workers that run what is submitted from here; those started by hand serve any environment."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    return [
        worker
        for worker in status["workers"]
        if worker["env"] in ("", sys.prefix) and worker["python"] == python and not _has_died(worker)
    ]


def _has_died(worker: dict[str, Any]) -> bool:
    """Whether it is one of ours that was killed, which the broker notices only by its missing heartbeats."""
    return _is_here(worker) and not platform.process_alive(worker["pid"])


def _is_here(worker: dict[str, Any]) -> bool:
    return bool(worker["local"]) and worker["host"] == socket.gethostname()


def _environment_name() -> str:
    """What tells environments apart in a list of workers: ``base``, or the project's name of a ``.venv``."""
    folder = Path(sys.prefix)
    return folder.parent.name if folder.name.lstrip(".") in {"venv", "env"} else folder.name


def _folder() -> Path:
    folder = keys.data_dir() / "workers"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def _record_path() -> Path:
    return _folder() / f"{hashlib.sha256(sys.prefix.encode()).hexdigest()[:16]}.json"


def _read(path: Path) -> LocalWorker | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=LocalWorker)
    except (OSError, msgspec.MsgspecError):
        return None
