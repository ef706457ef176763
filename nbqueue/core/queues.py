"""Tasks that wait for an executor.

A *lane* holds the tasks of one queue that the same executors can run.  What a task demands of its
executor (queue, Python version, environment, a registered name) is its lane's key, so an executor
finds its work by looking at the few lanes that it serves, and never at a task that it cannot run.
"""

from collections import deque
from typing import NamedTuple

from nbqueue.core.executors import ExecutorState
from nbqueue.core.records import READY, Record
from nbqueue.messages import Task

PRIORITIES = 10


class LaneKey(NamedTuple):
    """What the tasks of a lane demand."""

    queue: str
    python: str
    env: str
    #: a name that the worker must have registered, "" for tasks that bring their definition
    name: str

    @classmethod
    def of(cls, task: Task) -> "LaneKey":
        if task.definition:
            return cls(task.queue, task.python, task.env, "")
        return cls(task.queue, "", "", task.name)

    def served_by(self, executor: ExecutorState) -> bool:
        """Whether an executor can run the tasks of this lane."""
        if self.queue not in executor.queues:
            return False
        if self.name:
            return self.name in executor.registered
        return self.python in ("", executor.python) and (self.env == "" or executor.env in ("", self.env))


class Lane:
    """Waiting tasks with the same demands: first come, first served within a priority, 9 first."""

    def __init__(self, key: LaneKey) -> None:
        self.key = key
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
        if self.size:
            for queue in reversed(self._queues):
                while queue:
                    if queue[0].place == READY:
                        return queue[0]
                    queue.popleft()
        return None

    def take(self) -> Record | None:
        """The next task, taken out."""
        record = self.head()
        if record is not None:
            self._queues[record.task.priority].popleft()
            self._shrink()
        return record

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

    def __init__(self) -> None:
        #: by LaneKey, or the plain tuple that is equal to it
        self.by_key: dict[tuple[str, str, str, str], Lane] = {}
        self._served: dict[ExecutorState, list[Lane]] = {}

    def lane(self, task: Task) -> Lane:
        """The lane of a task, made on first use."""
        # the tuple alone is made in a tenth of a LaneKey's time
        definition = task.definition
        key = (task.queue, task.python, task.env, "") if definition else (task.queue, "", "", task.name)
        return self.by_key.get(key) or self._open(LaneKey(*key))

    def _open(self, key: LaneKey) -> Lane:
        lane = self.by_key[key] = Lane(key)
        for executor, served in self._served.items():
            if key.served_by(executor):
                served.append(lane)
                if executor.has_room:
                    lane.hungry[executor] = None
        return lane

    def join(self, executor: ExecutorState) -> None:
        """A new executor: find the lanes that it serves."""
        self._served[executor] = [lane for lane in self.by_key.values() if lane.key.served_by(executor)]

    def prune(self) -> None:
        """Drop lanes in which nothing waits and that nobody serves."""
        served = {lane.key for lanes in self._served.values() for lane in lanes}
        for key in [key for key, lane in self.by_key.items() if not lane.size and key not in served]:
            del self.by_key[key]

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

    def next_for(self, executor: ExecutorState) -> Record | None:
        """The most urgent task that an executor can run, taken out."""
        lanes = self._served[executor]
        if len(lanes) == 1:  # as good as always
            return lanes[0].take()
        best: Lane | None = None
        urgency: tuple[int, int] = (PRIORITIES, 0)
        for lane in lanes:
            head = lane.head()
            if head is not None and (-head.task.priority, head.order) < urgency:
                best, urgency = lane, (-head.task.priority, head.order)
        return best.take() if best is not None else None
