"""Workers, their executors, and how much work each may hold.

An executor holds *leases*.  It is given about ``TARGET`` seconds of work in advance, by what its
functions took so far: short tasks travel in batches, long ones and those not yet measured one at a
time.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Final

import msgspec

from nbqueue.core.actions import Peer
from nbqueue.core.permissions import LOCAL, Key
from nbqueue.core.records import Record
from nbqueue.messages import MAX_BATCH, Demand, Hello, Task

#: seconds of work that an executor holds in advance
TARGET: Final = 0.010
#: tasks that an executor may run at once
MAX_SLOTS: Final = 10_000
#: what a task costs its executor at the least, in seconds
OVERHEAD: Final = 20e-6
#: of an amount of a resource, by which sums may be off
TRIFLE: Final = 1e-9
#: names whose durations are remembered
MAX_DURATIONS: Final = 10_000


class WorkerState:
    """A worker's supervisor.  The leases of its executors live as long as it is heard of."""

    def __init__(self, id: str, now: float) -> None:
        self.id = id
        self.peer: Peer | None = None
        self.hello: Hello | None = None
        self.seen = now
        #: that it came by
        self.key: Key = LOCAL
        self.executors: dict[str, ExecutorState] = {}
        #: its shown name, as its executors say; counts until it has said hello itself
        self.called = ""
        #: what its executors share, by name, and the leases that occupy some of it
        self.resources: Mapping[str, float] = {}
        self.demands: dict[int, Demand] = {}
        #: tasks that ended here, by name
        self.total: dict[str, int] = {}
        #: of its machine, as its last heartbeat said
        self.load: list[float] = []
        #: whether events are told of its tasks, if anybody listens
        self.tells_events = True

    @property
    def pid(self) -> int:
        return self.hello.pid if self.hello is not None else 0

    def count(self, name: str) -> None:
        """A task of that name has ended here."""
        try:
            self.total[name] += 1
        except KeyError:
            if len(self.total) < MAX_DURATIONS:
                self.total[name] = 1

    @property
    def name(self) -> str:
        return self.hello.name if self.hello is not None else self.called or self.id

    def free(self, resource: str) -> float:
        """How much of a resource is not occupied."""
        used = sum(demand.resources.get(resource, 0.0) for demand in self.demands.values())
        return self.resources.get(resource, 0.0) - used

    def has_free(self, wanted: Mapping[str, float]) -> bool:
        """Whether so much is free; sums of fractions may be off by a trifle."""
        return all(amount <= self.free(resource) + TRIFLE * amount for resource, amount in wanted.items())


class ExecutorState:
    """A process that runs one task at a time, or as many as it has slots."""

    def __init__(self, hello: Hello, worker: WorkerState) -> None:
        self.id = hello.id
        self.hello = hello
        self.worker = worker
        #: its main link, None while it is away
        self.peer: Peer | None = None
        #: its control thread's link
        self.control: Peer | None = None
        #: when either was last heard of
        self.seen = 0.0
        #: that it came by
        self.key: Key = LOCAL
        self.pid = hello.pid
        self.python = hello.python
        self.env = hello.env
        self.queues = frozenset(hello.queues)
        self.slots = min(max(1, hello.slots), MAX_SLOTS)
        #: hard and soft time limit of tasks that have none
        self.limits = _limits(hello)
        self.registered = frozenset(hello.registered)
        self.tags = frozenset(hello.tags)
        worker.resources = hello.resources
        #: token → record, in the order in which they will run
        self.held: dict[int, Record] = {}
        #: seconds of work held, estimated
        self.backlog = 0.0
        #: when it last went on to another task
        self.moved_at = 0.0
        #: its first task takes longer than was thought: it was asked for the others, and gets no more
        self.stuck = False
        #: leases that were absent from the last report
        self.absent: set[int] = set()

    @property
    def has_room(self) -> bool:
        """Whether it may be given another task."""
        if self.peer is None or self.stuck:
            return False
        held = len(self.held)
        return held < self.slots or (self.backlog < TARGET and held < MAX_BATCH)

    def needs(self, blob: str) -> bool:
        """Whether a task that it holds refers to this blob."""
        return any(blob in (r.task.definition, r.task.captured_key) for r in self.held.values())

    def holds_task(self, id: str) -> bool:
        """Whether it has a lease on that task."""
        return any(record.task.id == id for record in self.held.values())

    def runs(self, token: int) -> bool:
        """Whether that lease is one that runs (or is about to): the first, or one of the first."""
        if self.slots == 1:
            return next(iter(self.held), None) == token
        return token in islice(self.held, self.slots)

    def consume(self, queues: Iterable[str]) -> None:
        """Serve these queues from now on; the lanes are to be told (``Lanes.join``)."""
        self.hello = msgspec.structs.replace(self.hello, queues=list(queues))
        self.queues = frozenset(self.hello.queues)

    def hold(self, record: Record) -> None:
        self.held[record.token] = record
        self.backlog += record.estimate
        if record.task.demand is not None:
            self.worker.demands[record.token] = record.task.demand

    def hold_again(self, record: Record, now: float) -> None:
        """A lease that an earlier broker gave it; tokens are in the order in which it will run them."""
        self.moved_at = now
        self.hold(record)
        self.held = dict(sorted(self.held.items()))

    def release(self, token: int, now: float) -> Record:
        """End a lease that it holds."""
        if self.runs(token):
            self.moved_at = now
            self.stuck = False
        record = self.held.pop(token)
        self.backlog = self.backlog - record.estimate if self.held else 0.0
        self.absent.discard(token)
        if record.task.demand is not None:
            self.worker.demands.pop(token, None)
        return record


def _limits(hello: Hello) -> tuple[float | None, float | None]:
    hard, soft = hello.limits if len(hello.limits) == 2 else (None, None)
    valid = [None if limit is None or not 0.0 <= limit < math.inf else limit for limit in (hard, soft)]
    return valid[0], valid[1]


class Durations:
    """How long tasks take, by function: an average that rises faster than it falls."""

    def __init__(self, limited: Mapping[str, float] | None = None) -> None:
        self._average: dict[str, float] = {}
        #: names whose rate is limited although their tasks do not say so
        self._limited = {} if limited is None else limited

    def note(self, task: Task, runtime: float) -> None:
        if not 0.0 <= runtime < math.inf:  # no worker of ours says so
            return
        if len(self._average) >= MAX_DURATIONS:
            self._average.clear()
        key = task.definition or task.name
        old = self._average.get(key)
        if old is None:
            self._average[key] = runtime
        else:
            self._average[key] = old + (runtime - old) * (0.5 if runtime > old else 0.2)

    def estimate(self, task: Task) -> float:
        """Seconds that a task will take.  One that was not measured, is limited in time or in its rate
        (both count from its assignment), occupies something, or must not be started twice, fills its
        executor."""
        average = self._average.get(task.definition or task.name)
        if average is None or task.time_limit is not None or task.soft_time_limit is not None:
            return TARGET
        if task.rate or task.demand is not None or (self._limited and task.name in self._limited):
            return TARGET
        if not task.acks_late:  # what is lost with its worker is lost for good: let it be little
            return TARGET
        # no more than fills it: sums of very large and small numbers are not taken apart again
        return min(max(average, OVERHEAD), TARGET)
