"""What an executor says on its links, and when; the test is the broker."""

import threading
import time
from types import SimpleNamespace

import msgspec
import pytest

from nbqueue import messages as m
from nbqueue.exceptions import ConnectionLostError, ProtocolError
from nbqueue.wire import payload
from nbqueue.wire.payload import Definer, TaskOptions
from nbqueue.worker.executor import Executor, exchange
from nbqueue.worker.registry import RegisteredTask
from tests.worker.fakes import FakeLink, FakeTransport

WELCOME = m.Welcome(boot=1, version="", heartbeat=0.05, lease=10.0, epoch=0.0)


class Rig:
    """An executor in a thread, and the other ends of its links."""

    def __init__(self) -> None:
        transport = FakeTransport()
        self.leave = threading.Event()
        pause = RegisteredTask("pause", self.pause, TaskOptions(name="pause"))
        identity = m.Hello(m.EXECUTOR, "e1", worker="w1", name="w@test")
        self.executor = Executor(transport, identity, tasks=[pause])
        self.main: FakeLink = transport.links[0]
        self.control: FakeLink = transport.links[1]
        self.thread = threading.Thread(target=self.executor.run)
        self.thread.start()
        self.main.deliver(WELCOME)
        self.control.deliver(WELCOME)

    def pause(self) -> None:
        """A task that the executor has by its name."""
        print("out", end="")
        self.leave.wait(5)

    def assign(self, token: int, definition: str, *args: object, name: str = "f") -> None:
        task = m.Task(f"id{token}", name, definition, payload.dumps_arguments(args, {}))
        self.main.deliver(m.Assign([m.Assignment(task, token)]))

    def acknowledge(self, token: int) -> None:
        self.main.deliver(m.Acknowledge([token]))
        self.control.deliver(m.Acknowledge([token]))


@pytest.fixture
def rig():
    made = Rig()
    yield made
    made.leave.set()
    made.executor.stop()
    for token in range(1, 10):
        made.acknowledge(token)
    made.thread.join(10)
    assert not made.thread.is_alive()


def define(function):
    shipment = Definer(function, TaskOptions(name="f")).shipment()
    return m.Define(shipment.definition.key, shipment.definition.data)


@pytest.fixture
def identity():
    def f(x):
        return x

    return define(f)


def test_both_links_say_hello_first_and_then_give_signs_of_life(rig):
    rig.main.wait_sent(m.Ping)
    rig.control.wait_sent(m.Held)
    assert rig.main.sent[0].role == m.EXECUTOR
    assert rig.control.sent[0].role == m.CONTROL
    assert rig.control.sent[0].id == "e1"


def test_a_definition_is_asked_for_once_and_kept(rig, identity):
    rig.assign(1, identity.key, 7)
    assert rig.main.wait_sent(m.Need) == m.Need(identity.key)
    rig.main.deliver(identity)
    rig.main.wait_sent(m.Settle)
    rig.assign(2, identity.key, 8)
    outcome = rig.main.wait_sent(m.Settle, 2).outcomes[0]
    assert payload.loads(outcome.value) == 8
    assert len(rig.main.of(m.Need)) == 1


def test_a_definition_that_does_not_come_is_asked_for_again(rig, identity, monkeypatch):
    monkeypatch.setattr(exchange, "ASK_AGAIN", 0.05)
    rig.assign(1, identity.key, 7)
    rig.main.wait_sent(m.Need, 2)
    rig.main.deliver(identity)
    rig.main.wait_sent(m.Settle)


def test_tasks_that_come_while_a_definition_is_awaited_are_kept_in_order(rig, identity):
    rig.assign(1, identity.key, 1)
    rig.main.wait_sent(m.Need)
    rig.assign(2, identity.key, 2)
    rig.assign(3, identity.key, 3)
    rig.main.deliver(identity)
    rig.main.wait_sent(m.Settle)
    while len(outcomes := [o for s in rig.main.of(m.Settle) for o in s.outcomes]) < 3:
        rig.main.wait_sent(m.Settle, len(rig.main.of(m.Settle)) + 1)
    assert [outcome.token for outcome in outcomes] == [1, 2, 3]


def test_a_task_that_awaits_its_definition_can_be_cancelled(rig, identity):
    rig.assign(1, "nowhere")
    rig.main.wait_sent(m.Need)
    rig.control.deliver(m.Interrupt("id1", 1, "cancel"))
    assert rig.main.wait_sent(m.Settle).outcomes[0].state == "REVOKED"
    rig.assign(2, identity.key, 5)
    rig.main.wait_sent(m.Need, 2)
    rig.main.deliver(identity)
    assert rig.main.wait_sent(m.Settle, 2).outcomes[0].state == "SUCCESS"


def returned(rig):
    """Tokens of the leases that it has given back."""
    messages = rig.main.of(m.Returned) + rig.control.of(m.Returned)
    return sorted(token for message in messages for token in message.tokens)


def test_an_executor_that_drains_does_not_wait_for_definitions(rig, identity):
    rig.assign(1, identity.key, 5)
    rig.assign(2, identity.key, 6)
    rig.main.wait_sent(m.Need)
    began = time.monotonic()
    rig.executor.stop()
    rig.thread.join(5)
    assert not rig.thread.is_alive()
    assert time.monotonic() - began < exchange.ASK_AGAIN / 2
    assert returned(rig) == [1, 2]
    assert not rig.main.of(m.Settle) + rig.control.of(m.Settle)
    assert isinstance(rig.main.sent[-1], m.Goodbye)
    assert rig.control.sent[-1] == m.Goodbye()
    assert rig.main.closed
    assert rig.control.closed


def test_without_a_broker_for_a_lease_nothing_waits_for_its_definition(rig, identity, monkeypatch):
    monkeypatch.setattr(exchange, "ASK_AGAIN", 0.05)
    for link in (rig.main, rig.control):
        link.deliver(msgspec.structs.replace(WELCOME, lease=0.3))
    rig.assign(1, identity.key, 5)
    rig.assign(2, identity.key, 6)
    rig.main.wait_sent(m.Need)
    began = time.monotonic()
    rig.main.trouble = ConnectionLostError("broke")
    rig.main.wake()
    while returned(rig) != [1, 2]:
        assert time.monotonic() - began < 5
        time.sleep(0.01)
    assert time.monotonic() - began > 0.3
    rig.main.trouble = None
    rig.main.wake()
    rig.assign(3, identity.key, 7)
    rig.main.wait_sent(m.Need, len(rig.main.of(m.Need)) + 1)
    rig.main.deliver(identity)
    assert [outcome.token for outcome in rig.main.wait_sent(m.Settle).outcomes] == [3]


def test_an_executor_that_is_refused_fails_no_task_whose_definition_it_awaits(rig):
    rig.assign(1, "nowhere")
    rig.main.wait_sent(m.Need)
    rig.main.deliver(m.Refused("install the same version"))
    rig.thread.join(5)
    assert not rig.thread.is_alive()
    assert not rig.main.of(m.Settle) + rig.control.of(m.Settle)


def test_an_executor_that_leaves_waits_for_the_last_acknowledgement(rig, identity):
    rig.assign(1, identity.key, 5)
    rig.main.wait_sent(m.Need)
    rig.main.deliver(identity)
    rig.main.wait_sent(m.Settle)
    rig.executor.stop()
    rig.thread.join(0.3)
    assert rig.thread.is_alive()
    rig.acknowledge(1)
    rig.thread.join(5)
    assert not rig.thread.is_alive()


def test_a_refused_executor_ends_and_says_why(rig):
    rig.main.deliver(m.Refused("install the same version"))
    rig.thread.join(5)
    assert not rig.thread.is_alive()
    assert rig.executor.refused == "install the same version"


def test_a_run_that_is_on_is_reported_by_its_link_in_order(rig):
    rig.assign(1, "", name="pause")
    rig.main.wait_sent(m.Started)
    rig.leave.set()
    rig.main.wait_sent(m.Settle)
    kinds = [type(message) for message in rig.main.sent if not isinstance(message, m.Ping)]
    assert kinds == [m.Hello, m.Started, m.Output, m.Settle]


def test_a_broker_that_does_not_know_it_hears_again_of_the_run_that_is_on(rig):
    rig.assign(1, "", name="pause")
    rig.main.wait_sent(m.Output)
    rig.main.deliver(m.Unknown())
    hello = rig.main.wait_sent(m.Hello, 2)
    assert hello.held == [("id1", 1)]
    assert rig.main.sent[rig.main.sent.index(hello, 1) + 1] == m.Output("id1", 1, 0, "stdout", "out")
    assert len(rig.main.of(m.Started)) == 1
    rig.main.deliver(msgspec.structs.replace(WELCOME, boot=2))
    assert rig.main.wait_sent(m.Started, 2) == m.Started("id1", 1)
    rig.leave.set()
    rig.main.wait_sent(m.Settle)


def test_output_goes_before_the_endings_that_nobody_has_acknowledged(rig):
    rig.leave.set()
    rig.assign(1, "", name="pause")
    rig.main.wait_sent(m.Settle)
    rig.main.deliver(m.Unknown())
    rig.main.wait_sent(m.Settle, 2)
    again = rig.main.sent[rig.main.sent.index(rig.main.of(m.Hello)[1], 1) :]
    assert [type(message) for message in again[:3]] == [m.Hello, m.Output, m.Settle]


def test_output_that_the_broker_has_heard_is_not_said_again(rig):
    rig.assign(1, "", name="pause")
    rig.main.wait_sent(m.Output)
    rig.main.wait_sent(m.Ping, len(rig.main.of(m.Ping)) + 1)
    for _ in rig.main.of(m.Ping):
        rig.main.deliver(m.Pong(1))
    rig.main.wait_sent(m.Ping, len(rig.main.of(m.Ping)) + 1)
    rig.main.deliver(m.Unknown())
    rig.main.wait_sent(m.Hello, 2)
    rig.leave.set()
    rig.main.wait_sent(m.Settle)
    assert len(rig.main.of(m.Output)) == 1


def test_when_the_way_to_the_broker_is_back_both_links_say_something_at_once(rig, monkeypatch):
    slow = msgspec.structs.replace(WELCOME, heartbeat=60.0)
    for link in (rig.main, rig.control):
        link.deliver(slow)
    rig.assign(1, "", name="pause")
    rig.main.wait_sent(m.Output)
    for link, kind in ((rig.main, m.Ping), (rig.control, m.Held)):
        link.trouble = ConnectionLostError("broke")
        link.wake()
        time.sleep(0.1)  # looked at
        said = len(link.of(kind))
        link.trouble = None
        link.wake()
        link.wait_sent(kind, said + 1)


def test_what_arrives_behind_a_long_run_is_held_and_can_be_recalled(rig):
    rig.assign(1, "", name="pause")
    rig.main.wait_sent(m.Started)
    rig.assign(2, "", name="pause")
    rig.control.wait_sent(m.Held, len(rig.control.of(m.Held)) + 2)
    assert rig.control.of(m.Held)[-1].tokens == [1, 2]
    rig.control.deliver(m.Recall(5))
    assert rig.control.wait_sent(m.Returned) == m.Returned([2])
    rig.leave.set()
    assert [outcome.token for outcome in rig.main.wait_sent(m.Settle).outcomes] == [1]


def test_an_executor_that_drains_finishes_its_run_over_the_control_link(rig):
    rig.assign(1, "", name="pause")
    rig.main.wait_sent(m.Started)
    rig.assign(2, "", name="pause")
    rig.executor.stop()
    assert rig.control.wait_sent(m.Returned) == m.Returned([2])
    assert rig.main.sent[-1] == m.Goodbye()
    rig.leave.set()
    assert [outcome.token for outcome in rig.control.wait_sent(m.Settle).outcomes] == [1]
    assert rig.main.sent[-1] == m.Goodbye()


def test_an_executor_that_cannot_listen_to_its_control_link_ends(rig, monkeypatch):
    def broken(timeout):
        raise OSError("no more")

    monkeypatch.setattr(threading, "excepthook", lambda args: None)
    monkeypatch.setattr(rig.control, "receive", broken)
    rig.control.wake()
    rig.thread.join(5)
    assert not rig.thread.is_alive()
    assert "no more" in rig.executor.refused


def test_a_broker_that_finds_its_words_malformed_ends_the_executor(rig):
    rig.main.trouble = ProtocolError("the other side sent a malformed message")
    rig.thread.join(5)
    assert not rig.thread.is_alive()
    assert "malformed" in rig.executor.refused


def test_a_log_that_takes_long_can_be_killed_for_its_task():
    seen = []
    slot = SimpleNamespace(token=0)
    log = SimpleNamespace(
        received=lambda task: None, ended=lambda task, ending, expected: seen.append(slot.token)
    )
    transport = FakeTransport()
    done = RegisteredTask("done", lambda: None, TaskOptions(name="done"))
    executor = Executor(transport, m.Hello(m.EXECUTOR, "e1"), tasks=[done], slot=slot, log=log)
    thread = threading.Thread(target=executor.run)
    thread.start()
    task = m.Task("id7", "done", "", payload.dumps_arguments((), {}))
    transport.links[0].deliver(WELCOME, m.Assign([m.Assignment(task, 7)]))
    transport.links[0].wait_sent(m.Settle)
    executor.stop()
    transport.links[0].deliver(m.Acknowledge([7]))
    thread.join(10)
    assert (seen, slot.token) == ([7], 0)
