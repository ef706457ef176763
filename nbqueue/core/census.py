"""What workers have and do, as the broker knows it: the answers to ``inspect``, by worker.

Arguments are passed on unread; whoever asks makes of them what is safe.
"""

from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any, Final, NamedTuple, Protocol

from nbqueue.core.executors import ExecutorState, WorkerState
from nbqueue.core.queues import LaneKey
from nbqueue.core.records import DONE, LEASED, SCHEDULED, Record
from nbqueue.core.store import LOOKED_THROUGH
from nbqueue.states import REVOKED

#: bytes of arguments that are passed on
SHOWN_BYTES: Final = 4096
#: tasks in an answer
MOST: Final = 1000

Nodes = Mapping[str, WorkerState]


class Known(Protocol):
    """All records."""

    def get(self, id: str, /) -> Record | None: ...
    def newest(self, limit: int, /) -> list[Record]: ...


class Staff(Protocol):
    """Who runs tasks."""

    @property
    def executors(self) -> dict[str, ExecutorState]: ...


class Census(NamedTuple):
    """What the answers are made of."""

    records: Known
    dispatch: Staff
    #: added to a broker's time, gives Unix time
    epoch: float


def active(known: Census, nodes: Nodes, args: dict[str, Any]) -> dict[str, Any]:
    """Tasks that run."""
    return {
        node: [_info(known, *held) for held in _held(worker, running=True)] for node, worker in nodes.items()
    }


def reserved(known: Census, nodes: Nodes, args: dict[str, Any]) -> dict[str, Any]:
    """Tasks that executors have and did not begin."""
    return {
        node: [_info(known, *held) for held in _held(worker, running=False)] for node, worker in nodes.items()
    }


def scheduled(known: Census, nodes: Nodes, args: dict[str, Any]) -> dict[str, Any]:
    """Tasks that wait for their time, by the first worker that can run them; under "" those that none can."""
    found: dict[str, Any] = {node: [] for node in nodes}
    for record in _some(known, lambda record: record.place == SCHEDULED):
        entry = {
            "eta": record.due + known.epoch,
            "priority": record.task.priority,
            "request": _info(known, record, None),
        }
        found.setdefault(_home(known, nodes, record), []).append(entry)
    return found


def registered(known: Census, nodes: Nodes, args: dict[str, Any]) -> dict[str, Any]:
    """Names of tasks that workers have without their definitions."""
    return {
        node: sorted({name for executor in worker.executors.values() for name in executor.registered})
        for node, worker in nodes.items()
    }


def revoked(known: Census, nodes: Nodes, args: dict[str, Any]) -> dict[str, Any]:
    """Ids of tasks that were revoked, the newest ones; each worker would refuse them."""
    ids = [r.task.id for r in _some(known, lambda r: r.revoked or r.state == REVOKED)]
    return dict.fromkeys(nodes, ids)


def active_queues(known: Census, nodes: Nodes, args: dict[str, Any]) -> dict[str, Any]:
    """The queues that workers consume."""
    return {
        node: [{"name": queue, "routing_key": queue} for queue in _queues(worker)]
        for node, worker in nodes.items()
    }


def query_task(known: Census, nodes: Nodes, args: dict[str, Any]) -> dict[str, Any]:
    """Where tasks are, by id: ``["active", …]``; under "" those that wait for a worker."""
    ids = args.get("ids") or []
    found: dict[str, Any] = {node: {} for node in nodes}
    by_worker = {worker.id: node for node, worker in nodes.items()}
    for id in islice([ids] if isinstance(ids, str) else ids, MOST):
        record = known.records.get(str(id))
        if record is None:
            continue
        holder = known.dispatch.executors.get(record.executor) if record.place == LEASED else None
        if holder is not None:
            state = "active" if _runs(holder, record) else "reserved"
            node = by_worker.get(holder.worker.id)
        else:
            state = {SCHEDULED: "scheduled", DONE: record.state.lower()}.get(record.place, "waiting")
            node = "" if record.place == DONE else _home(known, nodes, record)
        if node is not None:
            found.setdefault(node, {})[record.task.id] = [state, _info(known, record, holder)]
    return found


TOPICS: Final[Mapping[str, Callable[[Census, Nodes, dict[str, Any]], dict[str, Any]]]] = {
    "active": active,
    "reserved": reserved,
    "scheduled": scheduled,
    "registered": registered,
    "revoked": revoked,
    "active_queues": active_queues,
    "query_task": query_task,
}


def _some(known: Census, wanted: Callable[[Record], bool]) -> list[Record]:
    """The newest records of that kind, the oldest of them first."""
    recent = known.records.newest(LOOKED_THROUGH)
    return list(islice((record for record in recent if wanted(record)), MOST))[::-1]


def _held(worker: WorkerState, *, running: bool) -> Iterator[tuple[Record, ExecutorState]]:
    pairs = (
        (record, executor)
        for executor in worker.executors.values()
        for record in executor.held.values()
        if record.place == LEASED and _runs(executor, record) == running
    )
    return islice(pairs, MOST)


def _runs(executor: ExecutorState, record: Record) -> bool:
    return record.started_at is not None or executor.runs(record.token)


def _home(known: Census, nodes: Nodes, record: Record) -> str:
    """The first node whose worker can run a task, "" if none can."""
    key = LaneKey.of(record.task)
    able = (node for node, w in nodes.items() if any(key.served_by(e) for e in w.executors.values()))
    return next(able, "")


def _queues(worker: WorkerState) -> list[str]:
    queues = {queue for executor in worker.executors.values() for queue in executor.queues}
    if not queues and worker.hello is not None:
        queues.update(worker.hello.queues)
    return sorted(queues)


def _info(known: Census, record: Record, executor: ExecutorState | None) -> dict[str, Any]:
    """A task, with Celery's names; ``payload`` is what its arguments are made of."""
    task = record.task
    began = record.started_at
    if began is None and executor is not None and executor.runs(record.token):
        began = max(record.leased_at, executor.moved_at)
    return {
        "id": task.id,
        "name": task.name,
        "type": task.name,
        "payload": task.payload if len(task.payload) <= SHOWN_BYTES else None,
        "serializer": task.serializer,
        "hostname": executor.worker.name if executor is not None else None,
        "time_start": began + known.epoch if began is not None else None,
        "acknowledged": began is not None,
        "delivery_info": {
            "routing_key": task.queue,
            "priority": task.priority,
            "redelivered": record.attempt > 1,
        },
        "worker_pid": executor.pid if executor is not None else None,
        "retries": record.retries,
    }
