"""Events of everything over Redis: told while somebody listens, by whoever does what they tell of."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner

from nbqueue import App, TaskRevokedError
from nbqueue import messages as m
from nbqueue.cli.main import cli
from nbqueue.transports.redis.records import Sealed
from nbqueue.wire.signing import Signer, signing_key
from tests.redis.conftest import Keys
from tests.redis.threads import executor
from tests.redis.worker import Worker
from tests.waiting import until

LIMIT = 20.0


@pytest.fixture
def other(url: str) -> Iterator[App]:
    """Somebody else's application, who listens."""
    app = App(broker=url)
    yield app
    app.close()


def heard(keys: Keys) -> None:
    """Wait until all know that somebody listens."""
    until(lambda: keys.redis.zcard(keys("listeners")))
    until(lambda: dict(keys.redis.pubsub_numsub(keys("events")))[keys("events").encode()])


def test_a_task_is_told_of_from_its_sending_to_its_end(app: App, other: App, url: str, keys: Keys) -> None:
    @app.task(bind=True, max_retries=1, name="work")
    def work(self: Any, x: int) -> int:
        if x == 0 and not self.request.retries:
            raise self.retry(countdown=0.01)
        return 1 // x

    with executor(url):
        assert work.delay(1).get(LIMIT) == 1
        stream = other.events(timeout=LIMIT)
        heard(keys)
        result = work.delay(1)
        told = [next(stream) for _ in range(4)]
        assert [event["type"] for event in told] == [
            "task-sent", "task-received", "task-started", "task-succeeded",
        ]  # fmt: skip
        assert {event["uuid"] for event in told} == {result.id}
        assert {event.get("hostname") for event in told[1:]} == {"w@test"}
        assert all(abs(event["timestamp"] - time.time()) < LIMIT for event in told)
        failing = work.delay(0)
        with pytest.raises(ZeroDivisionError):
            failing.get(LIMIT)
        types = []
        while not types or types[-1] != "task-failed":
            types.append(next(stream)["type"])
        assert types.count("task-retried") == 1
        gone = work.apply_async((1,), countdown=60)
        app.flush()
        gone.cancel()
        with pytest.raises(TaskRevokedError):
            gone.get(LIMIT)
        assert [next(stream)["type"] for _ in range(2)] == ["task-sent", "task-revoked"]
        stream.close()


def test_nothing_is_made_while_nobody_listens(app: App, other: App, url: str, keys: Keys) -> None:
    echo = app.task(lambda x: x, name="echo")
    spy = keys.redis.pubsub(ignore_subscribe_messages=True)
    with executor(url):
        stream = other.events(timeout=LIMIT)
        heard(keys)
        echo.delay(1).get(LIMIT)
        stream.close()
        until(lambda: not keys.redis.exists(keys("listeners")))
        spy.subscribe(keys("events"))
        echo.delay(2).get(LIMIT)
        echo.delay(3).get(LIMIT)
    assert spy.get_message(timeout=0.2) is None
    spy.close()


def test_only_what_was_asked_for_is_told(app: App, other: App, url: str, keys: Keys) -> None:
    echo = app.task(lambda x: x, name="echo")
    with executor(url):
        stream = other.events(["task-succeeded"], timeout=LIMIT)
        heard(keys)
        results = echo.map(range(5))
        assert results.get(LIMIT) == [0, 1, 2, 3, 4]
        told = [next(stream) for _ in range(5)]
        assert {event["type"] for event in told} == {"task-succeeded"}
        assert {event["uuid"] for event in told} == {child.id for child in results.children}
        stream.close()


def test_workers_are_told_of_and_a_silent_one_is_not(
    other: App, url: str, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NBQUEUE_WORKER_HEARTBEAT", "0.2")
    echo = other.task(lambda x: x, name="echo")
    stream = other.events(timeout=LIMIT)
    heard(keys)
    worker = Worker(url, "-c", "1", "-n", "w1@test")
    try:
        types: set[str] = set()
        while not {"worker-online", "worker-heartbeat"} <= types:
            event = next(stream)
            types.add(event["type"])
        assert (event["hostname"], event["pid"]) == ("w1@test", worker.process.pid)
        other.control.disable_events(reply=True, timeout=LIMIT)
        assert echo.delay(1).get(LIMIT) == 1
        other.control.enable_events(reply=True, timeout=LIMIT)
        assert echo.delay(2).get(LIMIT) == 2
    finally:
        worker.stop()
    ends = []
    while (event := next(stream))["type"] != "worker-offline":
        ends += [event["type"]] * event["type"].startswith("task")
    assert ends.count("task-succeeded") == 1
    stream.close()


def test_a_listener_that_is_gone_without_a_word_counts_no_longer(app: App, url: str, keys: Keys) -> None:
    echo = app.task(lambda x: x, name="echo")
    keys.redis.zadd(keys("listeners"), {"gone": time.time() + 0.5})
    with executor(url):
        echo.delay(1).get(LIMIT)
        time.sleep(0.6)
        echo.delay(2).get(LIMIT)  # now they look
        spy = keys.redis.pubsub(ignore_subscribe_messages=True)
        spy.subscribe(keys("events"))
        spy.get_message(timeout=0.1)
        echo.delay(3).get(LIMIT)
        assert spy.get_message(timeout=0.2) is None
        spy.close()


def test_events_that_somebody_else_made_are_not_told(
    app: App, other: App, keys: Keys, caplog: pytest.LogCaptureFixture
) -> None:
    stream = other.events(timeout=LIMIT)
    heard(keys)
    genuine = Sealed(Signer(signing_key().encode(), keys.prefix[5:-2]))
    evil = [m.Events([{"type": "task-succeeded", "timestamp": 0.0, "uuid": "evil"}])]
    good = [m.Events([{"type": "task-succeeded", "timestamp": 0.0, "uuid": "good"}])]
    keys.redis.publish(keys("events"), Sealed(Signer(b"another key, long enough", "x")).events(evil))
    keys.redis.publish(keys("events"), genuine.events(good))
    assert next(stream)["uuid"] == "good"
    assert "refused, unread" in caplog.text
    stream.close()


def test_the_command_shows_them(app: App, url: str, keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    echo = app.task(lambda x: x, name="echo")

    def work() -> None:
        until(lambda: keys.redis.zcard(keys("listeners")))
        echo.apply_async((1,), queue="nobody").wait_accepted(LIMIT)

    thread = threading.Thread(target=work)
    thread.start()
    env = {"NBQUEUE_BROKER": url}
    result = CliRunner().invoke(cli, ["events", "--limit", "1", "--connect", url], env=env)
    thread.join(LIMIT)
    assert "task-sent" in result.output
