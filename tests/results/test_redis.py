"""Values in a Redis, whatever the broker is: what is kept there, for how long, and what is not believed."""

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import nbqueue
from nbqueue import App
from nbqueue.cli.main import cli
from nbqueue.exceptions import ConfigurationError, ConnectionLostError, ResultBackendError
from nbqueue.results import is_with_broker
from nbqueue.results.base import StoredValue
from nbqueue.results.redis import RedisBackend
from nbqueue.testing import InProcessCluster
from nbqueue.transports.redis.pieces import LARGE, PIECE
from nbqueue.wire.signing import ForgedError
from tests.redis.conftest import Keys
from tests.redis.proxy import Proxy
from tests.redis.server import RedisServer

LIMIT = 20.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    made = RedisServer(tmp_path_factory.mktemp("redis"))
    yield made
    made.stop()


@pytest.fixture
def url(server: RedisServer, request: pytest.FixtureRequest) -> str:
    return f"{server.url}?app=values-{abs(hash(request.node.name))}"


@pytest.fixture
def backend(url: str) -> Iterator[RedisBackend]:
    made = RedisBackend(url)
    yield made
    made.close()


@pytest.fixture
def keys(url: str) -> Iterator[Keys]:
    made = Keys(url)
    yield made
    made.redis.close()


@pytest.mark.parametrize("size", [0, 1, LARGE, LARGE + 1, PIECE, PIECE + 1, 5 * PIECE + 7])
def test_a_value_of_any_size_comes_back(size: int, backend: RedisBackend) -> None:
    data = os.urandom(size)
    backend.store([StoredValue("a", 7, data)], 60.0)
    assert backend.load("a", 7) == data


def test_what_is_not_there_is_none(backend: RedisBackend) -> None:
    backend.store([StoredValue("a", 7, b"value")], 60.0)
    assert backend.load("a", 8) is None
    assert backend.load("b", 7) is None


def test_a_run_that_comes_too_late_takes_nothing_away(backend: RedisBackend) -> None:
    backend.store([StoredValue("a", 8, b"of the run that counts")], 60.0)
    backend.store([StoredValue("a", 7, b"too late")], 60.0)
    assert backend.load("a", 8) == b"of the run that counts"


@pytest.mark.parametrize("size", [10, 3 * PIECE])
def test_values_expire_and_are_forgotten_as_a_whole(backend: RedisBackend, keys: Keys, size: int) -> None:
    backend.store([StoredValue(id, 7, bytes(size)) for id in ("a", "b")], 60.0)
    assert keys.all() == {"value:a", "value:b"}
    assert 50.0 < keys.redis.ttl(keys("value:a")) <= 60.0
    backend.forget(["a", "nothing"])
    assert keys.all() == {"value:b"}
    backend.store([StoredValue("b", 9, bytes(size))], 0.05)
    _until(lambda: not keys.all())
    assert backend.load("b", 7) is None


def test_without_an_end_they_stay(backend: RedisBackend, keys: Keys) -> None:
    backend.store([StoredValue("a", 7, b"value")], 0.0)
    assert keys.redis.ttl(keys("value:a")) == -1


@pytest.mark.parametrize("size", [10, 3 * PIECE])
def test_a_value_that_is_not_ours_is_not_read(backend: RedisBackend, keys: Keys, size: int) -> None:
    backend.store([StoredValue("a", 7, os.urandom(size)), StoredValue("b", 7, b"b")], 60.0)
    genuine = keys.redis.hgetall(keys("value:a"))
    head = genuine[b"7"]
    for forged in (b"garbage" * 20, head[:-1] + bytes([head[-1] ^ 1]), keys.redis.hget(keys("value:b"), "7")):
        keys.redis.hset(keys("value:a"), "7", forged)
        with pytest.raises(ForgedError):
            backend.load("a", 7)
    keys.redis.hset(keys("value:a"), "8", head)  # of another run
    with pytest.raises(ForgedError):
        backend.load("a", 8)


def test_a_piece_that_was_altered_is_noticed_and_one_that_is_gone(backend: RedisBackend, keys: Keys) -> None:
    backend.store([StoredValue("a", 7, os.urandom(3 * PIECE))], 60.0)
    piece = keys.redis.hget(keys("value:a"), "7/1")
    keys.redis.hset(keys("value:a"), "7/1", bytes([piece[0] ^ 1]) + piece[1:])
    with pytest.raises(ForgedError, match="altered"):
        backend.load("a", 7)
    keys.redis.hdel(keys("value:a"), "7/1")
    assert backend.load("a", 7) is None


def test_with_another_signing_key_nothing_is_read(
    backend: RedisBackend, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend.store([StoredValue("a", 7, b"value")], 60.0)
    monkeypatch.setenv("NBQUEUE_SIGNING_KEY", "another key than the one before")
    with pytest.raises(ForgedError, match="nbqueue key"):
        RedisBackend(url).load("a", 7)


def test_many_threads_use_it_at_once(backend: RedisBackend) -> None:
    wrong: list[Any] = []

    def work(number: int) -> None:
        for round in range(20):
            data = bytes([number]) * (LARGE if round % 7 else 2 * PIECE)
            backend.store([StoredValue(f"{number}", round, data)], 60.0)
            if backend.load(f"{number}", round) != data:
                wrong.append((number, round))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT)
    assert not wrong


# ── faults ───────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def own(tmp_path: Path) -> Iterator[RedisServer]:
    made = RedisServer(tmp_path / "redis", "appendfsync always")
    yield made
    made.stop()


def test_a_value_is_stored_when_redis_is_back(own: RedisServer) -> None:
    backend = RedisBackend(own.url)
    backend.store([StoredValue("a", 7, b"before")], 60.0)
    own.kill()
    back = threading.Timer(1.0, own.start)
    back.start()
    backend.store([StoredValue("b", 7, bytes(3 * PIECE))], 60.0)
    back.join()
    assert backend.load("a", 7) == b"before"
    assert backend.load("b", 7) == bytes(3 * PIECE)


def test_a_connection_that_was_closed_meanwhile_is_made_again(own: RedisServer) -> None:
    backend = RedisBackend(own.url)
    backend.store([StoredValue("a", 7, b"value")], 60.0)
    own.client().client_kill_filter(_type="normal")
    assert backend.load("a", 7) == b"value"


def test_a_redis_that_is_away_is_an_error_within_seconds(own: RedisServer) -> None:
    backend = RedisBackend(own.url)
    backend.store([StoredValue("a", 7, b"value")], 60.0)
    own.stop()
    began = time.monotonic()
    with pytest.raises(ConnectionLostError, match="no Redis answers"):
        backend.load("a", 7)
    assert time.monotonic() - began < 8.0


@pytest.mark.parametrize("seconds", [1.0, pytest.param(10.0, marks=pytest.mark.slow)])
def test_a_cable_that_is_cut_while_a_large_value_travels(own: RedisServer, seconds: float) -> None:
    proxy = Proxy(own.port)
    backend = RedisBackend(f"redis://127.0.0.1:{proxy.port}/0")
    data = os.urandom(20 * PIECE)
    cuts = [threading.Timer(0.02, proxy.cut), threading.Timer(0.02 + seconds, proxy.mend)]
    for cut in cuts:
        cut.start()
    backend.store([StoredValue("a", 7, data)], 60.0)
    for cut in cuts:
        cut.join()
    assert backend.load("a", 7) == data
    proxy.close()


def test_a_redis_that_stops_for_longer_than_redis_pys_own_patience_ends_no_wait(own: RedisServer) -> None:
    backend = RedisBackend(own.url)
    backend.store([StoredValue("a", 7, b"value")], 60.0)
    own.pause()
    later = threading.Timer(6.0, own.resume)
    later.start()
    backend.store([StoredValue("b", 7, b"stored")], 60.0)
    later.join()
    assert backend.load("b", 7) == b"stored"


def test_a_full_redis_is_said(tmp_path: Path) -> None:
    server = RedisServer(tmp_path / "redis", "maxmemory 3mb", "maxmemory-policy noeviction", aof=False)
    backend = RedisBackend(server.url)
    with pytest.raises(ResultBackendError, match="no memory left"):
        backend.store([StoredValue("a", 7, bytes(8 * PIECE))], 60.0)
    server.stop()


# ── as an application sees it ────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def cluster() -> Iterator[InProcessCluster]:
    with InProcessCluster() as made:
        yield made


def test_values_are_in_redis_and_go_with_their_results(
    cluster: InProcessCluster, url: str, keys: Keys
) -> None:
    app = App("tasks", broker=cluster.url, backend=url, set_as_current=False)
    result = app.task(lambda x: x * 2, name="double").delay(21)
    assert result.get(LIMIT) == 42
    assert keys.all() == {f"value:{result.id}"}
    assert result.record.outcome is not None
    assert result.record.outcome.value == b""
    result.forget()
    assert keys.all() == set()


def test_a_value_that_is_gone_is_told(cluster: InProcessCluster, url: str, keys: Keys) -> None:
    app = App("tasks", broker=cluster.url, backend=url, set_as_current=False)
    result = app.task(lambda: 1, name="one").delay()
    _until(result.ready)
    keys.redis.delete(keys(f"value:{result.id}"))
    with pytest.raises(nbqueue.ResultNotFoundError, match="no value"):
        result.get(LIMIT)


def test_the_command_line_finds_values_by_the_environment(
    cluster: InProcessCluster, url: str, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NBQUEUE_RESULT_BACKEND", url)
    app = App("tasks", broker=cluster.url, set_as_current=False)
    result = app.task(lambda x: x * 2, name="double").delay(21)
    assert result.get(LIMIT) == 42
    assert keys.all() == {f"value:{result.id}"}
    shown = CliRunner().invoke(cli, ["result", result.id, "--connect", cluster.url])
    assert (shown.exit_code, shown.stdout) == (0, "42\n")


def test_a_password_is_not_shown(cluster: InProcessCluster) -> None:
    app = App("t", broker=cluster.url, backend="redis://:secret@127.0.0.1:1/0", set_as_current=False)
    assert "secret" not in repr(app.backend)
    assert app.backend.as_uri() == "redis://:***@127.0.0.1:1/0"
    result = app.task(lambda: 1, name="one").apply_async(queue="nobody")
    with pytest.raises(ConfigurationError) as raised:
        App("t", broker=cluster.url, backend="redis://:secret@h/0?wrong=1").task(lambda: 1, name="f").delay()
    assert "secret" not in str(raised.value)
    result.revoke()


@pytest.mark.parametrize(
    ("url", "broker", "same"),
    [
        ("redis://h/0", "redis://h:6379", True),
        ("redis://:pw@h", "redis://h/0", True),
        ("redis://h/1", "redis://h/0", False),
        ("redis://h/0?app=a", "redis://h/0", False),
        ("redis://h/0", "zmq://h", False),
        ("rediss://h/0", "redis://h/0", False),
        ("rpc://", "zmq://h", True),
        (None, "", True),
        ("redis://h", "", False),
    ],
)
def test_the_brokers_own_redis_is_the_broker(url: str | None, broker: str, same: bool) -> None:
    assert is_with_broker(url, broker) is same


def _until(condition: Any) -> None:
    deadline = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
