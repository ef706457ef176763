"""Tasks that wait for an executor.

A *lane* holds the tasks of one queue that the same executors can run.  What a task demands of its
executor (queue, Python version, environment, a registered name, tags, resources) is its lane's key, so an
executor finds its work by looking at the few lanes that it serves, and never at a task that it cannot run.

Tasks of a name that starts at a limited rate have a lane of their own, and so have those that occupy the
same amounts of resources: when the first of them has to wait, so have all, and none of another lane.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain
from operator import attrgetter
from typing import Any, NamedTuple

from nbqueue.core.executors import ExecutorState
from nbqueue.core.limits import Limiter, Limits
from nbqueue.core.records import READY, Record
from nbqueue.messages import Hello, Task

PRIORITIES = 10


class LaneKey(NamedTuple):
    """What the tasks of a lane demand."""

    queue: str
    python: str
    env: str
    #: a name that the worker must have registered, "" for tasks that bring their definition
    name: str
    #: that the worker must have been given, sorted
    tags: tuple[str, ...] = ()
    #: what each task occupies of its worker, sorted
    resources: tuple[tuple[str, float], ...] = ()
    #: the name of its tasks if that starts at a limited rate
    limited: str = ""

    @classmethod
    def of(cls, task: Task, limited: bool = False) -> "LaneKey":
        python, env, name = (task.python, task.env, "") if task.definition else ("", "", task.name)
        tags: tuple[str, ...] = ()
        resources: tuple[tuple[str, float], ...] = ()
        if (demand := task.demand) is not None:
            tags = tuple(sorted(set(demand.tags)))
            resources = tuple(sorted((n, amount) for n, amount in demand.resources.items() if amount > 0))
        return cls(task.queue, python, env, name, tags, resources, task.name if limited else "")

    @property
    def is_plain(self) -> bool:
        """Whether any executor that serves the lane may have its first task at any time."""
        return not (self.resources or self.limited)

    def served_by(self, executor: ExecutorState) -> bool:
        """Whether an executor can run the tasks of this lane."""
        return self.matches(executor.hello)

    def matches(self, hello: Hello) -> bool:
        """The same, by what the executor says of itself."""
        if self.queue not in hello.queues or not set(self.tags).issubset(hello.tags):
            return False
        if any(hello.resources.get(resource, 0.0) < amount for resource, amount in self.resources):
            return False
        if self.name:
            return self.name in hello.registered
        return self.python in ("", hello.python) and (self.env == "" or hello.env in ("", self.env))


class Lane:
    """Waiting tasks with the same demands: first come, first served within a priority, 9 first."""

    def __init__(self, key: LaneKey, limiter: Limiter | None = None) -> None:
        self.key = key
        self.limiter = limiter
        self.is_plain = key.is_plain
        self.size = 0
        #: executors that serve this lane and have room, the longest waiting first
        self.hungry: dict[ExecutorState, None] = {}
        self._queues: list[deque[Record]] = [deque() for _ in range(PRIORITIES)]

    def put(self, record: Record) -> None:
        self._queues[record.task.priority].append(record)
        self.size += 1

    def put_back(self, record: Record) -> None:
        """To the front: it has waited its turn already."""
        self._queues[record.task.priority].appendleft(record)
        self.size += 1

    def withdrawn(self) -> None:
        """One of the waiting tasks waits no longer, though nobody took it; :meth:`take` steps over it."""
        self._shrink()

    def remove(self, record: Record) -> None:
        """A waiting task is run by somebody who had it from an earlier broker.  It may wait again, even with
        another priority, so that nothing of it may stay behind here."""
        self._queues[record.task.priority].remove(record)
        self._shrink()

    def _shrink(self) -> None:
        self.size -= 1
        if not self.size:  # what is left was withdrawn
            for queue in self._queues:
                queue.clear()

    def head(self) -> Record | None:
        """The next task, left where it is."""
        queue = self._next()
        return queue[0] if queue is not None else None

    def take(self) -> Record | None:
        """The next task, taken out."""
        queue = self._next()
        if queue is None:
            return None
        record = queue.popleft()
        self._shrink()
        return record

    def _next(self) -> deque[Record] | None:
        """The queue that has the next task in front.  It may be that of a priority which the task had when it
        was withdrawn from there."""
        if self.size:
            for queue in reversed(self._queues):
                while queue:
                    if queue[0].place == READY:
                        return queue
                    queue.popleft()
        return None

    def is_open(self, now: float) -> bool:
        """Whether its rate lets a task start."""
        return self.limiter is None or self.limiter.is_open(now)

    def records(self) -> Iterator[Record]:
        """All that wait, the most urgent first."""
        return (r for queue in reversed(self._queues) for r in queue if r.place == READY)

    def extract(self, name: str) -> list[Record]:
        """Take out all tasks of a name; a look at each task of the lane."""
        found = list({r.task.id: r for r in self.records() if r.task.name == name}.values())
        if found:
            for number, queue in enumerate(self._queues):
                self._queues[number] = deque(r for r in queue if r.place == READY and r.task.name != name)
            self.size -= len(found)
        return found

    def merge(self, records: Iterable[Record]) -> None:
        """Put tasks among the others by age."""
        by_priority: dict[int, list[Record]] = {}
        for record in records:
            by_priority.setdefault(record.task.priority, []).append(record)
            self.size += 1
        for priority, more in by_priority.items():
            queue = self._queues[priority]
            self._queues[priority] = deque(sorted(chain(queue, more), key=attrgetter("order")))

    def ahead_of(self, record: Record) -> int:
        """How many tasks of this lane come before a waiting one."""
        ahead = 0
        for queue in self._queues[record.task.priority + 1 :]:
            ahead += sum(r.place == READY for r in queue)
        for other in self._queues[record.task.priority]:
            if other is record:
                break
            ahead += other.place == READY
        return ahead


class Lanes:
    """All lanes, and which executors serve them."""

    def __init__(self, limits: Limits) -> None:
        #: by LaneKey, or for a plain task by the tuple of its first four parts
        self.by_key: dict[tuple[Any, ...], Lane] = {}
        #: how many of them are not plain
        self.special = 0
        #: those of tasks that start at a limited rate, by their name
        self.limited: dict[str, list[Lane]] = {}
        self._limits = limits
        self._served: dict[ExecutorState, list[Lane]] = {}

    def lane(self, task: Task) -> Lane:
        """The lane of a task, made on first use."""
        if task.demand is not None or task.rate or self._limits.rates:
            return self._special(task)
        # the tuple alone is made in a tenth of a LaneKey's time
        definition = task.definition
        key = (task.queue, task.python, task.env, "") if definition else (task.queue, "", "", task.name)
        return self.by_key.get(key) or self._open(key, LaneKey(*key))

    def _special(self, task: Task) -> Lane:
        """The lane of a task that may be limited, or may demand something."""
        full = LaneKey.of(task, limited=self._limits.limited(task))
        key = full if full.tags or not full.is_plain else full[:4]
        found = self.by_key.get(key)
        if found is not None:
            return found
        return self._open(key, full, self._limits.limiter(task.name, task.rate) if full.limited else None)

    def _open(self, key: tuple[Any, ...], full: LaneKey, limiter: Limiter | None = None) -> Lane:
        lane = self.by_key[key] = Lane(full, limiter)
        self.special += not lane.is_plain
        if limiter is not None:
            self.limited.setdefault(limiter.name, []).append(lane)
        for executor, served in self._served.items():
            if full.served_by(executor):
                served.append(lane)
                if executor.has_room:
                    lane.hungry[executor] = None
        return lane

    def join(self, executor: ExecutorState) -> None:
        """A new executor, or one that has changed: find the lanes that it serves."""
        self.rest(executor)
        self._served[executor] = [lane for lane in self.by_key.values() if lane.key.served_by(executor)]

    def prune(self) -> None:
        """Drop lanes in which nothing waits: those that nobody serves, and those of special tasks, of which
        there may be one for each amount of memory."""
        served = {lane.key for lanes in self._served.values() for lane in lanes}
        gone = {
            key
            for key, lane in self.by_key.items()
            if not lane.size and (not lane.is_plain or lane.key not in served)
        }
        if not gone:
            return
        dropped = {id(self.by_key.pop(key)) for key in gone}
        self.special = sum(not lane.is_plain for lane in self.by_key.values())
        for executor, lanes in self._served.items():
            self._served[executor] = [lane for lane in lanes if id(lane) not in dropped]
        for name, lanes in list(self.limited.items()):
            self.limited[name] = [lane for lane in lanes if id(lane) not in dropped]
            if not self.limited[name]:
                del self.limited[name]

    def waiting(self, name: str) -> int:
        """How many tasks of a limited name wait."""
        return sum(lane.size for lane in self.limited.get(name, ()))

    def of_name(self, name: str) -> Iterator[Lane]:
        """Lanes in which tasks of a name may wait."""
        return (lane for lane in self.by_key.values() if lane.size and lane.key.limited in ("", name))

    def leave(self, executor: ExecutorState) -> None:
        """An executor is gone."""
        self.rest(executor)
        self._served.pop(executor, None)

    def served_by(self, executor: ExecutorState) -> list[Lane]:
        return self._served.get(executor, [])

    def rest(self, executor: ExecutorState) -> None:
        """An executor gets nothing for now."""
        for lane in self.served_by(executor):
            lane.hungry.pop(executor, None)

    def line_up(self, executor: ExecutorState) -> None:
        """To the end of the line of those that have room, or out of it."""
        room = executor.has_room
        for lane in self.served_by(executor):
            lane.hungry.pop(executor, None)
            if room:
                lane.hungry[executor] = None

    def next_for(self, executor: ExecutorState, now: float) -> Record | None:
        """The most urgent task that an executor can run now, taken out."""
        lanes = self._served[executor]
        if len(lanes) == 1 and lanes[0].is_plain:  # as good as always
            return lanes[0].take()
        lane = self.choice(executor, now)
        if lane is None:
            return None
        if lane.limiter is not None:
            lane.limiter.start(now)
        return lane.take()

    def choice(self, executor: ExecutorState, now: float) -> Lane | None:
        """The lane whose first task an executor is to run next.

        A task that waits for resources has those that come free: no later or less urgent task is given any
        of what it waits for, or a large one would never get its turn.
        """
        heads = [
            (-head.task.priority, head.order, lane)
            for lane in self._served[executor]
            if (head := lane.head()) is not None
        ]
        if len(heads) > 1:
            heads.sort()
        awaited: set[str] = set()
        for _, _, lane in heads:
            if lane.is_plain:
                return lane
            if not lane.is_open(now):
                continue
            wanted = dict(lane.key.resources)
            if awaited.isdisjoint(wanted) and executor.worker.has_free(wanted):
                return lane
            awaited.update(wanted)
        return None
