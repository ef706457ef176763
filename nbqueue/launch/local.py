"""The local cluster: one broker a user and machine, one worker an environment, started on first use.

::

    find()     connection file ──▶ the broker that runs here, or None
    ensure()   find it, or start it; see that this environment has a worker
    revive()     start again what has died, and nothing that was stopped
    teardown.stop()

Once it runs, ``ensure`` reads two small files.  Starting and stopping go under a lock, so that two kernels
that start at once get one broker and one worker, and what is stopped stays so::

    lock ── spawn broker ──▶ imports, binds, writes its connection file ─┐
         └─ spawn worker ──▶ imports, waits for its options ◀────────────┴─ unlock

The worker's interpreter comes up while the broker's does, so that the first result is not long in coming.

A broker that died without taking its leave is started again as it was: with the options on record, at its
last address if that is free, for the workers that have outlived it.
"""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec

from nbqueue import platform
from nbqueue._version import __version__
from nbqueue.core.settings import BrokerSettings
from nbqueue.launch import workers
from nbqueue.launch.errors import LaunchError, UnusableFolderError
from nbqueue.launch.processes import Child, tail
from nbqueue.platform import FileLock
from nbqueue.settings import Settings
from nbqueue.wire import keys
from nbqueue.wire.keys import Connection

#: Seconds for which another process may hold the start lock, and a broker may take to write its connection
#: file; either takes a third of one, and ten for a journal of a million tasks.
_LOCK_PATIENCE, _BROKER_PATIENCE = 90.0, 60.0
_LOOK_EVERY = 0.005


class LocalBroker(msgspec.Struct, frozen=True):
    """A broker that was started here, and how."""

    pid: int
    #: see ``platform.process_started``
    started: float
    #: of nbqueue
    version: str
    #: see ``broker.options``
    options: dict[str, Any]

    def is_of(self, connection: Connection) -> bool:
        return (self.pid, self.started) == (connection.pid, connection.started)


def find() -> Connection | None:
    """The broker of the local cluster, if it runs; its key is remembered for links to its URL."""
    connection = keys.running(keys.data_dir())
    if connection is not None:
        keys.remember(connection)
    return connection


def ensure(settings: Settings, *, bind: str = "", processes: int = 0) -> Connection:
    """Find the local cluster, or start it: its broker, and a worker for this environment.

    Returns as soon as the broker listens; the worker connects a moment later (``workers.wait_ready``).

    Parameters
    ----------
    settings
        What a broker and a worker are started with; those that run already keep theirs.
    bind
        ``HOST[:PORT]`` on which a new broker listens; "" is this machine only.
    processes
        Executor processes of a new worker; 0: the setting ``workers``.

    Raises
    ------
    LaunchError
        They do not start; the message has the last lines of the log.
    ConfigurationError
        A folder for their files cannot be used, or settings of the broker do not go together.
    """
    connection = find()
    if connection is not None and workers.is_recorded(connection):
        return connection
    with _usable_folder(), start_lock():
        return _start(settings, bind, processes or settings.workers)


def ensure_broker(settings: Settings) -> Connection:
    """Find the broker of the local cluster, or start it alone: for a worker that is started otherwise.

    Raises as :func:`ensure` does.
    """
    with _usable_folder(), start_lock():
        return find() or _start_broker(settings, bind="")


def revive(settings: Settings) -> Connection | None:
    """Start again what has died of the local cluster; None if it was stopped meanwhile, and stays so.

    Raises as :func:`ensure` does.
    """
    with _usable_folder(), start_lock():
        if find() is None and keys.left_over(keys.data_dir()) is None:
            return None
        return _start(settings, "", settings.workers)


def is_ours(connection: Connection) -> bool:
    """Whether that broker was started here, rather than by somebody who will look after it himself."""
    record = _record()
    return record is not None and record.is_of(connection)


def has_crashed() -> bool:
    """Whether the broker of the local cluster died, and was not started again yet: its next use does."""
    dead = keys.left_over(keys.data_dir())
    return dead is not None and is_ours(dead)


def last_words() -> str:
    """The end of the broker's log, for an error message."""
    log = _log_path()
    return f"its log {log} ends with:\n{tail(log)}"


def _start(settings: Settings, bind: str, processes: int) -> Connection:
    connection = find()
    dead = keys.left_over(keys.data_dir())
    if connection is None and dead is not None:
        connection = _start_broker(settings, bind)
        workers.adopt(dead, connection)
    queues = list(dict.fromkeys(("default", settings.task_default_queue)))
    if connection is not None and workers.is_there(connection, queues):
        workers.strike_off_dead()
        return connection
    worker = workers.spawn(Path.cwd())
    try:
        connection = connection or _start_broker(settings, bind)
        workers.configure(worker, connection, processes, queues, settings)
    except BaseException:
        worker.terminate()
        raise
    return connection


def broker_settings(settings: Settings) -> BrokerSettings:
    """The part of the settings that a broker is started with.

    Raises
    ------
    ConfigurationError
        They do not go together.
    """
    return BrokerSettings.of(settings)


def _start_broker(settings: Settings, bind: str) -> Connection:
    folder = keys.data_dir()
    log = _log_path()
    options = _options_of_the_dead(bind) or {
        "bind": bind,
        "data_dir": str(folder),
        "journal_sync": settings.journal_sync,
        "settings": asdict(broker_settings(settings)),
    }
    # not in the notebook's folder, which may be moved or unmounted
    broker = Child("nbqueue.broker", cwd=folder, log=log)
    broker.configure(options)
    record = LocalBroker(broker.pid, platform.process_started(broker.pid), __version__, options)
    platform.write_private(_record_path(), msgspec.json.encode(record))
    return _listening(broker, log)


def _options_of_the_dead(bind: str) -> dict[str, Any] | None:
    """Those of the last broker, if it is to be started again as it was."""
    dead, record = keys.left_over(keys.data_dir()), _record()
    if dead is None or record is None or not record.is_of(dead) or record.version != __version__:
        return None
    return {**record.options, "bind": bind or record.options["bind"]}


def _record() -> LocalBroker | None:
    try:
        return msgspec.json.decode(_record_path().read_bytes(), type=LocalBroker)
    except (OSError, msgspec.MsgspecError):
        return None


def _record_path() -> Path:
    return keys.data_dir() / "launched.json"


def _log_path() -> Path:
    return keys.data_dir() / "broker.log"


def _listening(broker: Child, log: Path) -> Connection:
    deadline = time.monotonic() + _BROKER_PATIENCE
    while (connection := find()) is None:
        if broker.exit_code is not None:
            text = tail(log, broker.log_start)
            raise LaunchError(f"the broker did not start; its log {log} ends with:\n{text}")
        if time.monotonic() > deadline:
            broker.terminate()
            raise LaunchError(f"the broker was not ready in {_BROKER_PATIENCE:g} s; its log is {log}")
        time.sleep(_LOOK_EVERY)
    return connection


@contextlib.contextmanager
def start_lock() -> Iterator[None]:
    """Held by whoever starts or stops the local cluster: one at a time, also within a process.

    Raises
    ------
    LaunchError
        Somebody has held it for too long.
    """
    lock = FileLock(keys.data_dir() / "start.lock")
    deadline = time.monotonic() + _LOCK_PATIENCE
    while not lock.acquire():
        if time.monotonic() > deadline:
            raise LaunchError(
                f"process {lock.holder()} has been starting or stopping the local cluster too long: end it"
            )
        time.sleep(_LOOK_EVERY)
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def _usable_folder() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if isinstance(error, ConnectionError):  # ours: LaunchError and the like are connection errors too
            raise
        reason = error.strerror or error
        advice = "make room there, or name another folder by NBQUEUE_DATA_DIR"
        raise UnusableFolderError(
            f"the local cluster cannot use {keys.data_dir()}: {reason}; {advice}"
        ) from error
