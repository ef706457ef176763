"""A whole cluster in one thread and no time at all: the real cores, a network that fails on demand.

Time is virtual, every random choice comes from one seed, and so a run that went wrong can be run
again, step for step::

    world = World(seed=7)
    world.add_worker(executors=2)
    client = world.add_client()
    record = client.submit(duration=3.0)
    world.run_until(lambda: record.settled, limit=60)
"""

import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import msgspec

from nbqueue import messages as m
from nbqueue.client.records import TaskRecord
from nbqueue.client.session import Session, Submission
from nbqueue.core import entries
from nbqueue.core.actions import Action, Keep, Send, promises
from nbqueue.core.broker import BrokerCore, BrokerSettings
from nbqueue.core.worker import Ending, ExecutorCore, Raise
from nbqueue.states import FAILURE, REVOKED, SUCCESS
from nbqueue.wire.shipment import Blob


class World:
    """Clock, network and everybody in it.

    Parameters
    ----------
    latency
        Seconds that a message is under way, from – to.
    echo
        How probable it is that a message arrives twice.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        settings: BrokerSettings | None = None,
        latency: tuple[float, float] = (0.0001, 0.002),
        echo: float = 0.0,
    ) -> None:
        self.now = 0.0
        self.random = random.Random(seed)
        self.disk = Disk()
        self._settings = settings or BrokerSettings()
        self._boots = itertools.count(1)
        #: each broker's clock begins anew
        self._clock_zero = 0.0
        self.core = self._start_broker()
        #: no broker runs, and those who connect wait for the next one
        self.down = False
        #: after so many writes the broker dies, with the news of the next one sent and not written down
        self.writes_to_live: int | None = None
        #: what was never written for that reason
        self.unwritten: list[entries.AnyEntry] = []
        self.workers: list[SimulatedWorker] = []
        self.clients: list[SimulatedClient] = []
        #: (task id, executor id, began, ended) of every run that got to its end
        self.runs: list[tuple[str, str, float, float]] = []
        #: (when, id, name, starts a second) of each task with a rate that the broker handed out
        self.handed_out: list[tuple[float, str, str, float]] = []
        #: ids of tasks in the order in which they were started, once for each start
        self.starts: list[str] = []
        #: how long a task runs, by id; those that the broker made, by the name of the function
        self.durations: dict[str, float] = {}
        #: from when to when no broker ran
        self.absences: list[tuple[float, float]] = []
        #: tasks that kill their process when they run
        self.deadly: set[str] = set()
        #: tasks that fail
        self.failing: set[str] = set()
        #: tasks that end as others will, by their ids
        self.replaced: dict[str, str] = {}
        #: how often a task asks for another run before it succeeds
        self.unlucky: dict[str, int] = {}
        #: … and how often it rejects itself, and what is different in its next run
        self.unwilling: dict[str, int] = {}
        self.fickle: dict[str, m.Changes] = {}
        #: the last of what the broker was told and said, for whoever has to find out what went wrong
        self.story: deque[tuple[float, str, m.AnyMessage]] = deque(maxlen=20_000)
        self._latency = latency
        self._echo = echo
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._number = itertools.count()
        self._tick_at: float | None = None
        #: called after every message that the broker has dealt with
        self.on_change: Callable[[], None] = lambda: None

    # ── time ─────────────────────────────────────────────────────────────────────────────────

    def after(self, delay: float, call: Callable[[], None]) -> None:
        """Call in so many seconds."""
        self._at(self.now + delay, call)

    def _at(self, time: float, call: Callable[[], None]) -> None:
        heapq.heappush(self._events, (time, next(self._number), call))

    def step(self) -> bool:
        """The next event; False when nothing is left to happen."""
        if not self._events:
            return False
        self.now, _, call = heapq.heappop(self._events)
        call()
        return True

    def run_until(self, condition: Callable[[], bool], limit: float) -> bool:
        """Run until the condition holds; False if it does not within ``limit`` seconds of virtual time."""
        end = self.now + limit
        while not condition():
            if not self._events or self._events[0][0] > end:
                self.now = end
                return condition()
            self.step()
        return True

    def run_for(self, seconds: float) -> None:
        self.run_until(lambda: False, seconds)

    # ── who is there ─────────────────────────────────────────────────────────────────────────

    def add_client(self) -> "SimulatedClient":
        client = SimulatedClient(self, f"client-{len(self.clients)}")
        self.clients.append(client)
        return client

    def add_worker(self, executors: int = 1, **hello: Any) -> "SimulatedWorker":
        """A worker; ``hello`` are fields of its Hello, such as queues=["gpu"]."""
        worker = SimulatedWorker(self, f"worker-{len(self.workers)}", executors, hello)
        self.workers.append(worker)
        return worker

    def is_accepted(self, id: str) -> bool:
        """Whether its client knows that the broker keeps a task, or no client has submitted it."""
        found = [client.records[id] for client in self.clients if id in client.records]
        return all(record.accepted or record.settled for record in found)

    # ── the broker's side of the network ─────────────────────────────────────────────────────

    def to_broker(self, wire: "Wire", messages: Sequence[m.AnyMessage]) -> None:
        peer = wire.peer
        for _ in range(2 if self._echo and self.random.random() < self._echo else 1):
            at = wire.arrival(wire.sent_at)
            wire.sent_at = at
            self.after(at - self.now, lambda: self._arrive(peer, wire, messages))

    def _arrive(self, peer: "Peer", wire: "Wire", messages: Sequence[m.AnyMessage]) -> None:
        if peer is wire.peer and peer.boot == self.boot:
            for message in messages:
                self.tell(peer, message)

    def tell(self, peer: object, message: m.AnyMessage) -> None:
        """Hand the broker a message, if there is one; then do what it wants done."""
        if not self.down:
            self.story.append((self.now, "to the broker", message))
            self._perform(self.core.receive(peer, message, self.broker_time))

    def _perform(self, actions: Sequence[Action]) -> None:
        """As the daemon does it where writing waits for the disk: news, then the journal, then promises."""
        sends = [action for action in actions if isinstance(action, Send)]
        self._send(action for action in sends if not promises(action.message))
        keeps = [action for action in actions if isinstance(action, Keep)]
        if keeps and self.writes_to_live is not None:
            self.writes_to_live -= 1
            if self.writes_to_live < 0:
                self.unwritten += [entry for keep in keeps for entry in keep.entries]
                self.kill_broker()
                return
        for keep in keeps:
            self.disk.write(keep.entries)
        self._send(action for action in sends if promises(action.message))
        self.on_change()
        self._arm()

    def _send(self, actions: Iterable[Send]) -> None:
        for action in actions:
            peer: Any = action.peer
            self.story.append((self.now, "the broker", action.message))
            if isinstance(action.message, m.Assign):
                limited = [a.task for a in action.message.assignments if a.task.rate]
                self.handed_out += [(self.now, task.id, task.name, task.rate) for task in limited]
            peer.wire.from_broker(peer, action.message)

    @property
    def boot(self) -> int:
        """The number of the broker that runs, or of the next one."""
        return self.core.welcome.boot + self.down

    # ── the broker's death ───────────────────────────────────────────────────────────────────

    @property
    def broker_time(self) -> float:
        """The time on the clock of the broker that runs."""
        return self.now - self._clock_zero

    def _start_broker(self) -> BrokerCore:
        # another machine's clock, as it were
        self._clock_zero = self.now - self.random.uniform(0, 1000) if self.disk.records else 0.0
        core = BrokerCore(self._settings, boot=next(self._boots), epoch=self._clock_zero)
        recovery = core.recovery()
        for record in self.disk.records:
            recovery.read(entries.decode(record))
        recovery.finish(self.broker_time)
        self.disk.write([core.began])
        return core

    def kill_broker(self) -> None:
        """The broker's process ends without a word; what it wrote stays."""
        self.writes_to_live = None
        if self.down:
            return
        self.down = True
        self.absences.append((self.now, float("inf")))
        self._tick_at = None
        self.disk.abandon_snapshot()
        executors = [e for w in self.workers for e in w.executors]
        wires = [c.wire for c in self.clients] + [w.wire for w in self.workers]
        for wire in wires + [e.main for e in executors] + [e.control for e in executors]:
            if self.random.random() < 0.5:
                wire.break_()
            else:
                wire.end()

    def restart_broker(self) -> None:
        """Another broker starts with what the last one wrote down."""
        self.core = self._start_broker()
        self.down = False
        if self.absences:
            self.absences[-1] = (self.absences[-1][0], self.now)
        self.on_change()
        self._arm()

    def begin_snapshot(self) -> None:
        """Have the journal made small, little by little, while everything goes on."""
        if not self.down:
            self.disk.begin_snapshot(self.core.standing())
            self._continue_snapshot(self.core)

    def _continue_snapshot(self, core: BrokerCore) -> None:
        if core is self.core and not self.down and self.disk.continue_snapshot():
            self.after(self.delay(), lambda: self._continue_snapshot(core))

    def _arm(self) -> None:
        due = self.core.next_deadline()
        deadline = None if due is None else due + self._clock_zero
        if deadline is not None and (self._tick_at is None or deadline < self._tick_at):
            self._tick_at = max(deadline, self.now)
            self._at(self._tick_at, self._tick)  # not after(): the sum could fall just short of it

    def _tick(self) -> None:
        if self._tick_at is not None and self.now >= self._tick_at and not self.down:
            self._tick_at = None
            # the difference of two clocks must not leave us a moment before what is due
            self._perform(self.core.tick(self.broker_time + 1e-9))

    def delay(self) -> float:
        return self.random.uniform(*self._latency)


class Disk:
    """What a broker has written, and what a snapshot of it has reached."""

    def __init__(self) -> None:
        #: a snapshot, perhaps, and everything since
        self.records: list[bytes] = []
        self._since: list[bytes] = []
        self._snapshot: list[bytes] = []
        self._portions: Iterator[list[entries.AnyEntry]] | None = None

    def write(self, turn: list[entries.AnyEntry]) -> None:
        record = entries.encode(turn)
        self.records.append(record)
        self._since.append(record)

    def begin_snapshot(self, portions: Iterator[list[entries.AnyEntry]]) -> None:
        self._portions, self._snapshot, self._since = portions, [], []

    def continue_snapshot(self) -> bool:
        """Write another portion; False when there is none left, and the snapshot counts."""
        portion = next(self._portions, None) if self._portions is not None else None
        if portion is not None:
            self._snapshot.append(entries.encode(portion))
            return True
        if self._portions is not None:
            self.records = self._snapshot + self._since
            self._portions = None
        return False

    def abandon_snapshot(self) -> None:
        self._portions = None


class Peer:
    """One connection, as the broker sees it; ``boot`` is that of the broker it leads to, and to no other."""

    def __init__(self, wire: "Wire", boot: int) -> None:
        self.wire = wire
        self.boot = boot


class Wire:
    """One link: in order, delayed, and breakable.  ``receive`` takes what comes from the broker."""

    def __init__(self, world: World, receive: Callable[[m.AnyMessage], None]) -> None:
        self.peer = Peer(self, world.boot)
        self.sent_at = 0.0
        #: seconds that each message takes beside the network's own delay
        self.slowness = 0.0
        self._got_at = 0.0
        self._world = world
        self._receive = receive
        self._alive = True

    def arrival(self, last: float) -> float:
        """When something sent now arrives: not before what was sent earlier."""
        return max(self._world.now + self._world.delay() + self.slowness, last)

    def send(self, messages: Sequence[m.AnyMessage]) -> None:
        if messages and self._alive:
            self._world.to_broker(self, list(messages))

    def from_broker(self, peer: Peer, message: m.AnyMessage) -> None:
        if peer is not self.peer or not self._alive:
            # the broker learns that a connection is gone when it next says something
            gone = m.Goodbye(unreachable=True)
            self._world.after(0.0, lambda: self._world.tell(peer, gone))
            return
        self._got_at = self.arrival(self._got_at)
        self._world.after(self._got_at - self._world.now, lambda: self._arrive(peer, message))

    def _arrive(self, peer: Peer, message: m.AnyMessage) -> None:
        if peer is self.peer and self._alive:
            self._receive(message)

    def break_(self) -> None:
        """Lose everything under way, and come back as another peer."""
        self.peer = Peer(self, self._world.boot)

    def end(self) -> None:
        """The broker's end is closed: what it has sent still arrives."""
        peer = self.peer
        self._world.after(max(0.0, self._got_at - self._world.now), lambda: self._ended(peer))

    def _ended(self, peer: Peer) -> None:
        if peer is self.peer:
            self.break_()

    def cut(self) -> None:
        """The process behind it is dead."""
        self._alive = False
        self.break_()


class SimulatedClient:
    """The real session over a simulated wire."""

    def __init__(self, world: World, id: str) -> None:
        self.session = Session(m.Hello(role=m.CLIENT, id=id), output_limit=10_000)
        self.records: dict[str, TaskRecord] = {}
        self._world = world
        self._numbers = itertools.count()
        self._id = id
        self.wire = Wire(world, self._receive)
        self._flush()
        self._ping()

    def submit(self, duration: float = 0.0, **fields: Any) -> TaskRecord:
        """Send a task that runs so many seconds; ``fields`` are those of ``messages.Task``."""
        id = f"{self._id}/{next(self._numbers)}"
        task = m.Task(id, **{"name": "sleep", "definition": "d", "payload": b"", **fields})
        self._world.durations[id] = duration
        record = self.records[id] = TaskRecord(id, task.name, task.queue)
        record.known = True
        self.session.records.add(record)
        blobs = (Blob(task.definition, b"definition"),) if task.definition else ()
        self.session.submit(Submission(task, blobs))
        self._flush()
        return record

    def cancel(self, record: TaskRecord, terminate: bool = True) -> None:
        self.session.say(m.Cancel([record.id], terminate))
        self._flush()

    def schedule(self, name: str, every: float, *, missed: str = "once", **fields: Any) -> list[str]:
        """Register a periodic task of the application "app"; what is returned will hold the broker's answer,
        "" if all went well.  ``fields`` are those of ``messages.Task`` and ``messages.Periodic``."""
        skip = fields.pop("skip_if_running", False)
        task = m.Task("", **{"name": name, "definition": "d", "payload": b"", **fields})
        periodic = m.Periodic(name, m.Timetable(every=every), task, missed, skip)
        return self._order(lambda number: m.Schedule(number, "app", [periodic]), Blob("d", b"definition"))

    def unschedule(self, name: str) -> list[str]:
        """Drop a periodic task; returns as :meth:`schedule`."""
        return self._order(lambda number: m.Unschedule(number, "app", [name]))

    def _order(self, message: Callable[[int], m.AnyMessage], *blobs: Blob) -> list[str]:
        answers: list[str] = []
        self.session.order(message, blobs, lambda answer: answers.append(answer.error))
        self._flush()
        return answers

    def ask(self, topic: str, **args: Any) -> None:
        """Put a question, whatever the answer."""
        self.session.ask(topic, args, lambda answer: None)
        self._flush()

    def forget(self, record: TaskRecord) -> None:
        self.session.forget([record.id], [record])
        self._flush()

    def _receive(self, message: m.AnyMessage) -> None:
        self.session.receive(message)
        self._flush()

    def _flush(self) -> None:
        self.wire.send(self.session.take())

    def _ping(self) -> None:
        self.session.say(m.Ping())
        self._flush()
        self._world.after(2.0, self._ping)


class SimulatedWorker:
    """A supervisor that starts executors, watches them die, and starts others."""

    def __init__(self, world: World, id: str, executors: int, hello: dict[str, Any]) -> None:
        fields = {"name": id, "queues": ["default"], **hello}
        self.hello = m.Hello(role=m.WORKER, id=id, **fields)
        self.executors: list[SimulatedExecutor] = []
        self.alive = True
        self._world = world
        self._numbers = itertools.count()
        self.wire = Wire(world, self._receive)
        self.wire.send([self.hello])
        for _ in range(executors):
            self._start()
        self._heartbeat()

    def _start(self) -> None:
        self.executors.append(SimulatedExecutor(self._world, self, f"{self.hello.id}.{next(self._numbers)}"))

    def _receive(self, message: m.AnyMessage) -> None:
        if isinstance(message, m.Unknown):
            self.wire.send([self.hello])
        elif isinstance(message, m.Kill):
            for executor in self.executors:
                if executor.id == message.executor and executor.tokens == [message.token]:
                    executor.die(-9)  # with others beside it, its outcome is refused, and that is all

    def _heartbeat(self) -> None:
        if self.alive:
            self.wire.send([m.Heartbeat([e.id for e in self.executors])])
            self._world.after(2.0, self._heartbeat)

    def lost(self, executor: "SimulatedExecutor", exit_code: int) -> None:
        """One of its processes has died."""
        self.executors.remove(executor)
        if self.alive:
            token, *others = executor.tokens or [0]
            self.wire.send([m.ExecutorLost(executor.id, token, exit_code, others=others)])
            self._start()

    def consume(self, *queues: str) -> None:
        """Serve these queues from now on."""
        self.hello = msgspec.structs.replace(self.hello, queues=list(queues))
        self.wire.send([self.hello])
        for executor in self.executors:
            executor.main.send(executor.core.consume(list(queues)))

    def vanish(self) -> None:
        """The machine is gone."""
        self.alive = False
        self.wire.cut()
        for executor in list(self.executors):
            executor.die(-9)


class SimulatedExecutor:
    """The real executor core over two wires; a run is a pause."""

    def __init__(self, world: World, worker: SimulatedWorker, id: str) -> None:
        self.id = id
        self._world = world
        self._worker = worker
        self.core = ExecutorCore(
            m.Hello(
                role=m.EXECUTOR,
                id=id,
                worker=worker.hello.id,
                name=worker.hello.name,
                queues=worker.hello.queues,
                python=worker.hello.python,
                env=worker.hello.env,
                registered=worker.hello.registered,
                tags=worker.hello.tags,
                resources=worker.hello.resources,
                slots=worker.hello.slots,
            )
        )
        self._alive = True
        #: ignores interrupts, as code that holds the GIL does
        self.stubborn = False
        #: reports no start, likewise
        self.silent = False
        self.main = Wire(world, lambda message: self._receive(m.EXECUTOR, message))
        self.control = Wire(world, lambda message: self._receive(m.CONTROL, message))
        self.main.send(self.core.introduce(m.EXECUTOR))
        self.control.send(self.core.introduce(m.CONTROL))
        self._heartbeat()

    @property
    def tokens(self) -> list[int]:
        """Of what runs."""
        return list(self.core.running)

    def _receive(self, role: str, message: m.AnyMessage) -> None:
        wire = self.main if role == m.EXECUTOR else self.control
        for effect in self.core.receive(role, message):
            if isinstance(effect, Raise):
                if not self.stubborn:
                    self._end(effect.token, REVOKED)
            else:
                wire.send([effect])  # type: ignore[list-item]  # Leave does not happen here
        self._next()

    def _next(self) -> None:
        while self._alive and (assignment := self.core.take()) is not None:
            self._begin(assignment)

    def _begin(self, assignment: m.Assignment) -> None:
        id, token, began = assignment.task.id, assignment.token, self._world.now
        durations = self._world.durations
        duration = durations[id] if id in durations else durations.get(assignment.task.name, 0.0)
        self._world.starts.append(id)
        if duration > 0.05 and not self.silent:
            self._world.after(0.05, lambda: self._report(id, token))
        if id in self._world.deadly:
            self._world.after(duration, lambda: self._die_of(token))
        else:
            self._world.after(duration, lambda: self._end(token, SUCCESS, began))

    def _report(self, id: str, token: int) -> None:
        if self._alive and token in self.core.running:
            self.control.send([m.Started(id, token)])

    def _die_of(self, token: int) -> None:
        if self._alive and token in self.core.running:
            self.die(-11)

    def _end(self, token: int, state: str, began: float = 0.0) -> None:
        if not self._alive or token not in self.core.running:
            return
        id = self.core.running[token].task.id
        if state == SUCCESS and self._world.unwilling.get(id):
            self._world.unwilling[id] -= 1
            self.core.give_back(token)
            self.main.send([m.Returned([token], rejected=True)])
            self._next()
            return
        by = self._world.replaced.get(id)
        if state == SUCCESS and by is not None and not self._world.is_accepted(by):
            self._world.after(0.5, lambda: self._end(token, state, began))  # it waits for that
            return
        if state == SUCCESS and self._world.unlucky.get(id):
            self._world.unlucky[id] -= 1
            self.core.finish(m.Retry(id, token, 0.5, changes=self._world.fickle.get(id)))
            self.main.send(self.core.flush())
            self._next()
            return
        if state == SUCCESS:
            self._world.runs.append((id, self.id, began, self._world.now))
        self.core.finish(self._ending(id, token, state, began))
        self.main.send(self.core.flush())
        self._next()

    def _ending(self, id: str, token: int, state: str, began: float) -> Ending:
        if state == SUCCESS and id in self._world.replaced:
            return m.Replaced(id, token, self._world.replaced[id])
        failed = None
        if state == SUCCESS and id in self._world.failing:
            state, failed = FAILURE, m.Failure("ValueError", "builtins", id, "")
        return m.Outcome(id, token, state, b"", failed, self._world.now - began)

    def _heartbeat(self) -> None:
        if self._alive:
            self.main.send(self.core.heartbeat(m.EXECUTOR))
            self.control.send(self.core.heartbeat(m.CONTROL))
            self._world.after(2.0, self._heartbeat)

    def die(self, exit_code: int) -> None:
        """The process ends without a word."""
        if self._alive:
            self._alive = False
            self.main.cut()
            self.control.cut()
            self._worker.lost(self, exit_code)
