"""What a monitor knows of tasks and workers from their events: ``app.events.State()``.

With Celery's names, so that monitors that were written for it run here.  The broker itself knows more, and
sooner: ``nbqueue.attach()``, ``app.control.inspect()``.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from operator import attrgetter
from types import TracebackType
from typing import Any, ClassVar, Final, Self, TypeVar

from nbqueue.states import (
    FAILURE,
    PENDING,
    READY_STATES,
    RECEIVED,
    REJECTED,
    RETRY,
    REVOKED,
    STARTED,
    SUCCESS,
)

#: type of an event → state of its task
_STATES: Final = {
    "task-sent": PENDING,
    "task-received": RECEIVED,
    "task-started": STARTED,
    "task-succeeded": SUCCESS,
    "task-failed": FAILURE,
    "task-retried": RETRY,
    "task-revoked": REVOKED,
    "task-rejected": REJECTED,
}
#: heartbeats that a worker may leave out
_PATIENCE: Final = 3


class _Seen:
    """What events have said of something; what none has said is None."""

    fields: ClassVar[tuple[str, ...]] = ()

    def __getattr__(self, name: str) -> Any:
        if name in type(self).fields:
            return None
        raise AttributeError(f"{type(self).__name__} has no {name!r}")

    def _take(self, event: Mapping[str, Any]) -> None:
        vars(self).update({name: value for name, value in event.items() if name in type(self).fields})


class Worker(_Seen):
    """A worker, as its last event described it."""

    fields = ("hostname", "pid", "freq", "active", "processed", "loadavg", "sw_ident", "sw_ver", "sw_sys")

    def __init__(self, hostname: str) -> None:
        self.hostname = hostname
        #: when its heartbeats came, Unix seconds
        self.heartbeats: list[float] = []
        self._offline = False

    def __repr__(self) -> str:
        return f"<Worker: {self.hostname} ({self.status_string})>"

    @property
    def id(self) -> str:
        return f"{self.hostname}.{self.pid}"

    @property
    def heartbeat_expires(self) -> float:
        """When it counts as lost, Unix seconds."""
        return (self.heartbeats[-1] if self.heartbeats else 0.0) + _PATIENCE * (self.freq or 2.0)

    @property
    def alive(self) -> bool:
        """Whether it has not gone, and its last heartbeat is not old."""
        return not self._offline and time.time() < self.heartbeat_expires

    @property
    def status_string(self) -> str:
        return "ONLINE" if self.alive else "OFFLINE"

    def event(self, type: str, event: Mapping[str, Any]) -> None:
        """One of its own events, without ``worker-`` before its type."""
        self._take(event)
        self._offline = type == "offline"
        self.heartbeats = [*self.heartbeats, float(event["timestamp"])][-_PATIENCE:]


class Task(_Seen):
    """A task, as its events have described it; times are Unix seconds."""

    fields = (
        "uuid", "name", "args", "kwargs", "eta", "expires", "retries", "worker", "result", "exception",
        "timestamp", "runtime", "traceback", "queue", "exchange", "routing_key", "root_id", "parent_id",
        "client", "sent", "received", "started", "succeeded", "failed", "retried", "revoked", "rejected",
    )  # fmt: skip
    #: of :meth:`info`
    _shown: ClassVar[tuple[str, ...]] = (
        "args", "kwargs", "retries", "result", "eta", "runtime", "expires", "exception", "exchange",
        "routing_key", "root_id", "parent_id",
    )  # fmt: skip

    #: that it was given to
    worker: Worker | None = None

    def __init__(self, uuid: str) -> None:
        self.uuid = uuid
        self.state: str = PENDING

    def __repr__(self) -> str:
        return f"<Task: {self.name}({self.uuid}) {self.state}>"

    @property
    def id(self) -> str:
        return self.uuid

    @property
    def ready(self) -> bool:
        """Whether it has ended."""
        return self.state in READY_STATES

    def event(self, type: str, event: Mapping[str, Any]) -> None:
        """One of its events, without ``task-`` before its type."""
        self._take(event)
        vars(self)[type] = event["timestamp"]
        state = _STATES.get(f"task-{type}")
        if state is not None and not (self.ready and state not in READY_STATES):  # events may come late
            self.state = state

    def info(self, fields: tuple[str, ...] | None = None, extra: tuple[str, ...] = ()) -> dict[str, Any]:
        """What is known of it beside name and state."""
        names = (*(self._shown if fields is None else fields), *extra)
        found = {name: getattr(self, name, None) for name in names}
        return {name: value for name, value in found.items() if value is not None}

    def as_dict(self) -> dict[str, Any]:
        """Everything, by name."""
        return {name: getattr(self, name) for name in ("uuid", "state", *type(self).fields)}


class State:
    """Tasks and workers that events were about: ``tasks`` by id, ``workers`` by name.

    Parameters
    ----------
    callback
        Called with each event, after it has been taken in.
    max_workers_in_memory, max_tasks_in_memory
        Past which the one that was heard of longest ago is dropped.
    """

    def __init__(
        self,
        callback: Callable[["State", Mapping[str, Any]], object] | None = None,
        max_workers_in_memory: int = 5000,
        max_tasks_in_memory: int = 10_000,
        **_: Any,
    ) -> None:
        self.tasks: OrderedDict[str, Task] = OrderedDict()
        self.workers: OrderedDict[str, Worker] = OrderedDict()
        self.event_count = 0
        #: tasks that were seen for the first time
        self.task_count = 0
        self.event_callback = callback
        self._most_workers, self._most_tasks = max_workers_in_memory, max_tasks_in_memory
        self._lock = threading.RLock()

    def __repr__(self) -> str:
        return f"<State: events={self.event_count} tasks={self.task_count}>"

    def event(self, event: Mapping[str, Any]) -> None:
        """Take in an event."""
        group, _, type = str(event["type"]).partition("-")
        with self._lock:
            self.event_count += 1
            hostname = event.get("hostname")
            worker = self.get_or_create_worker(hostname)[0] if hostname else None
            if group == "worker" and worker is not None:
                worker.event(type, event)
            elif group == "task":
                task, is_new = self.get_or_create_task(event["uuid"])
                self.task_count += is_new
                task.event(type, event)
                if worker is not None:
                    task.worker = worker
        if self.event_callback is not None:
            self.event_callback(self, event)

    def get_or_create_worker(self, hostname: str, **_: Any) -> tuple[Worker, bool]:
        """(the worker, whether it is new)."""
        return _kept(self.workers, hostname, Worker, self._most_workers)

    def get_or_create_task(self, uuid: str) -> tuple[Task, bool]:
        """(the task, whether it is new)."""
        return _kept(self.tasks, uuid, Task, self._most_tasks)

    # ── looking ──────────────────────────────────────────────────────────────────────────────

    def itertasks(self, limit: int | None = None) -> Iterator[tuple[str, Task]]:
        """(id, task) of those seen, the one heard of longest ago first."""
        return iter(list(self.tasks.items())[:limit])

    def tasks_by_time(self, limit: int | None = None, reverse: bool = True) -> Iterator[tuple[str, Task]]:
        """(id, task), by the time of their last event; the newest first."""
        tasks = sorted(self.tasks.values(), key=attrgetter("timestamp"), reverse=reverse)
        return iter([(task.uuid, task) for task in tasks[:limit]])

    tasks_by_timestamp = tasks_by_time

    def tasks_by_type(self, name: str, limit: int | None = None) -> Iterator[tuple[str, Task]]:
        """(id, task) of a name."""
        return iter([(id, task) for id, task in self.tasks_by_time() if task.name == name][:limit])

    def tasks_by_worker(self, hostname: str, limit: int | None = None) -> Iterator[tuple[str, Task]]:
        """(id, task) that a worker had."""
        found = [
            (id, task)
            for id, task in self.tasks_by_time()
            if task.worker and task.worker.hostname == hostname
        ]
        return iter(found[:limit])

    def task_types(self) -> list[str]:
        """Names of the tasks that were seen."""
        return sorted({task.name for task in self.tasks.values() if task.name})

    def alive_workers(self) -> Iterator[Worker]:
        """Those that are there."""
        return iter([worker for worker in self.workers.values() if worker.alive])

    # ── forgetting ───────────────────────────────────────────────────────────────────────────

    def clear_tasks(self, ready: bool = True) -> None:
        """Drop tasks; with ``ready`` only those that have ended."""
        with self._lock:
            for id, task in list(self.tasks.items()):
                if task.ready or not ready:
                    del self.tasks[id]

    def clear(self, ready: bool = True) -> None:
        """Drop tasks as :meth:`clear_tasks`, all workers, and what was counted."""
        with self._lock:
            self.clear_tasks(ready)
            self.workers.clear()
            self.event_count = self.task_count = 0


_K = TypeVar("_K")


def _kept(of: OrderedDict[str, _K], key: str, make: Callable[[str], _K], most: int) -> tuple[_K, bool]:
    is_new = key not in of
    found = of.setdefault(key, make(key)) if is_new else of[key]
    of.move_to_end(key)
    while len(of) > most:
        of.popitem(last=False)
    return found, is_new


class Polaroid:
    """Celery's camera: ``on_shutter(state)`` of a subclass is called every ``freq`` seconds, in a thread, as
    long as its ``with`` goes on."""

    #: drop tasks that have ended, and counts, after each
    clear_after = False

    def __init__(self, state: State, freq: float = 1.0, **_: Any) -> None:
        self.state = state
        self.freq = freq
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, name="nbqueue camera", daemon=True)

    def on_shutter(self, state: State) -> None:
        """What is to be done with the state."""

    def on_cleanup(self) -> None:
        """After ``on_shutter``, with ``clear_after``."""

    def shutter(self) -> None:
        """Take a picture now."""
        self.on_shutter(self.state)
        if self.clear_after:
            self.on_cleanup()
            self.state.clear()

    capture = shutter

    def install(self) -> None:
        """Begin."""
        self._thread.start()

    def cancel(self) -> None:
        """End, with a last picture."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()
        self.shutter()

    def __enter__(self) -> Self:
        self.install()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, lines: TracebackType | None
    ) -> None:
        self.cancel()

    def _work(self) -> None:
        while not self._over.wait(self.freq):
            self.shutter()
