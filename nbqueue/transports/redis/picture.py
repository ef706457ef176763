"""The workers of a moment, their executors and what these hold: read from Redis, as the core has them.

So what is asked of workers is answered by the same functions as in the ZeroMQ broker (``core.census``,
``core.overview``).
"""

from collections.abc import Sequence
from typing import Any, Final

from nbqueue.core.executors import ExecutorState, WorkerState
from nbqueue.core.overview import of_worker
from nbqueue.core.records import LEASED, Record
from nbqueue.exceptions import ProtocolError
from nbqueue.messages import Heartbeat, Hello
from nbqueue.transports.redis import losses
from nbqueue.transports.redis.desk import Desk
from nbqueue.transports.redis.names import id_of_due, queue_of
from nbqueue.wire.signing import ForgedError

#: records that are looked through
LOOKED_THROUGH: Final = 2000


def hellos(desk: Desk, key: str) -> list[tuple[str, Hello]]:
    """Id and Hello of each that a hash has."""
    found = []
    for id, sealed in desk.command(b"HGETALL", key).items():
        try:
            found.append((id.decode(errors="replace"), desk.sealed.open_hello(sealed)))
        except (ForgedError, ProtocolError) as error:
            desk.report_forgery(str(error))
    return found


def workers(desk: Desk) -> list[tuple[str, Hello]]:
    """Those that are alive."""
    alive = set(desk.command(b"ZRANGEBYSCORE", "alive", desk.now, b"+inf"))
    return [(id, hello) for id, hello in hellos(desk, "workers") if id.encode() in alive]


class Picture:
    """See the module's docstring.  ``traces``: with the progress of what runs."""

    def __init__(self, desk: Desk, *, traces: bool = False) -> None:
        self._desk = desk
        self.workers: dict[str, WorkerState] = {}
        self.executors: dict[str, ExecutorState] = {}
        self.silent = {id.decode(errors="replace") for id in desk.command(b"SMEMBERS", "silent")}
        loads: dict[bytes, bytes] = desk.command(b"HGETALL", "loads")
        held: list[str] = []
        for id, hello in workers(desk):
            worker = self.workers[id] = WorkerState(id, desk.now)
            worker.hello, worker.resources = hello, hello.resources
            worker.tells_events = id not in self.silent
            worker.load = self._load(loads.get(id.encode(), b""))
            worker.total = self._total(id)
            held += self._staff(worker)
        for _, found in desk.look(held, traces=traces):
            if found is not None:
                self._give(found.record)

    def _load(self, sealed: bytes) -> list[float]:
        said = self._desk.events(sealed) if sealed else []
        return said[0].load if said and isinstance(said[0], Heartbeat) else []

    def _total(self, worker: str) -> dict[str, int]:
        """Tasks that ended there, by name; what is no number was not counted by us."""
        counts = self._desk.command(b"HGETALL", f"total:{worker}")
        return {n.decode(errors="replace"): int(count) for n, count in counts.items() if count.isdigit()}

    def _staff(self, worker: WorkerState) -> list[str]:
        """Its executors; returns what they hold."""
        ids = []
        for seat, hello in hellos(self._desk, f"executors:{worker.id}"):
            self.executors[seat] = worker.executors[seat] = ExecutorState(hello, worker)
            ids += [id for _, id in sorted(losses.held(self._desk, seat).items()) if id]
        return ids

    def _give(self, record: Record) -> None:
        executor = self.executors.get(record.executor) if record.place == LEASED else None
        if executor is not None:
            executor.hold_again(record, 0.0)


class Kept:
    """All records, as ``core.census`` looks at them; ``scheduled``: only those that wait for their time."""

    def __init__(self, desk: Desk, *, scheduled: bool = False) -> None:
        self._desk = desk
        self._scheduled = scheduled

    def get(self, id: str, /) -> Record | None:
        found = self._desk.look([id])[0][1]
        return found.record if found is not None else None

    def newest(self, limit: int, /) -> list[Record]:
        """The last that were submitted, newest first."""
        limit = min(limit, LOOKED_THROUGH)
        if self._scheduled:
            members = self._desk.command(b"ZRANGE", "due", -limit, -1)
            ids = [id for member in members if (id := id_of_due(member))]
        else:
            ids = self._desk.command(b"LRANGE", "recent", -limit, -1)
        return self._records([id.decode(errors="replace") for id in reversed(ids)])

    def _records(self, ids: Sequence[str]) -> list[Record]:
        return [found.record for _, found in self._desk.look(ids) if found is not None]


def overview(desk: Desk, args: dict[str, Any]) -> dict[str, Any]:
    """What goes on at this moment: see ``core.overview``."""
    picture = Picture(desk, traces=True)
    unfinished = desk.command(b"HLEN", "tasks")
    return {
        "time": desk.now,
        "unfinished": unfinished,
        "records": unfinished,
        "paused": "",
        "workers": [of_worker(worker, 0.0) for worker in picture.workers.values()],
        "queues": queues(desk, picture.executors.values()),
    }


def queues(desk: Desk, executors: Any) -> dict[str, dict[str, int]]:
    """How many tasks wait for an executor, for their time (or other tasks), and run."""
    rows: dict[str, dict[str, int]] = {}

    def row(name: str) -> dict[str, int]:
        return rows.setdefault(name, {"ready": 0, "later": 0, "running": 0, "workers": 0})

    for executor in executors:
        for name in executor.queues:
            row(name)["workers"] += 1
    for lane, count in desk.command(b"HGETALL", "lanes").items():
        if int(count) > 0 and (name := queue_of(lane)):
            row(name)["ready"] += int(count)
    for name, count in desk.command(b"HGETALL", "running").items():
        row(name.decode(errors="replace"))["running"] = int(count)
    for name, count in desk.command(b"HGETALL", "queued").items():
        found = row(name.decode(errors="replace"))
        found["later"] = max(0, int(count) - found["ready"] - found["running"])
    return rows


def waiting(desk: Desk) -> list[str]:
    """Ids of all tasks that have not ended."""
    return [id.decode(errors="surrogateescape") for id in desk.command(b"HKEYS", "tasks")]
