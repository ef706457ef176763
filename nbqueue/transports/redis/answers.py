"""Answers to what clients ask: the same topics, in the same form, as the ZeroMQ broker's
(``core.inspect``).
"""

from collections.abc import Callable
from typing import Any, Final

from nbqueue.core import inspect
from nbqueue.core.limits import Limiter
from nbqueue.core.queues import PRIORITIES
from nbqueue.core.records import LEASED, READY, WAITING, Record
from nbqueue.exceptions import ConfigurationError
from nbqueue.messages import SAVED, Hello
from nbqueue.transports.redis import kin, periodic, tuning
from nbqueue.transports.redis.desk import Desk
from nbqueue.transports.redis.losses import held
from nbqueue.transports.redis.moves import is_first
from nbqueue.transports.redis.names import entry_of, lane_of, queue_of
from nbqueue.transports.redis.picture import hellos, overview, workers

_PLACES: Final = ("ready", "scheduled", "running")
#: of the tasks that a step waits for, so many are looked at to say why
_BEFORE: Final = 1000


def status(desk: Desk, args: dict[str, Any]) -> dict[str, Any]:
    """Redis, the workers, the queues."""
    info = desk.wire.ask(b"INFO", b"server").decode()
    fields = dict(line.split(":", 1) for line in info.splitlines() if ":" in line)
    now, lease = desk.now, desk.settings.worker_lease
    clients = desk.command(b"ZCOUNT", "clients", now - lease, b"+inf")
    return {
        "broker": {
            "pid": int(fields.get("process_id", 0)),
            "host": desk.url,
            "version": f"Redis {fields.get('redis_version', '?')}",
            "boot": 1,
            "clients": clients,
            "records": desk.command(b"HLEN", "tasks"),
            "started": now - int(fields.get("uptime_in_seconds", 0)),
            "time": now,
        },
        "workers": [_worker(desk, id, hello) for id, hello in workers(desk)],
        "queues": _queues(desk),
    }


def _executors(desk: Desk) -> list[tuple[str, Hello]]:
    """All that are there: seat and Hello."""
    return [row for worker, _ in workers(desk) for row in hellos(desk, f"executors:{worker}")]


def _worker(desk: Desk, id: str, hello: Hello) -> dict[str, Any]:
    executors = hellos(desk, f"executors:{id}")
    registered = (name for _, e in executors for name in e.registered)
    children = [{"pid": e.pid, "task": _running(desk, seat)} for seat, e in executors]
    return inspect.of_worker(hello, registered, children)


def _running(desk: Desk, executor: str) -> dict[str, str] | None:
    leases = [(token, id) for token, id in sorted(held(desk, executor).items()) if id]
    if not leases:
        return None
    found = desk.look([leases[0][1]])[0][1]
    return {"id": found.record.task.id, "name": found.record.task.name} if found is not None else None


def _queues(desk: Desk) -> dict[str, dict[str, int]]:
    queues: dict[str, dict[str, int]] = {}

    def queue(name: str) -> dict[str, int]:
        return queues.setdefault(name, dict.fromkeys(_PLACES, 0))

    for _, hello in _executors(desk):
        for name in hello.queues:
            queue(name)
    for lane, count in desk.command(b"HGETALL", "lanes").items():
        if int(count) and (name := queue_of(lane)):
            queue(name)["ready"] += int(count)
    for name, count in desk.command(b"HGETALL", "running").items():
        queue(name.decode(errors="replace"))["running"] = int(count)
    for name, count in desk.command(b"HGETALL", "waiting").items():
        queue(name.decode(errors="replace"))["waiting"] = int(count)
    for name, count in desk.command(b"HGETALL", "queued").items():
        row = queue(name.decode(errors="replace"))
        row["scheduled"] = max(0, int(count) - row["ready"] - row["running"] - row.get("waiting", 0))
    return queues


def tasks(desk: Desk, args: dict[str, Any]) -> list[dict[str, Any]]:
    """The newest records, newest first: ``limit`` of them, of one ``notebook`` if it is named."""
    limit, notebook = int(args.get("limit", 100)), str(args.get("notebook", ""))
    key = f"recent:{notebook}" if notebook else "recent"
    ids = [id.decode(errors="replace") for id in desk.command(b"LRANGE", key, -max(1, limit), -1)][::-1]
    records = [found.record for _, found in desk.look(ids) if found is not None]
    return [
        {
            "id": record.task.id,
            "name": record.task.name,
            "state": record.state,
            "queue": record.task.queue,
            "group": record.task.group,
            "at": record.at,
        }
        for record in records[:limit]
        if record.task.step is None or record.task.step.on != SAVED
    ]


def arguments(desk: Desk, args: dict[str, Any]) -> bytes | None:
    """What a task was called with, as it was sent: None if it is not known, or has ended."""
    found = desk.look([str(args.get("id", ""))])[0][1]
    return found.record.task.payload or None if found is not None else None


def why(desk: Desk, args: dict[str, Any]) -> dict[str, Any]:
    """One sentence, ``text``: why the task is not done yet; ``stuck`` if nothing that is there can run it."""
    found = desk.look([str(args.get("id", ""))])[0][1]
    if found is None:
        return inspect.NO_RECORD
    record = found.record
    executors = dict(_executors(desk))
    if record.place == LEASED:
        hello = executors.get(record.executor)
        first = is_first(desk, record)
        name = hello.name if hello is not None else "a worker"
        return inspect.reason(inspect.why_leased(record, name, first, desk.now))
    if record.place == WAITING:
        return _why_waiting(desk, record)
    if record.place != READY:
        return inspect.reason(inspect.why_not_ready(record, desk.now))
    if text := inspect.obstacle(record.task, list(executors.values())):
        return inspect.reason(text, stuck=True)
    return inspect.reason(inspect.in_line(_ahead(desk, record), _shortage(desk, record)))


def _shortage(desk: Desk, record: Record) -> str:
    """What the first task of a lane waits for although executors are idle, "" if for an executor."""
    name = record.task.name
    rate = tuning.of(desk, name).rate
    limiter = Limiter(name, record.task.rate if rate is None else rate)
    if record.task.rate and limiter.rate:
        limiter.last = float(desk.command(b"HGET", "starts", name) or 0.0)
        return inspect.rate_shortage(limiter, desk.now)
    if record.task.demand is not None and record.task.demand.resources:
        wanted = ", ".join(record.task.demand.resources)
        return f"waiting for a worker with enough {wanted} free"
    return ""


def _why_waiting(desk: Desk, record: Record) -> dict[str, Any]:
    before = list(dict.fromkeys(record.predecessors))[:_BEFORE]
    found = [one.record for _, one in desk.look(before) if one is not None]
    return inspect.why_waiting(record, found, lambda id: why(desk, {"id": id}))


def _ahead(desk: Desk, record: Record) -> int:
    """How many tasks of its lane come before a waiting one; those that were withdrawn count, too."""
    lane, priority = lane_of(record.task), record.task.priority
    before: int = sum(desk.command(b"LLEN", f"ready:{lane}:{p}") for p in range(priority + 1, PRIORITIES))
    place: int | None = desk.command(b"LPOS", f"ready:{lane}:{priority}", entry_of(record.task))
    return before + (place or 0)


def stop(desk: Desk, args: dict[str, Any]) -> Any:
    """Nobody stops a Redis through us."""
    raise ConfigurationError(f"{desk.url} is not nbqueue's to stop: stop its workers")


TOPICS: Final[dict[str, Callable[[Desk, dict[str, Any]], Any]]] = {
    "status": status,
    "tasks": tasks,
    "children": kin.children,
    "workflow": kin.workflow,
    "periodic": periodic.rows,
    "overview": overview,
    "arguments": arguments,
    "why": why,
    "stop": stop,
}
