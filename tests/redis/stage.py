"""A client and an executor by hand: links to a Redis, turned by the test, so that it says who does what when.

Tasks run in no time: how each ends is said before, and a task may be held until the test lets it go.
"""

import itertools
import time
from collections.abc import Callable
from typing import Any

import msgspec

from nbqueue import messages as m
from nbqueue.client.ids import new_id
from nbqueue.settings import Settings
from nbqueue.states import FAILURE, SUCCESS
from nbqueue.transports.base import Link
from nbqueue.transports.redis import RedisTransport
from tests.worker.cluster import PYTHON

LIMIT = 20.0
ERROR = m.Failure("ValueError", "builtins", "broken", "ValueError: broken\n")
_numbers = itertools.count(1)


class Hand:
    """An executor; it takes what it is assigned, and ends it as the stage says."""

    def __init__(self, stage: "Stage", transport: RedisTransport, slots: int) -> None:
        self.stage = stage
        self.worker = f"hand{next(_numbers)}"
        self.hello = m.Hello(
            m.WORKER, self.worker, worker=self.worker, name=self.worker, python=PYTHON, queues=["default"],
            registered=["f"],
        )  # fmt: skip
        self.seat = f"{self.worker}/one"
        self.supervisor, self.main, self.control = (transport.connect() for _ in range(3))
        self.supervisor.send([self.hello])
        self.hellos = {
            role: msgspec.structs.replace(self.hello, role=role, id="one", slots=slots)
            for role in (m.EXECUTOR, m.CONTROL)
        }
        self.main.send([self.hellos[m.EXECUTOR]])
        self.control.send([self.hellos[m.CONTROL]])
        self.held: dict[str, m.Assignment] = {}

    def turn(self) -> None:
        for message in self.main.receive(0.002):
            if isinstance(message, m.Assign):
                for assignment in message.assignments:
                    self.stage.given.append(assignment)
                    self.held[assignment.task.id] = assignment
            elif isinstance(message, m.Define):
                self.stage.defined[message.key] = message.blob
        for link in (self.supervisor, self.control):
            link.receive(0)
        self.supervisor.send([m.Heartbeat(["one"])])
        self.main.send([e for id in list(self.held) if (e := self.ending(id)) is not None])

    def ending(self, id: str) -> m.AnyMessage | None:
        """How a run ends, if it may."""
        stage = self.stage
        if id in stage.kept_back:
            return None
        assignment = self.held.pop(id)
        stage.runs.append(id)
        if id in stage.failing:
            return m.Settle([m.Outcome(id, assignment.token, FAILURE, failure=ERROR)])
        if (by := stage.replaced.get(id)) is not None:
            return m.Replaced(id, assignment.token, by)
        return m.Settle([m.Outcome(id, assignment.token, SUCCESS, b"value of " + id.encode())])

    def die(self) -> None:
        """As if its machine had: what it has not sent is never said."""
        for link in (self.main, self.control, self.supervisor):
            link._waker.close()
            if link._wire is not None:
                link._wire.close()
        self.stage.hands.remove(self)


class Stage:
    """See the module's docstring."""

    def __init__(self, url: str, hands: int = 1, slots: int = 8, **settings: Any) -> None:
        self.transport = RedisTransport(url, Settings(worker_heartbeat=0.2, worker_lease=1.0, **settings))
        self.client = self.open_client()
        self.outcomes: dict[str, m.Outcome] = {}
        self.rejected: dict[str, str] = {}
        self.accepted: set[str] = set()
        self.answers: dict[int, Any] = {}
        self.tasks: dict[str, m.Task] = {}
        self.blobs: dict[str, bytes] = {}
        self.told: list[m.AnyMessage] = []
        #: ids of tasks that fail, that are not to end yet, that become others
        self.failing: set[str] = set()
        self.kept_back: set[str] = set()
        self.replaced: dict[str, str] = {}
        self.runs: list[str] = []
        self.given: list[m.Assignment] = []
        self.defined: dict[str, bytes] = {}
        self.hands = [Hand(self, self.transport, slots) for _ in range(hands)]

    def open_client(self) -> Link:
        link = self.transport.connect()
        link.send([m.Hello(m.CLIENT, f"client{next(_numbers)}")])
        return link

    def close(self) -> None:
        for hand in list(self.hands):
            for link in (hand.main, hand.control, hand.supervisor):
                link.send([m.Goodbye()])
                link.close()
        self.client.close()

    # ── tasks ────────────────────────────────────────────────────────────────────────────────

    def task(self, *, fails: bool = False, held: bool = False, send: bool = True, **fields: Any) -> str:
        """Submit one; returns its id."""
        id = fields.pop("id", None) or new_id()
        task = m.Task(id, fields.pop("name", "f"), fields.pop("definition", ""), b"arguments", **fields)
        self.tasks[id] = task
        if fails:
            self.failing.add(id)
        if held:
            self.kept_back.add(id)
        if send:
            self.client.send([m.Submit([task])])
        return id

    def after(self, *before: str, takes: Any = "all", on: str = SUCCESS, optional: bool = False,
              **fields: Any) -> str:  # fmt: skip
        """A step after others; a single one's value, or the list of the values of several."""
        if takes == "all":
            takes = 0 if len(before) == 1 else list(range(len(before)))
        return self.task(step=m.Step(list(before), on, takes, optional), **fields)

    def turn(self) -> None:
        for message in self.client.receive(0.002):
            self._heard(message)
        for hand in list(self.hands):
            hand.turn()

    def _heard(self, message: m.AnyMessage) -> None:
        self.told.append(message)
        match message:
            case m.Settle(outcomes):
                for outcome in outcomes:
                    assert outcome.id not in self.outcomes, f"told twice: {outcome}"
                    self.outcomes[outcome.id] = outcome
            case m.Rejected(id, reason):
                self.rejected[id] = reason
            case m.Accepted(ids):
                self.accepted.update(ids)
            case m.Missing(key, ids):
                self.client.send([m.Define(key, self.blobs[key]), m.Submit([self.tasks[id] for id in ids])])
            case m.Answer(number, data):
                self.answers[number] = data
            case m.Unknown():
                raise AssertionError("the connection was lost")

    def until(self, condition: Callable[[], Any], what: Any = "") -> None:
        deadline = time.monotonic() + LIMIT
        while not condition():
            assert time.monotonic() < deadline, what or (self.outcomes, self.rejected)
            self.turn()

    def settle(self, *ids: str) -> list[m.Outcome]:
        self.until(lambda: all(id in self.outcomes for id in ids))
        return [self.outcomes[id] for id in ids]

    def states(self, *ids: str) -> list[str]:
        return [outcome.state for outcome in self.settle(*ids)]

    def turn_for(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.turn()

    def release(self, *ids: str) -> None:
        self.kept_back.difference_update(ids)

    def ask(self, topic: str, **args: Any) -> Any:
        number = next(_numbers)
        self.client.send([m.Ask(number, topic, args)])
        self.until(lambda: number in self.answers)
        return self.answers[number]

    def holds(self, id: str) -> bool:
        """Whether an executor has it."""
        return any(id in hand.held for hand in self.hands)
