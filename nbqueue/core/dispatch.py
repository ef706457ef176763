"""Who runs what: executors, the leases they hold, and the lanes they take them from."""

from collections.abc import Callable
from math import inf
from typing import Final

import msgspec

from nbqueue.core.actions import Peer
from nbqueue.core.executors import Durations, ExecutorState, WorkerState
from nbqueue.core.feed import Feed
from nbqueue.core.ledger import Ledger
from nbqueue.core.limits import Limiter, Limits, TimeLimits
from nbqueue.core.outbox import Outbox
from nbqueue.core.permissions import LOCAL, Key
from nbqueue.core.queues import Lane, Lanes
from nbqueue.core.records import LEASED, READY, Record
from nbqueue.core.timers import HARD_LIMIT, RATE, SOFT_LIMIT, Timers
from nbqueue.messages import EXECUTOR, Assignment, Held, Hello, Recall, Task

#: seconds that prefetched tasks may wait behind a long one while another executor is idle
PATIENCE: Final = 0.05


class Dispatcher:
    """Hands waiting tasks to executors, and takes them back."""

    def __init__(
        self, boot: int, outbox: Outbox, timers: Timers, ledger: Ledger, events: Feed, epoch: float = 0.0
    ) -> None:
        #: makes the assignment of a step, which takes something from others: see ``Steps``
        self.assignment_of_step: Callable[[Record], Assignment] = _plain_assignment
        self.workers: dict[str, WorkerState] = {}
        self.events = events
        self.executors: dict[str, ExecutorState] = {}
        self.limits = Limits()
        self.lanes = Lanes(self.limits)
        self.durations = Durations(self.limits.rates)
        #: why nothing is handed out for now, "" if it is: see ``Tasks.make_room``
        self.paused = ""
        #: older ones were given out by earlier brokers
        self.first_token = self._token = boot << 32
        #: lanes into which something was put back, or whose first task is another one now
        self._stirred: dict[Lane, None] = {}
        #: workers of whose resources something came free
        self._freed: dict[WorkerState, None] = {}
        self._outbox = outbox
        self._timers = timers
        self._ledger = ledger
        #: added to a time, gives Unix time
        self._epoch = epoch

    # ── executors come and go ────────────────────────────────────────────────────────────────

    def worker(self, id: str, now: float, key: Key = LOCAL) -> WorkerState:
        """The worker of that id, made on first mention (an executor may be heard of before it)."""
        worker = self.workers.get(id)
        if worker is None:
            worker = self.workers[id] = WorkerState(id, now)
            worker.key = key
        return worker

    def executor(self, hello: Hello, now: float, key: Key = LOCAL) -> ExecutorState:
        """The executor that says hello on either of its links, made on first mention."""
        executor = self.executors.get(hello.id)
        if executor is None:
            worker = self.worker(hello.worker, now, key)
            worker.called = hello.name
            self._ledger.joined(hello, key)
            executor = ExecutorState(hello, worker)
            executor.key = key
            self.executors[executor.id] = worker.executors[executor.id] = executor
            self.lanes.join(executor)
        elif hello.role == EXECUTOR and executor.queues != frozenset(hello.queues):
            self.consume(executor, hello.queues)  # it changed while it was away
        return executor

    def consume(self, executor: ExecutorState, queues: list[str]) -> None:
        """It serves other queues from now on; call :meth:`feed` afterwards."""
        executor.consume(queues)
        self._ledger.joined(executor.hello, executor.key)
        self.lanes.leave(executor)
        self.lanes.join(executor)

    def remove(self, executor: ExecutorState, now: float) -> list[Record]:
        """Forget an executor; returns what it held, the last first: each goes to the front of its lane."""
        executor.peer = None
        self.lanes.leave(executor)
        self.executors.pop(executor.id, None)
        executor.worker.executors.pop(executor.id, None)
        if executor.worker.demands:
            self._freed[executor.worker] = None
        return [executor.release(token, now) for token in reversed(list(executor.held))]

    def detach(self, executor: ExecutorState) -> None:
        """Its main link is gone: nothing is assigned to it until it comes back."""
        executor.peer = None
        self.lanes.rest(executor)

    # ── tasks ────────────────────────────────────────────────────────────────────────────────

    def lane(self, task: Task) -> Lane:
        return self.lanes.lane(task)

    def enqueue(self, record: Record, now: float) -> None:
        """A record waits for an executor, or gets one at once."""
        record.place = READY
        lane = self.lane(record.task)
        if not lane.is_plain:
            lane.put(record)
            if lane.head() is record:  # behind others it has to wait in any case
                self._offer(lane, now)
            return
        executor = next(iter(lane.hungry), None)
        if executor is not None and not lane.size and not self.paused:
            self._assign(record, executor, now)
            self.lanes.line_up(executor)
        else:
            lane.put(record)

    def put_back(self, record: Record) -> None:
        """A record waits again, before the others: put back the last first, then call :meth:`serve`."""
        record.place = READY
        lane = self.lane(record.task)
        lane.put_back(record)
        self._stirred[lane] = None

    def withdraw(self, record: Record) -> None:
        """A record that waits for an executor waits no longer, though none has got it."""
        lane = self.lane(record.task)
        lane.withdrawn()
        self._stir(lane)

    def claimed(self, record: Record) -> None:
        """The same of a record that is run by somebody who had it from an earlier broker."""
        lane = self.lane(record.task)
        lane.remove(record)
        self._stir(lane)

    def _stir(self, lane: Lane) -> None:
        """The first task of a lane may be another one now: what it waited for is no longer kept for it."""
        if lane.key.resources:
            self._stirred[lane] = None

    def serve(self, now: float) -> None:
        """Give to those that have room what was put back, and what waited for resources that came free."""
        while self._stirred or self._freed:
            while self._freed:
                worker, _ = self._freed.popitem()
                for executor in list(worker.executors.values()):
                    if executor.has_room:
                        self.feed(executor, now)
            if self._stirred:
                lane, _ = self._stirred.popitem()
                self._await(lane.limiter, now)
                for executor in list(lane.hungry):
                    self.feed(executor, now)

    def _offer(self, lane: Lane, now: float) -> None:
        """Give what waits in a lane to those that have room, as far as its rate and their resources go."""
        self._await(lane.limiter, now)
        for executor in list(lane.hungry):
            if not lane.size or not lane.is_open(now):
                break
            self.feed(executor, now)

    def _await(self, limiter: Limiter | None, now: float) -> None:
        """See to it that the next task of a limited name starts when it may; if it may already, that is up to
        those who can run it."""
        if limiter is None or not self.lanes.waiting(limiter.name):
            return
        if now < limiter.due < limiter.timer_at:
            limiter.timer_at = limiter.due
            self._timers.set(limiter.due, RATE, limiter.name)

    def started_unheard(self, record: Record, now: float) -> None:
        """A task runs that an earlier broker had given out."""
        self.limits.started(record.task, now)
        limiter = self.limits.limiters.get(record.task.name)
        if limiter is not None:
            self._started(limiter, now)

    def _started(self, limiter: Limiter, now: float) -> None:
        """The next task of that name comes when it may; until then its lanes keep nothing for it."""
        self._await(limiter, now)
        for lane in self.lanes.limited.get(limiter.name, ()):
            self._stir(lane)

    def rate_due(self, name: str, now: float) -> None:
        """A task of a limited name may start, or its rate is another one."""
        limiter = self.limits.limiters.get(name)
        if limiter is not None:
            limiter.timer_at = inf
            for lane in list(self.lanes.limited.get(name, ())):
                self._offer(lane, now)

    def feed(self, executor: ExecutorState, now: float) -> None:
        """Give an executor what it has room for."""
        while executor.has_room and not self.paused:
            record = self.lanes.next_for(executor, now)
            if record is None:
                break
            self._assign(record, executor, now)
            if self.lanes.special and not (lane := self.lane(record.task)).is_plain:
                self._stir(lane)
                if lane.limiter is not None:
                    self._started(lane.limiter, now)
        self.lanes.line_up(executor)

    def pause(self, reason: str, now: float) -> None:
        """Hand out nothing from now on, for that reason; "" is to go on."""
        was_paused, self.paused = self.paused, reason
        if bool(reason) != bool(was_paused):
            for executor in list(self.executors.values()):
                self.feed(executor, now)

    def release(self, executor: ExecutorState, token: int, now: float) -> Record | None:
        """A lease has ended; None if the executor did not hold it.  Call :meth:`feed` afterwards."""
        if token not in executor.held:
            return None
        record = executor.release(token, now)
        if record.task.demand is not None:
            self._freed[executor.worker] = None
        return record

    def _assign(self, record: Record, executor: ExecutorState, now: float) -> None:
        task = record.task
        if self.limits.times and (times := self.limits.times.get(task.name)) is not None:
            task = record.task = limited_to(task, times)
        self._token += 1
        record.place = LEASED
        record.token = self._token
        record.executor = executor.id
        record.attempt += 1
        record.leased_at = now
        record.started_at = None
        record.estimate = self.durations.estimate(task)
        if not executor.held:
            executor.moved_at = now
        executor.hold(record)
        self._ledger.leased(record, now)
        if self.events.on:
            self.events.received(record, executor, now)
        self._watch_limits(record, executor, now)
        peer: Peer = executor.peer
        make = _plain_assignment if task.step is None else self.assignment_of_step
        assignment = make(record)
        if task.countdown or task.expires is not None:
            since = record.at if task.step is None else record.due - task.countdown
            assignment = msgspec.structs.replace(assignment, at=since + self._epoch)
        self._outbox.assign(peer, assignment)

    def _watch_limits(self, record: Record, executor: ExecutorState, now: float) -> None:
        task = record.task
        if task.time_limit is None and task.soft_time_limit is None and executor.limits == (None, None):
            return  # as good as always
        hard, soft = limits(task, executor)
        if hard is not None:
            self._timers.set(now + hard, HARD_LIMIT, task.id, record.token)
        if soft is not None:
            self._timers.set(now + soft, SOFT_LIMIT, task.id, record.token)

    def restore(self, record: Record, executor: ExecutorState, now: float) -> None:
        """A lease that an earlier broker gave goes on."""
        record.place, record.executor = LEASED, executor.id
        record.estimate = self.durations.estimate(record.task)
        executor.hold_again(record, now)
        self._watch_limits(record, executor, now)

    # ── what is said of a name at runtime ────────────────────────────────────────────────────

    def set_rate(self, name: str, rate: float | None, now: float) -> None:
        """Starts a second of tasks of that name from now on, also of those that wait; 0: as many as there
        can be, None: what the tasks bring."""
        waiting = [record for lane in list(self.lanes.of_name(name)) for record in lane.extract(name)]
        self.limits.set_rate(name, rate)
        self._ledger.tuned(self.limits, name)
        by_lane: dict[Lane, list[Record]] = {}
        for record in waiting:
            if not rate:  # the latest task's rate holds, as if they had come just now
                self.limits.heard(record.task)
            by_lane.setdefault(self.lane(record.task), []).append(record)
        for lane, records in by_lane.items():
            lane.merge(records)
        for lane in by_lane:
            self._offer(lane, now)
        self._stirred.update(dict.fromkeys(lane for lane in self.lanes.by_key.values() if lane.size))

    def set_time_limits(self, name: str, times: TimeLimits | None) -> None:
        """What runs of tasks of that name are limited to that begin from now on; None: what they bring."""
        self.limits.set_times(name, times)
        self._ledger.tuned(self.limits, name)

    def lost(self, executor: ExecutorState, report: Held) -> list[int]:
        """Leases that did not arrive although later ones did, the last first; twice, to be sure: the
        report travels by another link."""
        reported = set(report.tokens)
        absent = {token for token in executor.held if token <= report.latest and token not in reported}
        lost = absent & executor.absent
        executor.absent = absent - lost
        return sorted(lost, reverse=True)

    # ── giving back ──────────────────────────────────────────────────────────────────────────

    def rebalance(self, now: float) -> None:
        """Ask executors that are stuck in a long task for what waits behind it, if others are idle."""
        for victim in self._stuck():
            if victim.moved_at + PATIENCE <= now:
                victim.stuck = True
                self.lanes.line_up(victim)
                self._outbox.send(victim.control, Recall(len(victim.held) - victim.slots))

    def next_rebalance(self) -> float | None:
        return min((victim.moved_at + PATIENCE for victim in self._stuck()), default=None)

    def _stuck(self) -> list[ExecutorState]:
        """Executors with prefetched tasks that an idle one could run."""
        idle_lanes = {lane.key for lane in self.lanes.by_key.values() if any(not e.held for e in lane.hungry)}
        if not idle_lanes:
            return []
        return [
            executor
            for executor in self.executors.values()
            if len(executor.held) > executor.slots
            and not executor.stuck
            and executor.control is not None
            and any(lane.key in idle_lanes for lane in self.lanes.served_by(executor))
        ]


def limited_to(task: Task, times: TimeLimits) -> Task:
    """The same task with other time limits."""
    return msgspec.structs.replace(task, soft_time_limit=times.soft, time_limit=times.hard)


def limits(task: Task, executor: ExecutorState | None) -> tuple[float | None, float | None]:
    """A run's hard and soft time limit: the task's own, or else its executor's."""
    hard, soft = (None, None) if executor is None else executor.limits
    if task.time_limit is not None:
        hard = task.time_limit
    if task.soft_time_limit is not None:
        soft = task.soft_time_limit
    return hard, soft


def _plain_assignment(record: Record) -> Assignment:
    return Assignment(record.task, record.token, record.retries, record.attempt)
