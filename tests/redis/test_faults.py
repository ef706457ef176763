"""Redis that dies, stops, is full or refuses us; cables that are cut."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import nbqueue
from nbqueue import App
from tests.redis.proxy import Proxy
from tests.redis.server import RedisServer
from tests.redis.threads import executor

LIMIT = 20.0


@pytest.fixture
def own(tmp_path: Path) -> Iterator[RedisServer]:
    """A server that may be killed."""
    made = RedisServer(tmp_path / "redis", "appendfsync always")
    yield made
    made.stop()


@pytest.fixture
def make_app(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., App]]:
    made: list[App] = []

    def make(url: str, **settings: Any) -> App:
        made.append(App(broker=url, **settings))
        return made[-1]

    yield make
    for app in made:
        app.client.close(drain=False)


def test_nothing_that_was_accepted_is_lost_when_redis_is_killed(
    own: RedisServer, make_app: Callable[..., App]
) -> None:
    app = make_app(own.url)
    add = app.task(lambda x: x + 1, name="add")
    with executor(own.url):
        add.delay(0).get(LIMIT)
        results = []
        for round in range(3):
            killer = threading.Timer(0.05, own.kill)
            killer.start()
            for number in range(400):
                results.append((number, add.delay(number)))
                time.sleep(0.0005)
            killer.join()
            time.sleep(0.2 * round)
            own.start()
        assert [result.get(LIMIT) for _, result in results] == [number + 1 for number, _ in results]


def test_a_task_that_runs_while_redis_is_away_delivers_its_outcome(
    own: RedisServer, make_app: Callable[..., App]
) -> None:
    app = make_app(own.url)
    nap = app.task(lambda s: (time.sleep(s), s)[1], name="nap")
    with executor(own.url):
        result = nap.delay(1.5)
        _until(lambda: result.state == "STARTED")
        own.kill()
        time.sleep(2.0)
        own.start()
        assert result.get(LIMIT) == 1.5


def test_what_a_redis_without_persistence_forgets_is_said(
    tmp_path: Path, make_app: Callable[..., App]
) -> None:
    server = RedisServer(tmp_path / "redis", aof=False)
    app = make_app(server.url)
    result = app.task(lambda: 1, name="f").apply_async(queue="nobody")
    result.wait_accepted(LIMIT)
    server.kill()
    server.start()
    with pytest.raises(nbqueue.ResultNotFoundError):
        result.get(LIMIT)
    server.stop()


def test_a_redis_that_stops_for_longer_than_a_lease_loses_no_worker(
    own: RedisServer, make_app: Callable[..., App], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NBQUEUE_WORKER_LEASE", "1")
    monkeypatch.setenv("NBQUEUE_WORKER_HEARTBEAT", "0.2")
    app = make_app(own.url)
    attempts = app.task(lambda self: (time.sleep(2.0), self.request.attempt)[1], name="f", bind=True)
    with executor(own.url):
        result = attempts.delay()
        _until(lambda: result.state == "STARTED")
        own.pause()
        time.sleep(1.5)
        own.resume()
        assert result.get(LIMIT) == 1


@pytest.mark.parametrize("how", ["hang up", "cut"])
def test_a_connection_that_breaks_is_made_again(
    how: str, own: RedisServer, make_app: Callable[..., App]
) -> None:
    near, far = Proxy(own.port), Proxy(own.port)
    app = make_app(f"redis://127.0.0.1:{near.port}/0", connect_timeout=10.0)
    url = f"redis://127.0.0.1:{far.port}/0"
    add = app.task(lambda x: x + 1, name="add")
    with executor(url):
        add.delay(0).get(LIMIT)
        results = add.map(range(500))
        for proxy in (near, far):
            proxy.hang_up() if how == "hang up" else proxy.cut()
        results.children += add.map(range(500, 600)).children
        time.sleep(1.0)
        near.mend()
        far.mend()
        assert results.get(40.0) == list(range(1, 601))
    near.close()
    far.close()


def test_a_full_redis_refuses_tasks_and_keeps_outcomes(tmp_path: Path, make_app: Callable[..., App]) -> None:
    server = RedisServer(tmp_path / "redis", "maxmemory 24mb", "maxmemory-policy noeviction", aof=False)
    app = make_app(server.url)
    echo = app.task(len, name="echo")
    results = [echo.apply_async((b"x" * 100_000,), queue="later") for _ in range(400)]
    assert app.flush(LIMIT)
    refused = next(result for result in results if result.failed())  # a small batch at the end may fit
    with pytest.raises(nbqueue.SubmissionRefused, match="no memory left"):
        refused.get(LIMIT)
    assert any(result.accepted for result in results)
    server.client().config_set("maxmemory", "64mb")
    with executor(server.url):
        assert echo.delay(b"xx").get(LIMIT) == 2
    server.stop()


def test_outcomes_find_room_in_a_full_redis(tmp_path: Path, make_app: Callable[..., App]) -> None:
    server = RedisServer(tmp_path / "redis", aof=False)
    app = make_app(server.url)
    nap = app.task(lambda x: (time.sleep(1.0), len(x))[1], name="nap")
    with executor(server.url):
        result = nap.delay(b"x" * 1000)
        _until(lambda: result.state == "STARTED")
        server.client().config_set("maxmemory", "1mb")
        assert result.get(LIMIT) == 1000
    server.stop()


def test_a_wrong_password_is_said_at_once(tmp_path: Path) -> None:
    server = RedisServer(tmp_path / "redis", "requirepass secret")
    with pytest.raises(nbqueue.AuthenticationError) as raised:
        _ = App(broker=f"redis://:wrong@127.0.0.1:{server.port}/0").client
    assert "wrong" not in str(raised.value).replace("WRONGPASS", "")
    with pytest.raises(nbqueue.AuthenticationError):
        _ = App(broker=server.url).client
    app = App(broker=f"redis://:secret@127.0.0.1:{server.port}/0")
    assert "secret" not in app.client.url
    app.close()
    server.stop()


def test_the_password_may_come_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = RedisServer(tmp_path / "redis", "requirepass secret")
    monkeypatch.setenv("NBQUEUE_REDIS_PASSWORD", "secret")
    app = App(broker=server.url)
    assert app.client.ask("status")["workers"] == []
    app.close()
    server.stop()


def test_nobody_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(nbqueue.ConnectionLostError, match="no Redis answers"):
        _ = App(broker="redis://127.0.0.1:1/0", connect_timeout=0.5).client


def test_scripts_that_were_flushed_are_loaded_again(own: RedisServer, make_app: Callable[..., App]) -> None:
    app = make_app(own.url)
    add = app.task(lambda x: x + 1, name="add")
    with executor(own.url):
        add.delay(0).get(LIMIT)
        own.client().script_flush()
        assert add.map(range(100)).get(LIMIT) == list(range(1, 101))


def _until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [10.0, 60.0])
def test_a_cable_that_is_cut_for_long_loses_nothing(
    seconds: float, own: RedisServer, make_app: Callable[..., App]
) -> None:
    """Longer than a lease, of client and worker alike: who waits is told within it, and asks again later."""
    near, far = Proxy(own.port), Proxy(own.port)
    app = make_app(f"redis://127.0.0.1:{near.port}/0", connect_timeout=10.0)
    add = app.task(lambda x: x + 1, name="add")
    with executor(f"redis://127.0.0.1:{far.port}/0"):
        assert add.delay(0).get(LIMIT) == 1
        results = add.map(range(200))
        for proxy in (near, far):
            proxy.cut()
        results.children += add.map(range(200, 300)).children
        time.sleep(seconds)
        for proxy in (near, far):
            proxy.mend()
        _until(lambda: app.client.connected and all(result.ready() for result in results.children))
        assert [result.get(LIMIT) for result in results.children] == list(range(1, 301))
    near.close()
    far.close()
