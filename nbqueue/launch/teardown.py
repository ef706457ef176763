"""The end of the local cluster: asked for, waited for, and enforced on what does not go."""

import contextlib
import time
from collections.abc import Iterable, Iterator

import psutil

from nbqueue.exceptions import NBQueueError
from nbqueue.launch import local, workers
from nbqueue.launch.ask import ask
from nbqueue.launch.errors import LaunchError
from nbqueue.wire import keys
from nbqueue.wire.keys import Connection

#: Seconds that workers have to follow their broker, and anything to follow a signal.
_GRACE = 1.0
_LOOK_EVERY = 0.01


def stop(timeout: float = 10.0) -> int:
    """End broker and workers of the local cluster with all that they run.

    Parameters
    ----------
    timeout
        Seconds for them to end by themselves; then they are terminated.

    Returns
    -------
    int
        How many processes ended; 0 when nothing ran.

    Raises
    ------
    LaunchError
        Some process cannot be ended, or another one has been starting the cluster for too long.
    """
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(local.start_lock())  # a start that is under way is waited for, and then ended
        except LaunchError:
            raise
        except OSError:
            pass  # where the lock cannot be written, nothing can be started either
        return _stop(timeout)


def _stop(timeout: float) -> int:
    connection = local.find()
    connected = _connected(connection, timeout) if connection is not None else None
    pids = {*(connected or ()), *(worker.pid for worker in workers.recorded())}
    broker = list(_with_children([connection.pid] if connection is not None else []))
    # a worker that was started by hand may have started the broker
    followers = [process for process in _with_children(pids) if process not in broker]
    deadline = time.monotonic()
    if connection is not None and connected is not None:
        deadline += timeout
        with contextlib.suppress(NBQueueError):  # it ends while it answers
            ask(connection.url, "stop", timeout=timeout)
        _wait(broker, deadline)
    # from here on it counts as stopped however it ends, and no client starts it again
    (keys.data_dir() / "broker.json").unlink(missing_ok=True)
    _end(broker, deadline)
    _end(followers, time.monotonic() + _GRACE)
    return len(broker) + len(followers)


def _connected(connection: Connection, timeout: float) -> list[int] | None:
    """Its workers on this machine; None if the broker does not answer, or not in our protocol."""
    try:
        return workers.local_pids(ask(connection.url, "status", timeout=timeout))
    except NBQueueError:
        return None


def _with_children(pids: Iterable[int]) -> Iterator[psutil.Process]:
    """Processes and what they have started: taken before they end, so that no pid used again is mistaken."""
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            yield process
            yield from process.children()


def _end(processes: list[psutil.Process], deadline: float) -> None:
    """Wait for processes to end by themselves, then make them."""
    alive = _wait(processes, deadline)
    for end in (psutil.Process.terminate, psutil.Process.kill):
        for process in alive:
            with contextlib.suppress(psutil.NoSuchProcess):
                end(process)
        alive = _wait(alive, time.monotonic() + _GRACE)
    if alive:
        raise LaunchError(f"still running: {', '.join(str(process.pid) for process in alive)}")


def _wait(processes: list[psutil.Process], deadline: float) -> list[psutil.Process]:
    """Those that still run when all have ended or the time is over."""
    while (alive := [process for process in processes if _runs(process)]) and time.monotonic() < deadline:
        time.sleep(_LOOK_EVERY)
    return alive


def _runs(process: psutil.Process) -> bool:
    """A zombie has ended, whenever its parent gets round to collect it."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
