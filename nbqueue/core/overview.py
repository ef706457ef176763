"""What goes on at this moment, in a few numbers: what ``nbqueue top`` asks for each second.

No record is looked at but those that executors hold, so that asking costs little however many wait.
"""

from itertools import islice
from typing import Any, Final

from nbqueue.core.dispatch import Dispatcher
from nbqueue.core.executors import ExecutorState, WorkerState
from nbqueue.core.records import LEASED, Record
from nbqueue.core.store import Records

#: tasks of an executor that are named
NAMED: Final = 4


def overview(records: Records, dispatch: Dispatcher, epoch: float, now: float) -> dict[str, Any]:
    """Workers with what they run, queues with what waits in them; times are Unix times."""
    return {
        "time": now + epoch,
        "unfinished": records.unfinished,
        "records": len(records),
        "paused": dispatch.paused,
        "workers": [
            of_worker(worker, epoch) for worker in dispatch.workers.values() if worker.hello is not None
        ],
        "queues": _queues(records, dispatch),
    }


def of_worker(worker: WorkerState, epoch: float) -> dict[str, Any]:
    """A worker with what its executors run."""
    return {
        "name": worker.name,
        "host": worker.hello.host if worker.hello is not None else "",
        "pid": worker.pid,
        "load": worker.load,
        "tags": sorted({tag for executor in worker.executors.values() for tag in executor.tags}),
        "resources": {n: [total - worker.free(n), total] for n, total in sorted(worker.resources.items())},
        "total": worker.total,
        "executors": [_executor(executor, epoch) for executor in worker.executors.values()],
    }


def _executor(executor: ExecutorState, epoch: float) -> dict[str, Any]:
    running = (
        record
        for token, record in executor.held.items()
        if record.place == LEASED and (record.started_at is not None or executor.runs(token))
    )
    return {
        "pid": executor.pid,
        "slots": executor.slots,
        "held": len(executor.held),
        "tasks": [_task(record, executor, epoch) for record in islice(running, NAMED)],
    }


def _task(record: Record, executor: ExecutorState, epoch: float) -> dict[str, Any]:
    began = record.started_at
    if began is None:
        began = max(record.leased_at, executor.moved_at)
    progress = record.progress
    return {
        "id": record.task.id,
        "name": record.task.name,
        "queue": record.task.queue,
        "since": began + epoch,
        "retries": record.retries,
        "progress": [progress.current, progress.total, progress.description]
        if progress is not None
        else None,
    }


def _queues(records: Records, dispatch: Dispatcher) -> dict[str, dict[str, int]]:
    """How many tasks wait for an executor, for their time (or other tasks), and run."""
    queues = {
        name: {"ready": 0, "later": unfinished, "running": 0, "workers": 0}
        for name, unfinished in records.queued.items()
    }
    for executor in dispatch.executors.values():
        for name in executor.queues:
            counts = queues.setdefault(name, {"ready": 0, "later": 0, "running": 0, "workers": 0})
            counts["workers"] += 1
        for record in executor.held.values():
            if record.place == LEASED:
                queues[record.task.queue]["running"] += 1
                queues[record.task.queue]["later"] -= 1
    for lane in dispatch.lanes.by_key.values():
        if lane.size:
            queues[lane.key.queue]["ready"] += lane.size
            queues[lane.key.queue]["later"] -= lane.size
    return queues
