"""Past each limit of the broker: a clear word, or back-pressure; never growth without end."""

from typing import Any

import pytest

from nbqueue import messages as m
from nbqueue.core import audience
from nbqueue.core.actions import Send
from nbqueue.core.broker import BrokerCore, BrokerSettings
from nbqueue.core.settings import MESSAGE_OVERHEAD
from nbqueue.states import FAILURE, PENDING, SUCCESS
from nbqueue.testing import invariants

CLIENT, WORKER, EXECUTOR, CONTROL = "client", "worker", "executor", "control"


class Broker:
    """A core that is talked to by hand; what it says is kept by peer until :meth:`heard`."""

    def __init__(self, **settings: Any) -> None:
        self.core = BrokerCore(BrokerSettings(**settings), boot=1)
        self.now = 0.0
        self._said: dict[object, list[Any]] = {}
        self.hello(CLIENT, m.Hello(m.CLIENT, CLIENT))

    def hello(self, peer: str, hello: m.Hello) -> None:
        self.say(peer, hello)

    def add_executor(self) -> None:
        self.hello(WORKER, m.Hello(m.WORKER, WORKER))
        self.hello(
            EXECUTOR, m.Hello(m.EXECUTOR, EXECUTOR, worker=WORKER, queues=["default"], registered=["f"])
        )
        self.hello(CONTROL, m.Hello(m.CONTROL, EXECUTOR, worker=WORKER))

    def say(self, peer: str, *messages: m.AnyMessage) -> None:
        for message in messages:
            self._perform(self.core.receive(peer, message, self.now))

    def tick(self, seconds: float = 0.0) -> None:
        self.now += seconds
        self._perform(self.core.tick(self.now))

    def _perform(self, actions: list[Any]) -> None:
        for action in actions:
            if isinstance(action, Send):
                self._said.setdefault(action.peer, []).append(action.message)
        invariants.check(self.core)

    def heard(self, peer: str, kind: type) -> list[Any]:
        """All of that kind since the last look; the others are forgotten."""
        return [message for message in self._said.pop(peer, []) if isinstance(message, kind)]

    def submit(self, *ids: str, payload: bytes = b"", **task: Any) -> None:
        self.say(
            CLIENT, m.Submit([m.Task(id, "f", payload=payload, **{"definition": "", **task}) for id in ids])
        )

    def settle(self, value: bytes = b"") -> list[str]:
        """Everything that was assigned succeeds."""
        ids = []
        while assigned := [a for message in self.heard(EXECUTOR, m.Assign) for a in message.assignments]:
            for a in assigned:
                self.say(EXECUTOR, m.Settle([m.Outcome(a.task.id, a.token, SUCCESS, value)]))
                ids.append(a.task.id)
        return ids

    def state(self, id: str) -> str:
        record = self.core.tasks.records.get(id)
        return record.state if record is not None else "none"

    def stop_reading(self, *peers: str) -> None:
        self.core.behind(set(peers))


def outcomes(messages: list[m.Settle]) -> list[str]:
    return [outcome.id for message in messages for outcome in message.outcomes]


# ── what is refused ──────────────────────────────────────────────────────────────────────────────


def test_a_task_for_a_full_queue_is_rejected_with_the_way_out() -> None:
    broker = Broker(max_queued=2)
    broker.submit("1", "2", "3")
    (rejected,) = broker.heard(CLIENT, m.Rejected)
    assert rejected.id == "3"
    for words in ("queue 'default' is full", "2 unfinished tasks (max_queued)", "submit again"):
        assert words in rejected.reason


def test_a_task_that_is_known_already_is_accepted_again_though_its_queue_is_full() -> None:
    broker = Broker(max_queued=1)
    broker.submit("1")
    broker.heard(CLIENT, m.Accepted)
    broker.submit("1")
    assert broker.heard(CLIENT, m.Accepted) == [m.Accepted(["1"])]


def test_retries_and_lost_runs_come_back_to_a_full_queue() -> None:
    broker = Broker(max_queued=2)
    broker.add_executor()
    broker.submit("1", "2")
    ((assigned,),) = [message.assignments for message in broker.heard(EXECUTOR, m.Assign)]
    broker.say(EXECUTOR, m.Retry("1", assigned.token, 0.0))
    broker.tick()
    broker.say(WORKER, m.ExecutorLost(EXECUTOR, 0, -9))
    assert broker.heard(CLIENT, m.Rejected) == []
    broker.add_executor()
    assert set(broker.settle()) == {"1", "2"}


def test_a_queue_has_room_again_when_a_task_is_done_or_revoked() -> None:
    broker = Broker(max_queued=1)
    broker.submit("1")
    broker.say(CLIENT, m.Cancel(["1"]))
    broker.submit("2")
    assert broker.state("2") == PENDING


def test_tasks_that_wait_for_their_time_count_too() -> None:
    broker = Broker(max_queued=1)
    broker.submit("later", countdown=3600.0)
    broker.submit("now")
    assert [r.id for r in broker.heard(CLIENT, m.Rejected)] == ["now"]


def test_definitions_that_tasks_wait_with_take_room_in_the_queues() -> None:
    broker = Broker(max_queued_bytes=100_000)
    for n in range(5):
        broker.say(CLIENT, m.Define(f"function {n}", bytes(30_000)))
        broker.submit(str(n), definition=f"function {n}")
    assert [r.id for r in broker.heard(CLIENT, m.Rejected)] == ["4"]
    broker.say(CLIENT, m.Cancel(["0", "1"]))
    broker.submit("5", definition="function 4")
    assert broker.state("5") == PENDING


def test_payloads_past_their_limit_are_rejected() -> None:
    broker = Broker(max_payload_bytes=1000)
    broker.submit("1", payload=b"x" * 1001)
    (rejected,) = broker.heard(CLIENT, m.Rejected)
    assert "the arguments of f(): 1,001 bytes, and at most 1,000 travel (max_payload_bytes" in rejected.reason
    broker.submit("2", payload=b"x" * 900, captured=b"y" * 101)
    assert broker.heard(CLIENT, m.Rejected)
    broker.say(CLIENT, m.Define("key", b"x" * 1001))
    assert "a function: 1,001 bytes" in broker.heard(CLIENT, m.Refused)[0].reason
    assert "key" not in broker.core.tasks.blobs


def test_everybody_is_told_the_limit_of_payloads_which_leaves_room_in_a_message() -> None:
    assert Broker(max_payload_bytes=1000).heard(CLIENT, m.Welcome)[0].max_payload_bytes == 1000
    broker = Broker(max_payload_bytes=2**30, max_message_bytes=2**24)
    assert broker.heard(CLIENT, m.Welcome)[0].max_payload_bytes == 2**24 - MESSAGE_OVERHEAD


def test_a_value_past_the_limit_ends_its_task_in_failure() -> None:
    broker = Broker(max_payload_bytes=1000)
    broker.add_executor()
    broker.submit("1", "2")
    broker.settle(b"x" * 1001)
    settled = [outcome for message in broker.heard(CLIENT, m.Settle) for outcome in message.outcomes]
    assert [outcome.state for outcome in settled] == [FAILURE, FAILURE]
    failure = settled[0].failure
    assert failure.type == "SerializationError"
    assert "the return value of f(): 1,001 bytes" in failure.message


def test_newcomers_past_the_number_of_connections_are_refused_and_those_who_come_back_are_not() -> None:
    broker = Broker(max_connections=4)
    broker.add_executor()
    broker.hello("fifth", m.Hello(m.CLIENT, "newcomer"))
    (refused,) = broker.heard("fifth", m.Refused)
    assert "4 connections" in refused.reason
    assert "max_connections" in refused.reason
    for peer, hello in (
        ("client again", m.Hello(m.CLIENT, CLIENT)),
        ("executor again", m.Hello(m.EXECUTOR, EXECUTOR, worker=WORKER, queues=["default"])),
    ):
        broker.hello(peer, hello)
        assert broker.heard(peer, m.Welcome)
    broker.say("client again", m.Goodbye())
    broker.hello("fifth", m.Hello(m.CLIENT, "newcomer"))
    assert broker.heard("fifth", m.Welcome)


# ── those who do not read ────────────────────────────────────────────────────────────────────────


@pytest.fixture
def broker() -> Broker:
    broker = Broker()
    broker.add_executor()
    return broker


def test_one_who_does_not_read_is_told_nothing_until_it_does_and_then_everything(broker: Broker) -> None:
    broker.submit("1", "2")
    broker.heard(CLIENT, m.Settle)
    broker.stop_reading(CLIENT)
    broker.settle(b"value")
    broker.tick()
    assert broker.heard(CLIENT, m.Settle) == []
    broker.stop_reading()
    assert broker.core.next_deadline() == 0.0
    broker.tick()
    assert outcomes(broker.heard(CLIENT, m.Settle)) == ["1", "2"]
    deadline = broker.core.next_deadline()
    assert deadline is not None
    assert deadline > broker.now


def test_a_storm_of_reports_costs_one_story_for_one_who_does_not_read(broker: Broker) -> None:
    broker.submit("1")
    ((assigned,),) = [message.assignments for message in broker.heard(EXECUTOR, m.Assign)]
    token = assigned.token
    broker.heard(CLIENT, m.Accepted)
    broker.stop_reading(CLIENT)
    broker.say(EXECUTOR, m.Started("1", token))
    for n in range(300):
        broker.say(EXECUTOR, m.Progress("1", token, n), m.Update("1", token, f"STATE{n}", b"meta"))
        broker.say(EXECUTOR, m.Output("1", token, n, "stdout", "x" * 10_000))
    assert broker.heard(CLIENT, m.Message) == []
    broker.stop_reading()
    broker.tick()
    told = broker.heard(CLIENT, m.Message)
    assert [p.current for p in told if isinstance(p, m.Progress)] == [299]
    assert [u.state for u in told if isinstance(u, m.Update)] == ["STATE299"]
    assert sum(len(o.text) for o in told if isinstance(o, m.Output)) <= 2**20


def test_what_is_owed_is_told_a_few_at_a_time(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred thousand results of 10 KB that are asked for at once do not make a batch of 1 GB."""
    monkeypatch.setattr(audience, "STORY_BYTES", 50_000)
    ids = [str(n) for n in range(100)]
    broker.submit(*ids)
    broker.settle(b"x" * 10_000)
    broker.hello("late", m.Hello(m.CLIENT, "late"))
    broker.say("late", m.Watch(ids))
    told = []
    turns = 0
    while len(told) < 100:
        told += (now_told := outcomes(broker.heard("late", m.Settle)))
        assert len(now_told) <= 50_000 // 10_000
        assert broker.core.next_deadline() == 0.0 or len(told) == 100
        broker.tick()
        turns += 1
    assert told == ids
    assert turns > 10


def test_an_answer_comes_after_what_was_asked_for_before(broker: Broker) -> None:
    broker.submit("1")
    broker.settle(b"value")
    broker.heard(CLIENT, m.Message)
    broker.stop_reading(CLIENT)
    broker.say(CLIENT, m.Watch(["1"]), m.Ask(1, "why", {"id": "1"}))
    assert broker.heard(CLIENT, m.Message) == []
    broker.stop_reading()
    broker.tick()
    told = broker.heard(CLIENT, m.Message)
    assert [type(message) for message in told] == [m.Known, m.Settle, m.Answer]


def test_one_who_asks_without_reading_is_told_that_it_is_too_much(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audience, "MAX_QUESTIONS", 100)
    broker.stop_reading(CLIENT)
    broker.say(CLIENT, *(m.Ask(n, "status") for n in range(101)))
    (answer,) = broker.heard(CLIENT, m.Answer)
    assert "too many questions" in answer.error
    broker.stop_reading()
    broker.tick()
    assert len(broker.heard(CLIENT, m.Answer)) == 100


def test_one_who_leaves_is_owed_nothing(broker: Broker) -> None:
    broker.submit("1")
    broker.stop_reading(CLIENT)
    broker.settle()
    broker.say(CLIENT, m.Goodbye(unreachable=True))
    broker.stop_reading()
    assert not broker.core.audience.has_more_to_tell
    broker.hello("again", m.Hello(m.CLIENT, CLIENT))
    broker.say("again", m.Watch(["1", "2"]))
    told = broker.heard("again", m.Message)
    assert m.NotFound(["2"]) in told
    assert outcomes([message for message in told if isinstance(message, m.Settle)]) == ["1"]


def test_one_whom_it_was_forgotten_for_is_not_told_of_it(broker: Broker) -> None:
    broker.submit("1", "2")
    broker.stop_reading(CLIENT)
    broker.settle()
    broker.say(CLIENT, m.Forget(["1"]))
    broker.stop_reading()
    broker.tick()
    told = broker.heard(CLIENT, m.Message)
    assert m.NotFound(["1"]) in told
    assert outcomes([message for message in told if isinstance(message, m.Settle)]) == ["2"]


# ── results that a client waits for ──────────────────────────────────────────────────────────────


def full_of_results() -> Broker:
    """Six tasks, room for three results, and a client that has not read any: nothing more is run."""
    broker = Broker(max_results=3, worker_lease=10.0)
    broker.add_executor()
    broker.submit(*"123456", time_limit=60.0)  # of which an executor holds one at a time
    broker.stop_reading(CLIENT)
    assert broker.settle() == ["1", "2", "3", "4"]
    return broker


def test_results_that_are_waited_for_are_kept_and_no_more_tasks_run_until_they_are_read() -> None:
    broker = full_of_results()
    assert [broker.state(id) for id in "123456"] == [SUCCESS] * 4 + [PENDING] * 2
    broker.say(CLIENT, m.Ping())
    broker.tick(9.0)
    assert broker.settle() == []
    broker.stop_reading()
    broker.tick()
    assert broker.settle() == ["5", "6"]
    broker.tick()
    assert set(outcomes(broker.heard(CLIENT, m.Settle))) == set("123456")
    assert len(broker.core.tasks.records) == 3


def test_why_says_that_a_task_waits_for_results_to_be_read() -> None:
    broker = full_of_results()
    broker.hello("curious", m.Hello(m.CLIENT, "curious"))
    broker.say("curious", m.Ask(1, "why", {"id": "6"}))
    (answer,) = broker.heard("curious", m.Answer)
    assert "until clients have read their results" in answer.data["text"]


def test_a_client_that_is_not_heard_of_is_not_waited_for_and_learns_which_results_are_gone() -> None:
    broker = full_of_results()
    broker.say(WORKER, m.Ping())
    for _ in range(6):
        broker.tick(2.0)
        broker.say(WORKER, m.Heartbeat([EXECUTOR]))
    assert broker.settle() == ["5", "6"]
    broker.say(CLIENT, m.Ping())
    broker.stop_reading()
    broker.tick()
    told = broker.heard(CLIENT, m.Message)
    read = outcomes([message for message in told if isinstance(message, m.Settle)])
    gone = [id for message in told if isinstance(message, m.NotFound) for id in message.ids]
    assert len(read) == 3
    assert set(read + gone) == set("123456")


def test_forgotten_results_make_room_at_once() -> None:
    broker = full_of_results()
    broker.say(CLIENT, m.Forget(["1", "2", "3", "4"]))
    assert broker.settle() == ["5", "6"]


def test_no_results_are_lost_to_limits_while_clients_come_and_go() -> None:
    """Whatever the order in which it reads, a client that is there gets every result."""
    broker = Broker(max_results=5)
    broker.add_executor()
    told: set[str] = set()
    for start in range(0, 200, 20):
        broker.submit(*(str(n) for n in range(start, start + 20)))
        broker.stop_reading(*([CLIENT] if start % 40 else []))
        broker.settle()
        broker.tick(0.1)
        told.update(outcomes(broker.heard(CLIENT, m.Settle)))
    broker.stop_reading()
    for _ in range(100):
        broker.settle()
        broker.tick(0.1)
        told.update(outcomes(broker.heard(CLIENT, m.Settle)))
    assert told == {str(n) for n in range(200)}
    assert len(broker.core.tasks.records) == 5


def test_the_books_are_empty_afterwards() -> None:
    """Nothing of a task stays in the core once its record is forgotten: a short form of the soak."""
    broker = BrokerCore(BrokerSettings(), boot=1)
    broker.receive(CLIENT, m.Hello(m.CLIENT, CLIENT), 0.0)
    broker.receive(WORKER, m.Hello(m.WORKER, WORKER), 0.0)
    hello = m.Hello(m.EXECUTOR, EXECUTOR, worker=WORKER, queues=["default"])
    broker.receive(EXECUTOR, hello, 0.0)
    sizes = []
    for wave in range(20):
        now = wave * 1.0
        broker.receive(CLIENT, m.Define(f"function {wave}", b"code"), now)
        tasks = [
            m.Task(f"{wave}-{n}", f"f{n % 50}", f"function {wave}", b"", expires=60.0, time_limit=60.0)
            for n in range(200)
        ]
        todo = list(broker.receive(CLIENT, m.Submit(tasks), now))
        while todo:
            action = todo.pop()
            message = action.message if isinstance(action, Send) else None
            if isinstance(message, m.Assign):
                for a in message.assignments:
                    outcome = m.Outcome(a.task.id, a.token, SUCCESS)
                    todo += broker.receive(EXECUTOR, m.Settle([outcome]), now)
        broker.receive(CLIENT, m.Forget([task.id for task in tasks]), now)
        broker.receive(WORKER, m.Heartbeat([EXECUTOR]), now)
        broker.tick(now)
        sizes.append((len(broker.tasks.records), broker.tasks.records.unfinished))
    assert sizes == [(0, 0)] * 20
    assert broker.tasks.records.queued == {}
    assert broker.tasks.records.queued_bytes == 0
    assert len(broker._timers) <= 1000 + 400
    assert broker.dispatch.executors[EXECUTOR].held == {}
    assert broker._outbox.flush() == []
