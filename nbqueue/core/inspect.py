"""Words about records and the broker, for people: status, why a task waits, how a worker died."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import isfinite
from typing import Any, Final, NamedTuple

from nbqueue.core import kinship
from nbqueue.core.dispatch import Dispatcher
from nbqueue.core.executors import ExecutorState
from nbqueue.core.firings import Recurrence
from nbqueue.core.limits import Limiter, spoken
from nbqueue.core.overview import overview
from nbqueue.core.queues import Lane, LaneKey
from nbqueue.core.records import DONE, LEASED, READY, SCHEDULED, WAITING, Record
from nbqueue.core.store import Records
from nbqueue.core.workflow import title
from nbqueue.messages import SAVED, Demand, Hello, Task, Welcome


class Books(NamedTuple):
    """What the broker's answers are made of."""

    welcome: Welcome
    records: Records
    dispatch: Dispatcher
    #: connected now
    clients: int
    #: when the broker was started
    started: float
    #: periodic tasks, by application and name
    entries: Mapping[tuple[str, str], Recurrence]


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
    registered = (name for e in executors.values() for name in e.registered)
    return of_worker(hello, registered, [{"pid": e.pid, "task": _running(e)} for e in executors.values()])


def of_worker(hello: Hello, registered: Iterable[str], children: list[dict[str, Any]]) -> dict[str, Any]:
    """A worker, the names that its executors have, and these with what they run."""
    return {
        "name": hello.name,
        "host": hello.host,
        "pid": hello.pid,
        "python": hello.python,
        "env": hello.env,
        "local": hello.local,
        "queues": list(hello.queues),
        "registered": sorted(set(registered)),
        "children": children,
    }


def _running(executor: ExecutorState) -> dict[str, str] | None:
    record = next(iter(executor.held.values()), None)
    return {"id": record.task.id, "name": record.task.name} if record is not None else None


def _queues(books: Books) -> dict[str, dict[str, int]]:
    """Tasks by queue and place; those that wait for others are mentioned only where there are some."""
    place = {READY: "ready", SCHEDULED: "scheduled", LEASED: "running", WAITING: "waiting"}
    usual = dict.fromkeys(("ready", "scheduled", "running"), 0)
    queues: dict[str, dict[str, int]] = {}
    for executor in books.dispatch.executors.values():
        for name in executor.queues:
            queues.setdefault(name, dict(usual))
    for record in books.records:
        if record.place != DONE:
            counts, where = queues.setdefault(record.task.queue, dict(usual)), place[record.place]
            counts[where] = counts.get(where, 0) + 1
    return queues


def tasks(books: Books, args: dict[str, Any], now: float) -> list[dict[str, Any]]:
    """The newest records, newest first: ``limit`` of them, of one ``notebook`` if it is named."""
    return [
        {
            "id": record.task.id,
            "name": record.task.name,
            "state": record.state,
            "queue": record.task.queue,
            "group": record.task.group,
            "at": record.at,
        }
        for record in books.records.newest(int(args.get("limit", 100)), str(args.get("notebook", "")))
        if record.task.step is None or record.task.step.on != SAVED
    ]


def children(books: Books, args: dict[str, Any], now: float) -> list[dict[str, Any]]:
    """The tasks that a task ``id`` has submitted, and those that come after it; of a group's id its members.
    The oldest first; of the newest records only, if there are very many."""
    return [kinship.row(record) for record in kinship.children(books.records, str(args.get("id", "")))]


def workflow(books: Books, args: dict[str, Any], now: float) -> list[dict[str, Any]]:
    """All tasks that hang together with the one of that ``id``, each with what it comes ``from``."""
    found = kinship.family(books.records, str(args.get("id", "")))
    return [{**kinship.row(record), "from": origins} for record, origins in found]


def periodic(books: Books, args: dict[str, Any], now: float) -> list[dict[str, Any]]:
    """Periodic tasks, of one ``app`` if it is named, by application and name; times are Unix times."""
    entries = sorted(books.entries.values(), key=lambda entry: entry.key)
    return [
        of_entry(entry, books.records.get(entry.last_id))
        for entry in entries
        if args.get("app") in (None, entry.app)
    ]


def of_entry(entry: Recurrence, last: Record | None) -> dict[str, Any]:
    """A periodic task, and the record of its ``last`` firing."""
    return {
        "app": entry.app,
        "name": entry.periodic.name,
        "task": entry.periodic.task.name,
        "queue": entry.periodic.task.queue,
        "schedule": entry.periodic.timetable.text,
        "zone": entry.periodic.timetable.zone,
        "missed": entry.periodic.missed,
        "skip_if_running": entry.periodic.skip_if_running,
        "next": entry.due if isfinite(entry.due) else None,
        "last_id": entry.last_id,
        "last_state": last.state if last is not None else "",
        "trouble": entry.trouble,
    }


def arguments(books: Books, args: dict[str, Any], now: float) -> bytes | None:
    """What a task was called with, as it was sent: None if it is not known, or was large and has ended."""
    record = books.records.get(str(args.get("id", "")))
    return record.task.payload or None if record is not None else None


def why(books: Books, args: dict[str, Any], now: float) -> dict[str, Any]:
    """One sentence, ``text``: why the task is not done yet; ``stuck`` if nothing that is there can run it."""
    record = books.records.get(str(args.get("id", "")))
    if record is None:
        return NO_RECORD
    if record.place == WAITING:
        before = dict.fromkeys(record.predecessors)
        found = [r for id in before if (r := books.records.get(id)) is not None]
        return why_waiting(record, found, lambda id: why(books, {"id": id}, now))
    if record.place == LEASED:
        executor = books.dispatch.executors.get(record.executor)
        name = executor.worker.name if executor is not None else "a worker"
        return reason(why_leased(record, name, executor is None or executor.runs(record.token), now))
    if record.place != READY:
        return reason(why_not_ready(record, now))
    if books.dispatch.paused:
        return reason(books.dispatch.paused)
    if text := obstacle(record.task, [e.hello for e in books.dispatch.executors.values()]):
        return reason(text, stuck=True)
    lane = books.dispatch.lane(record.task)
    return reason(in_line(lane.ahead_of(record), _shortage(books, lane, now)))


def reason(text: str, *, stuck: bool = False) -> dict[str, Any]:
    """An answer to ``why``."""
    return {"text": text, "stuck": stuck}


NO_RECORD: Final = reason(
    "the broker has no record of it: never submitted here, expired or forgotten", stuck=True
)


def why_not_ready(record: Record, now: float) -> str:
    """Of a task that is done, or waits for its time."""
    if record.place == DONE:
        return f"it is done: {record.state}"
    retries = "1 retry" if record.retries == 1 else f"{record.retries} retries"
    cause = f"after {retries} " if record.retries else ""
    return f"{cause}it waits for its time, in {max(0.0, record.due - now):.1f} s"


def why_leased(record: Record, worker: str, is_first: bool, now: float) -> str:
    """Of a task that an executor of that worker has, as the first or behind others."""
    if record.started_at is not None:
        return f"running on {worker} for {now - record.started_at:.1f} s"
    if not is_first:
        return f"next in line on {worker}, behind a running task"
    return f"handed to {worker} {now - record.leased_at:.1f} s ago"


def in_line(ahead: int, shortage: str = "") -> str:
    """Of a task that executors can run, with so many before it; ``shortage`` is what the first one lacks."""
    before = "1 task is" if ahead == 1 else f"{ahead} tasks are"
    if shortage:
        return f"{shortage}, {before} before it" if ahead else shortage
    if not ahead:
        return "next, when a worker is free"
    return f"waiting for a free worker, {before} before it"


def rate_shortage(limiter: Limiter, now: float) -> str:
    """Of a task whose name starts at a limited rate: when it may, "" if at once."""
    if limiter.is_open(now):
        return ""
    return (
        f"rate limit of {spoken(limiter.rate)} for {limiter.name}: the next one starts in"
        f" {limiter.due - now:.1f} s"
    )


def _shortage(books: Books, lane: Lane, now: float) -> str:
    """What the first task of a lane waits for although executors are idle, "" if for an executor."""
    if lane.limiter is not None and (text := rate_shortage(lane.limiter, now)):
        return text
    able = {e.worker: None for e in books.dispatch.executors.values() if lane.key.served_by(e)}
    for resource, amount in lane.key.resources:
        free = max((worker.free(resource) for worker in able), default=0.0)
        if free < amount:
            return (
                f"waiting for {resource}: it needs {quantity(resource, amount)}, and the most that a worker"
                f" has free is {quantity(resource, free)}"
            )
    if lane.key.resources and lane.hungry:
        names = ", ".join(resource for resource, _ in lane.key.resources)
        return f"waiting for {names}: what is free is kept for a task that came before it, and needs more"
    return ""


def quantity(resource: str, amount: float) -> str:
    """How much of a resource, for a person; memory is in bytes."""
    if resource != "memory":
        return f"{amount:g}"
    for size, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if amount >= size:
            return f"{amount / size:.3g} {unit}"
    return f"{amount:g} bytes"


def why_waiting(
    record: Record, found: Sequence[Record], why: Callable[[str], dict[str, Any]]
) -> dict[str, Any]:
    """Names one of those that it waits for, of which these were found, and ``why`` that one is not done."""
    unfinished = [r for r in found if r.place != DONE]
    if not unfinished:  # it is about to be run, or given up
        return {"text": "what it waited for is done", "stuck": False}
    # one that waits itself says less
    first = next((r for r in unfinished if r.place != WAITING), unfinished[0])
    number = len(unfinished) - 1
    others = "" if not number else " and 1 other" if number == 1 else f" and {number} others"
    if first.place == WAITING:  # a chain may be long
        return {
            "text": f"it waits for {title(first)}{others}, which wait for others themselves",
            "stuck": False,
        }
    reason = why(first.task.id)
    verb = "was replaced by" if record.by else "waits for"
    return {"text": f"it {verb} {title(first)}{others}: {reason['text']}", "stuck": reason["stuck"]}


def obstacle(task: Task, executors: Sequence[Hello]) -> str:
    """Why none of these executors can run a task, "" if one can."""
    if not executors:
        return "no worker is connected: start one with `nbqueue start` or `nbqueue worker`"
    on_queue = [e for e in executors if task.queue in e.queues]
    if not on_queue:
        return f"no worker consumes queue {task.queue!r}: start one with `nbqueue worker -Q {task.queue}`"
    if any(LaneKey.of(task).matches(e) for e in on_queue):
        return ""
    if not task.definition:
        return f"no worker has a task {task.name!r}: start one with `nbqueue worker -A <its module>`"
    pythons = sorted({e.python for e in on_queue})
    if task.python and task.python not in pythons:
        return (
            f"no worker with Python {task.python}, which the function needs (only {', '.join(pythons)}):"
            f" start `nbqueue worker` with Python {task.python}"
        )
    if task.demand is not None and (unmet := _unmet(task.demand, on_queue)):
        return unmet
    return f"no worker of the environment {task.env}: `nbqueue start` there starts one"


def _unmet(demand: Demand, executors: Sequence[Hello]) -> str:
    """Which tag or resource none of these executors has, "" if one has all of them."""
    for tag in demand.tags:
        if not any(tag in e.tags for e in executors):
            return f"no worker has the tag {tag!r}: start one with `nbqueue worker --tag {tag}`"
    for resource, amount in demand.resources.items():
        most = max(e.resources.get(resource, 0.0) for e in executors)
        if most < amount:
            option = "--memory" if resource == "memory" else f"--resource {resource}="
            needed = quantity(resource, amount)
            has = f"the most that one has is {quantity(resource, most)}" if most else "none has any"
            return (
                f"no worker has {needed} of {resource}, {has}: start one with"
                f" `nbqueue worker {option}{' ' * (resource == 'memory')}{needed.replace(' ', '')}`"
            )
    if any(_meets(demand, e) for e in executors):
        return ""
    wanted = [*demand.tags, *(f"{quantity(name, n)} of {name}" for name, n in demand.resources.items())]
    return f"no worker has {', '.join(wanted)} together"


def _meets(demand: Demand, executor: Hello) -> bool:
    has_enough = all(executor.resources.get(name, 0.0) >= n for name, n in demand.resources.items())
    return has_enough and set(demand.tags) <= set(executor.tags)


def stop(books: Books, args: dict[str, Any], now: float) -> bool:
    """Asked to stop; the broker answers before it does."""
    return True


TOPICS: Final[dict[str, Callable[[Books, dict[str, Any], float], Any]]] = {
    "status": status,
    "tasks": tasks,
    "overview": lambda books, args, now: overview(books.records, books.dispatch, books.welcome.epoch, now),
    "children": children,
    "workflow": workflow,
    "periodic": periodic,
    "arguments": arguments,
    "why": why,
    "stop": stop,
}
