"""Generators and their readers in a cluster where everything breaks: each item once and in order, and no task
waits for a reader that is gone."""

import random
from types import SimpleNamespace
from typing import Any

import pytest

from nbqueue import messages as m
from nbqueue.client.stream import ItemStream as Reader
from nbqueue.core.broker import BrokerSettings
from nbqueue.testing import invariants, simulation
from nbqueue.testing.simulation import SimulatedClient, SimulatedExecutor, World
from nbqueue.wire import payload
from nbqueue.worker.stream import ItemStream

#: seconds of virtual time between two looks of a generator, and between two items
LOOK = 0.05


class Generating(SimulatedExecutor):
    """Its tasks yield as many numbers as their payload says, with the real ItemStream."""

    _streams: dict[int, ItemStream]

    def _begin(self, assignment: m.Assignment) -> None:
        if not hasattr(self, "_streams"):
            self._streams = {}
        stream = ItemStream(
            assignment.task.id,
            assignment.token,
            keep=not assignment.task.ignore_result,
            what="an item",
            limit=0,
            push=lambda: None,
            clock=lambda: self._world.now,
        )
        self._streams[assignment.token] = stream
        self._world.after(0.05, lambda: self._report(assignment.task.id, assignment.token))
        self._step(assignment, 0, int(assignment.task.payload))

    def _step(self, assignment: m.Assignment, done: int, count: int) -> None:
        token = assignment.token
        if not self._alive or token not in self.core.running:
            return
        stream = self._streams[token]
        if done < count and not stream._must_wait():
            stream._add(done)
            done += 1
        self.main.send(stream.collect())
        unread = not stream._keep and stream._wanted and stream._start < stream._count
        if done < count or stream._must_wait() or unread:
            self._world.after(LOOK, lambda: self._step(assignment, done, count))
            return
        outcome = m.Outcome(
            assignment.task.id, token, "SUCCESS", payload.dumps_value(stream.kept), runtime=1.0
        )
        self.core.finish(outcome)
        self.main.send(self.core.flush())
        self._next()

    def _receive(self, role: str, message: m.AnyMessage) -> None:
        if isinstance(message, m.Pull):
            stream = getattr(self, "_streams", {}).get(message.token)
            if stream is not None and self._alive:
                stream.pulled(message)
                self.main.send(stream.collect())
            return
        super()._receive(role, message)


class Person:
    """Reads the items of a task, now and then."""

    def __init__(self, world: World, client: SimulatedClient, record: Any, pace: float, window: int) -> None:
        self.items: list[int] = []
        self.gone = False
        self._world, self._client, self._record, self._pace = world, client, record, pace
        result = SimpleNamespace(id=record.id, record=record)
        self._stream = Reader(result, window)
        client.session.streams.setdefault(record.id, []).append(_held(self._stream))
        client.session.pull(record.id)
        client._flush()
        self._renew()
        self._read()

    def _read(self) -> None:
        stream = self._stream
        if self.gone:
            return
        if stream._arrived:
            self.items.append(payload.loads(stream._arrived.popleft()))
            stream._position += 1
            if stream._upto - stream._position <= stream._window // 2:
                self._client.session.pull(self._record.id)
                self._client._flush()
        elif self._record.outcome is not None:
            self.items += payload.loads(self._record.outcome.value)[stream._position :]
            self.leave()
            return
        self._world.after(self._pace, self._read)

    def _renew(self) -> None:
        if not self.gone:
            self._client.session.pull(self._record.id, renewed=True)
            self._client._flush()
            self._world.after(2.0, self._renew)

    def leave(self) -> None:
        self.gone = True
        self._client.session.streams.pop(self._record.id, None)


def _held(stream: Reader) -> Any:
    return lambda: stream


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> World:
    monkeypatch.setattr(simulation, "SimulatedExecutor", Generating)
    made = World(getattr(request, "param", 1), settings=BrokerSettings(max_task_deaths=1000))
    made.on_change = lambda: invariants.check(made.core)
    return made


@pytest.mark.parametrize("world", range(40), indirect=True)
def test_each_item_comes_once_and_in_order_whatever_breaks(world: World) -> None:
    choose = random.Random(world.random.random())
    client = world.add_client()
    workers = [world.add_worker(executors=1) for _ in range(2)]
    counts = [choose.randint(0, 80) for _ in range(3)]
    records = [client.submit(payload=str(count).encode()) for count in counts]
    people = []
    for record in records:
        world.run_for(choose.uniform(0, 0.5))
        people.append(Person(world, client, record, choose.choice([0.01, 0.2]), choose.choice([1, 5, 64])))
    for _ in range(choose.randint(0, 12)):
        world.run_for(choose.uniform(0, 1))
        executor = choose.choice([e for worker in workers for e in worker.executors])
        wire = choose.choice([client.wire, executor.main, executor.control])
        event = choose.choice(["link", "link", "executor", "broker"])
        if event == "link":
            wire.break_()
        elif event == "executor":
            executor.die(-9)
        else:
            world.kill_broker()
            world.run_for(choose.uniform(0, 2))
            world.restart_broker()
    assert world.run_until(lambda: all(person.gone for person in people), 600), [p.items for p in people]
    assert [person.items for person in people] == [list(range(count)) for count in counts]


def test_a_task_does_not_wait_for_a_reader_that_is_gone(world: World) -> None:
    client = world.add_client()
    world.add_worker()
    record = client.submit(payload=b"100")
    person = Person(world, client, record, pace=5.0, window=1)
    world.run_for(20)
    assert record.outcome is None
    assert 2 <= len(person.items) <= 6
    person.leave()
    assert world.run_until(lambda: record.outcome is not None, limit=30)


def test_without_a_result_the_task_ends_when_its_reader_has_all(world: World) -> None:
    client = world.add_client()
    world.add_worker()
    record = client.submit(payload=b"30", ignore_result=True)
    person = Person(world, client, record, pace=0.5, window=4)
    world.run_until(lambda: len(person.items) >= 20, limit=60)
    assert record.outcome is None
    assert world.run_until(lambda: record.outcome is not None, limit=60)
    assert person.items == list(range(person.items[0], 30))
