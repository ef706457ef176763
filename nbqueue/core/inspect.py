"""Words about records and the broker, for people: status, why a task waits, how a worker died."""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from nbqueue.core.dispatch import Dispatcher
from nbqueue.core.executors import ExecutorState
from nbqueue.core.queues import LaneKey
from nbqueue.core.records import DONE, LEASED, READY, SCHEDULED, Record
from nbqueue.core.store import Records
from nbqueue.messages import ExecutorLost, Failure, Hello, Outcome, Welcome

#: the signals that end a process most often, by their POSIX numbers
_SIGNALS: Final = {
    4: "SIGILL, an illegal instruction",
    6: "SIGABRT, an abort by the process itself",
    7: "SIGBUS, a bad memory access",
    8: "SIGFPE, an arithmetic error",
    9: "SIGKILL, often for want of memory",
    11: "SIGSEGV, a bad memory access",
    15: "SIGTERM",
}


class Books(NamedTuple):
    """What the broker's answers are made of."""

    welcome: Welcome
    records: Records
    dispatch: Dispatcher
    #: connected now
    clients: int
    #: when the broker was started
    started: float


def manner_of_death(death: ExecutorLost) -> str:
    """``its process was killed by signal 11 (SIGSEGV)``"""
    if death.exit_code >= 0:
        return f"its process ended with exit code {death.exit_code}"
    number = -death.exit_code
    name = f" ({_SIGNALS[number]})" if number in _SIGNALS else ""
    return f"its process was killed by signal {number}{name}"


def obituary(record: Record, death: ExecutorLost) -> str:
    """The message of a WorkerLostError."""
    text = manner_of_death(death)
    if record.deaths > 1:
        text += f" (the last of {record.deaths})"
    if death.peak_memory:
        text += f"; peak memory {death.peak_memory / 1e6:,.0f} MB"
    if death.stderr.strip():
        text += f"; last words:\n{death.stderr.strip()}"
    return text


def broker_outcome(record: Record, state: str, error: str, text: str, now: float) -> Outcome:
    """An outcome that no run produced: the broker's own."""
    failure = Failure(error, "nbqueue.exceptions", text, f"nbqueue.exceptions.{error}: {text}\n")
    runtime = now - record.started_at if record.started_at is not None else 0.0
    return Outcome(
        record.task.id, record.token, state, b"", failure, runtime, "", now, retries=record.retries
    )


# ── topics of Ask ────────────────────────────────────────────────────────────────────────────────


def status(books: Books, args: dict[str, Any], now: float) -> dict[str, Any]:
    """The broker, its workers, its queues."""
    return {
        "broker": {
            "pid": books.welcome.pid,
            "host": books.welcome.host,
            "version": books.welcome.version,
            "boot": books.welcome.boot,
            "clients": books.clients,
            "records": len(books.records),
            "started": books.started + books.welcome.epoch,
            "time": now + books.welcome.epoch,
        },
        "workers": [
            _worker(worker.executors, worker.hello)
            for worker in books.dispatch.workers.values()
            if worker.hello
        ],
        "queues": _queues(books),
    }


def _worker(executors: dict[str, ExecutorState], hello: Hello) -> dict[str, Any]:
    return {
        "name": hello.name,
        "host": hello.host,
        "pid": hello.pid,
        "python": hello.python,
        "env": hello.env,
        "local": hello.local,
        "queues": list(hello.queues),
        "registered": sorted({name for e in executors.values() for name in e.registered}),
        "children": [{"pid": e.pid, "task": _running(e)} for e in executors.values()],
    }


def _running(executor: ExecutorState) -> dict[str, str] | None:
    record = next(iter(executor.held.values()), None)
    return {"id": record.task.id, "name": record.task.name} if record is not None else None


def _queues(books: Books) -> dict[str, dict[str, int]]:
    place = {READY: "ready", SCHEDULED: "scheduled", LEASED: "running"}
    queues: dict[str, dict[str, int]] = {}
    for executor in books.dispatch.executors.values():
        for name in executor.queues:
            queues.setdefault(name, dict.fromkeys(place.values(), 0))
    for record in books.records:
        if record.place != DONE:
            queues.setdefault(record.task.queue, dict.fromkeys(place.values(), 0))[place[record.place]] += 1
    return queues


def tasks(books: Books, args: dict[str, Any], now: float) -> list[dict[str, Any]]:
    """The newest records, newest first: ``limit`` of them."""
    return [
        {
            "id": record.task.id,
            "name": record.task.name,
            "state": record.state,
            "queue": record.task.queue,
            "group": record.task.group,
            "at": record.at,
        }
        for record in books.records.newest(int(args.get("limit", 100)))
    ]


def why(books: Books, args: dict[str, Any], now: float) -> str:
    """One sentence: why the task is not done yet."""
    record = books.records.get(str(args.get("id", "")))
    if record is None:
        return "the broker has no record of it: never submitted here, expired or forgotten"
    if record.place == DONE:
        return f"it is done: {record.state}"
    if record.place == SCHEDULED:
        cause = f"after {record.retries} retries " if record.retries else ""
        return f"{cause}it waits for its time, in {max(0.0, record.due - now):.1f} s"
    if record.place == LEASED:
        return _why_leased(books, record, now)
    return _why_ready(books, record)


def _why_leased(books: Books, record: Record, now: float) -> str:
    executor = books.dispatch.executors.get(record.executor)
    name = executor.worker.name if executor is not None else "a worker"
    if record.started_at is not None:
        return f"running on {name} for {now - record.started_at:.1f} s"
    if executor is not None and next(iter(executor.held), None) != record.token:
        return f"next in line on {name}, behind a running task"
    return f"handed to {name} {now - record.leased_at:.1f} s ago"


def _why_ready(books: Books, record: Record) -> str:
    task, executors = record.task, books.dispatch.executors.values()
    if not executors:
        return "no worker is connected: start one with `nbqueue start` or `nbqueue worker`"
    on_queue = [e for e in executors if task.queue in e.queues]
    if not on_queue:
        return f"no worker consumes queue {task.queue!r}: start one with `nbqueue worker -Q {task.queue}`"
    able = [e for e in on_queue if LaneKey.of(task).served_by(e)]
    if not able:
        return _why_unable(record, on_queue)
    ahead = books.dispatch.lane(task).ahead_of(record)
    return (
        f"waiting for a free worker, {ahead} tasks are before it" if ahead else "next, when a worker is free"
    )


def _why_unable(record: Record, executors: list[ExecutorState]) -> str:
    task = record.task
    if not task.definition:
        return f"no worker has a task {task.name!r}: start one with `nbqueue worker -A <its module>`"
    pythons = sorted({e.python for e in executors})
    if task.python not in pythons:
        return (
            f"no worker with Python {task.python}, which the function needs (only {', '.join(pythons)}):"
            f" start `nbqueue worker` with Python {task.python}"
        )
    return f"no worker of the environment {task.env}: `nbqueue start` there starts one"


def stop(books: Books, args: dict[str, Any], now: float) -> bool:
    """Asked to stop; the broker answers before it does."""
    return True


TOPICS: Final[dict[str, Callable[[Books, dict[str, Any], float], Any]]] = {
    "status": status,
    "tasks": tasks,
    "why": why,
    "stop": stop,
}
