"""The connection and its thread, against a broker that does as it is told."""

import asyncio
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence

import pytest

from nbqueue import messages as m
from nbqueue.client.client import Client
from nbqueue.client.group import GroupResult, as_completed
from nbqueue.client.result import AsyncResult
from nbqueue.client.watch import watch
from nbqueue.exceptions import (
    AuthenticationError,
    ConnectionLostError,
    NBQueueError,
    ResultNotFoundError,
    SubmissionRefused,
    TimeoutError,
)
from nbqueue.settings import Settings
from nbqueue.transports.base import Link, Transport
from nbqueue.wire import codec

WELCOME = m.Welcome(1, "", 0.2, 1.0, 0.0)


class ScriptedLink(Link):
    """The broker's words come from ``answer``, which is given each message of the client."""

    def __init__(self, answer: Callable[[m.AnyMessage], list[m.AnyMessage]]) -> None:
        self.said: list[m.AnyMessage] = []
        self._answer = answer
        self._inbox: queue.SimpleQueue[m.AnyMessage | None] = queue.SimpleQueue()

    def send(self, messages: Sequence[m.AnyMessage]) -> None:
        for message in messages:
            self.said.append(message)
            for answer in self._answer(message):
                self._inbox.put(answer)

    def receive(self, timeout: float | None) -> list[m.AnyMessage]:
        try:
            message = self._inbox.get(timeout=timeout)
        except queue.Empty:
            return []
        return [message] if message is not None else []

    def say(self, message: m.AnyMessage) -> None:
        self._inbox.put(message)

    def wake(self) -> None:
        self._inbox.put(None)

    def close(self) -> None:
        pass


class ScriptedTransport(Transport):
    url = "scripted://"

    def __init__(self, link: Link) -> None:
        self._link = link

    def connect(self) -> Link:
        return self._link


def polite(message: m.AnyMessage) -> list[m.AnyMessage]:
    match message:
        case m.Hello():
            return [WELCOME]
        case m.Ping():
            return [m.Pong(1)]
        case m.Submit():
            return [m.Accepted([task.id for task in message.tasks])]
    return []


def forgetful(message: m.AnyMessage) -> list[m.AnyMessage]:
    """Answers, but accepts nothing."""
    return [] if isinstance(message, m.Submit) else polite(message)


def ignorant(message: m.AnyMessage) -> list[m.AnyMessage]:
    """Has no record of anything."""
    match message:
        case m.Watch():
            return [m.NotFound(message.ids)]
        case m.Ask():
            return [m.Answer(message.number, {"text": "no record", "stuck": True})]
    return polite(message)


def mute(message: m.AnyMessage) -> list[m.AnyMessage]:
    """Says welcome, and no more."""
    return [WELCOME] if isinstance(message, m.Hello) else []


def settled(id: str) -> m.Settle:
    return m.Settle([m.Outcome(id, 1, "SUCCESS")])


def soon(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def listeners(result: AsyncResult) -> int:
    return len(result.record._callbacks or ())


@pytest.fixture
def connect() -> Iterator[Callable[..., tuple[Client, ScriptedLink]]]:
    clients: list[Client] = []

    def connect(
        answer: Callable[[m.AnyMessage], list[m.AnyMessage]] = polite, **settings: object
    ) -> tuple[Client, ScriptedLink]:
        link = ScriptedLink(answer)
        client = Client(ScriptedTransport(link), Settings(**settings))
        clients.append(client)
        return client, link

    yield connect
    for client in clients:
        client.close(drain=False)


Connect = Callable[..., tuple[Client, ScriptedLink]]


def task(id: str) -> m.Task:
    return m.Task(id, "f", "", b"")


def test_what_was_submitted_is_kept_until_it_is_accepted(connect: Connect) -> None:
    client, _ = connect()
    record = client.submit(task("1"), ())
    assert client.flush(5.0)
    assert record.accepted
    assert client.unacknowledged == 0


def test_submitting_blocks_past_the_limit_and_goes_on_when_there_is_room(connect: Connect) -> None:
    client, link = connect(forgetful, max_unacknowledged=2)
    for id in "12":
        client.submit(task(id), ())
    blocked = threading.Thread(target=client.submit, args=(task("3"), ()))
    blocked.start()
    blocked.join(0.3)
    assert blocked.is_alive()
    link.say(m.Accepted(["1", "2"]))
    blocked.join(5.0)
    assert not blocked.is_alive()


def test_at_exit_it_says_how_many_were_not_accepted(
    connect: Connect, capsys: pytest.CaptureFixture[str]
) -> None:
    client, _ = connect(forgetful, drain_timeout=0.1)
    for id in "12":
        client.submit(task(id), ())
    client.close()
    assert "2 tasks were not accepted" in capsys.readouterr().err


def test_a_closed_client_takes_nothing(connect: Connect) -> None:
    client, _ = connect()
    client.close()
    assert not client.usable
    with pytest.raises(ConnectionLostError, match="closed"):
        client.submit(task("1"), ())


def test_a_broker_that_does_not_answer_is_an_error_within_the_timeout(connect: Connect) -> None:
    began = time.monotonic()
    with pytest.raises(ConnectionLostError, match="no answer"):
        connect(lambda message: [], connect_timeout=0.2)
    assert time.monotonic() - began < 3


def test_a_refusal_is_raised_with_its_reason(connect: Connect) -> None:
    with pytest.raises(NBQueueError, match="same version"):
        connect(lambda message: [m.Refused("install the same version")])


def test_when_the_way_to_the_broker_is_back_it_asks_at_once_who_is_there(connect: Connect) -> None:
    def slow(message: m.AnyMessage) -> list[m.AnyMessage]:
        return [m.Welcome(1, "", 60.0, 60.0, 0.0)] if isinstance(message, m.Hello) else polite(message)

    _, link = connect(slow)
    soon(lambda: m.Ping() in link.said)
    link.trouble = ConnectionLostError("broke")
    link.wake()
    time.sleep(0.1)  # looked at
    link.said.clear()
    link.trouble = None
    link.wake()
    soon(lambda: m.Ping() in link.said)


def test_a_wrong_key_is_raised_at_once() -> None:
    link = ScriptedLink(lambda message: [])
    link.trouble = AuthenticationError("wrong key")
    with pytest.raises(AuthenticationError):
        Client(ScriptedTransport(link), Settings(connect_timeout=60.0))


def test_waiting_for_a_silent_broker_ends_after_its_lease(connect: Connect) -> None:
    client, _ = connect(lambda message: [WELCOME] if isinstance(message, m.Hello) else [])
    result = AsyncResult("1", client, client.submit(task("1"), ()))
    with pytest.raises(ConnectionLostError, match="no word"):
        result.get(timeout=30.0)


def test_an_interrupted_get_leaves_the_task_alone(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    client, link = connect()
    result = AsyncResult("1", client, client.submit(task("1"), ()))

    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(client, "check", interrupt)
    with pytest.raises(KeyboardInterrupt):
        result.get(30.0)
    assert not any(isinstance(message, m.Cancel) for message in link.said)


def test_watchers_are_told_of_many_changes_at_once_and_of_the_last(connect: Connect) -> None:
    client, link = connect()
    results = [AsyncResult(id, client, client.submit(task(id), ())) for id in "12"]
    calls: list[tuple[float, list[int]]] = []
    subscription = watch(results, lambda changed: calls.append((time.monotonic(), changed)), interval=0.2)
    end = time.monotonic() + 1.0
    number = 0
    while time.monotonic() < end:
        number += 1
        link.say(m.Progress("2", 1, number))
        time.sleep(0.005)
    link.say(m.Settle([m.Outcome("1", 1, "SUCCESS")]))
    while results[0].peek().state != "SUCCESS" or 0 not in calls[-1][1]:
        assert time.monotonic() < end + 5
        time.sleep(0.01)
    assert 3 <= len(calls) <= 9
    subscription.close()
    before = len(calls)
    link.say(m.Progress("2", 1, 1))
    time.sleep(0.3)
    assert len(calls) == before


def test_a_view_that_fails_does_not_end_the_thread(connect: Connect) -> None:
    client, link = connect()
    result = AsyncResult("1", client, client.submit(task("1"), ()))

    def fail(changed: list[int]) -> None:
        raise RuntimeError("a view")

    watch([result], fail, interval=0.0)
    link.say(m.Progress("1", 1, 1))
    link.say(m.Settle([m.Outcome("1", 1, "SUCCESS")]))
    assert result.get(5.0) is None


def test_a_result_is_equal_to_its_id_and_refuses_none(connect: Connect) -> None:
    client, _ = connect()
    assert AsyncResult("1", client) == "1"
    assert hash(AsyncResult("1", client)) == hash("1")
    assert AsyncResult("1", client) != AsyncResult("2", client)
    assert repr(AsyncResult("1", client)) == "<AsyncResult 1>"
    with pytest.raises(ValueError, match="None"):
        AsyncResult(None, client)


# ── nothing that a caller says ends the I/O thread, or harms its neighbours ──────────────────────


class WritingLink(ScriptedLink):
    """Writes messages as a real link does."""

    def send(self, messages: Sequence[m.AnyMessage]) -> None:
        codec.encode(messages)
        super().send(messages)


def test_a_task_that_cannot_be_written_is_refused_alone() -> None:
    client = Client(ScriptedTransport(WritingLink(polite)), Settings())
    good, bad = AsyncResult("1", client), AsyncResult("2", client)
    client.submit(task("1"), ())
    client.submit(m.Task("2", "f", "", b"", countdown=object()), ())
    client.submit(task("3"), ())
    with pytest.raises(SubmissionRefused, match="cannot be sent"):
        bad.get(5.0)
    good.wait_accepted(5.0)
    assert client.flush(5.0)
    client.close(drain=False)


def test_a_question_that_cannot_be_written_is_an_error() -> None:
    client = Client(ScriptedTransport(WritingLink(polite)), Settings())
    with pytest.raises(NBQueueError, match="cannot be sent"):
        client.ask("why", id=object(), timeout=5.0)
    client.submit(task("1"), ())
    assert client.flush(5.0)
    client.close(drain=False)


def test_a_callback_that_fails_harms_nobody_else(connect: Connect) -> None:
    client, link = connect()
    first, second = (AsyncResult(id, client, client.submit(task(id), ())) for id in "12")

    def fail(result: AsyncResult) -> None:
        raise RuntimeError("a callback")

    called: list[str] = []
    first.then(fail)
    first.then(lambda result: called.append(result.id))
    link.say(settled("1"))
    link.say(settled("2"))
    assert second.get(5.0) is None
    assert called == ["1"]
    first.then(fail)  # now that it is done, too


# ── one object for all who ask ───────────────────────────────────────────────────────────────────


def test_a_task_that_is_submitted_twice_has_one_record(connect: Connect) -> None:
    client, link = connect()
    first = AsyncResult("1", client, client.submit(task("1"), ()))
    second = AsyncResult("1", client, client.submit(task("1"), ()))
    link.say(settled("1"))
    assert first.get(5.0) is None
    assert second.get(5.0) is None


def test_waiting_for_what_was_forgotten_ends(connect: Connect) -> None:
    client, _ = connect()
    result = AsyncResult("1", client, client.submit(task("1"), ()))
    result.forget()
    with pytest.raises(ResultNotFoundError):
        result.get(5.0)


def test_what_was_not_found_may_be_submitted_later(connect: Connect) -> None:
    client, link = connect(ignorant)
    result = AsyncResult("1", client)
    with pytest.raises(ResultNotFoundError):
        result.get(5.0)
    client.submit(task("1"), ())
    link.say(settled("1"))
    assert result.get(5.0) is None


# ── who is to blame ──────────────────────────────────────────────────────────────────────────────


def test_a_closed_client_blames_nobody_else(connect: Connect) -> None:
    client, _ = connect()
    result = AsyncResult("1", client, client.submit(task("1"), ()))
    result.wait_accepted(5.0)
    client.close()
    began = time.monotonic()
    assert "closed" in result.why()
    for use in (result.cancel, result.get, AsyncResult("2", client).get):
        with pytest.raises(ConnectionLostError, match="closed"):
            use()
    assert time.monotonic() - began < 3
    watch([result], lambda changed: None).close()  # a view of what is known goes on


def test_a_forked_child_is_told_whose_client_it_has(connect: Connect) -> None:
    client, _ = connect()
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        try:
            client.ask("status")
        except ConnectionLostError as error:
            os.write(writer, str(error).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert b"forked" in os.read(reader, 1000)
    os.close(reader)
    os.close(writer)
    assert client.usable


def test_looking_up_an_id_takes_no_longer_than_get_is_given(connect: Connect) -> None:
    client, _ = connect(mute)
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        AsyncResult("1", client).get(timeout=0.2)
    assert time.monotonic() - began < 2


def test_silence_counts_only_while_we_listen(connect: Connect) -> None:
    client, link = connect(forgetful)
    client.submit(task("1"), ())
    receive = link.receive

    def stopped(timeout: float | None) -> list[m.AnyMessage]:
        time.sleep(2 * WELCOME.lease)  # as after SIGSTOP, or under C code that keeps the GIL
        return []

    link.receive = stopped
    link.wake()
    time.sleep(1.5 * WELCOME.lease)
    assert not client.flush(0.1)
    link.receive = receive
    assert not client.flush(0.3)


# ── waiting ──────────────────────────────────────────────────────────────────────────────────────


def test_waiting_for_one_task_does_not_wait_for_later_ones(connect: Connect) -> None:
    client, link = connect(forgetful)
    result = AsyncResult("1", client, client.submit(task("1"), ()))
    client.submit(task("2"), ())
    link.say(m.Accepted(["1"]))
    result.wait_accepted(2.0)


def test_flush_does_not_wait_for_what_is_submitted_after_it(connect: Connect) -> None:
    client, link = connect(forgetful)
    client.submit(task("1"), ())
    flushed: list[bool] = []
    flushing = threading.Thread(target=lambda: flushed.append(client.flush(5.0)))
    flushing.start()
    soon(lambda: len(client._session.pending) == 1 and not client._orders)
    time.sleep(0.05)
    client.submit(task("2"), ())
    link.say(m.Accepted(["1"]))
    flushing.join()
    assert flushed == [True]


def test_those_who_wait_no_longer_are_not_remembered(connect: Connect) -> None:
    client, _ = connect()
    result = AsyncResult("1", client, client.submit(task("1"), ()))
    with pytest.raises(TimeoutError):
        list(as_completed([result], timeout=0.05))
    assert listeners(result) == 0

    async def wait() -> None:
        await asyncio.wait_for(result, 0.05)

    with pytest.raises(asyncio.TimeoutError):
        asyncio.run(wait())
    assert listeners(result) == 0


def test_an_interrupted_get_is_not_remembered(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    client, _ = connect()
    result = AsyncResult("1", client, client.submit(task("1"), ()))

    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(client, "check", interrupt)
    with pytest.raises(KeyboardInterrupt):
        result.get(30.0, interval=0.02)
    assert listeners(result) == 0


def test_get_calls_back_with_the_id_and_the_value(connect: Connect) -> None:
    client, link = connect()
    results = [AsyncResult(id, client, client.submit(task(id), ())) for id in "12"]
    for id in "21":
        link.say(settled(id))
    seen: list[tuple[str, object]] = []
    GroupResult("g", results).get(5.0, callback=lambda id, value: seen.append((id, value)))
    assert seen == [("1", None), ("2", None)]


def test_a_subscription_is_told_of_what_changed_before_it_was_taken_up(connect: Connect) -> None:
    client, _ = connect()
    result = AsyncResult("1", client, client.submit(task("1"), ()))
    result.wait_accepted(5.0)
    told: list[list[int]] = []
    watch([result], told.append, interval=0.0)
    soon(lambda: told == [[0]])


def test_a_future_ends_with_the_thread_that_would_have_settled_it(connect: Connect) -> None:
    client, _ = connect()
    result = AsyncResult("1", client, client.submit(task("1"), ()))
    before = result.future()
    client._do(lambda: 1 / 0)
    assert isinstance(before.exception(5.0), NBQueueError)
    assert isinstance(result.future().exception(5.0), NBQueueError)


def test_waiting_that_outlives_a_silent_time_of_the_broker_is_not_harmed(connect: Connect) -> None:
    silent = threading.Event()
    client, link = connect(lambda message: [] if silent.is_set() else polite(message))
    result = AsyncResult("1", client, client.submit(task("1"), ()))
    assert client.flush(5.0)
    called: list[str] = []
    result.then(lambda r: called.append(r.state))
    silent.set()
    with pytest.raises(ConnectionLostError):
        result.future().result(10.0)
    with pytest.raises(ConnectionLostError):
        result.get(10.0)
    assert called == []
    silent.clear()
    link.say(m.Settle([m.Outcome("1", 1, "SUCCESS")]))
    assert result.get(5.0) is None
    assert called == ["SUCCESS"]
