"""Large payloads: kept apart from their tasks and outcomes, in pieces, and never pushed.

Redis hangs up on those who listen to channels and are sent more than 32 MB at once.
"""

import os
import threading
import time
from typing import Any

import pytest

import nbqueue
from nbqueue import App
from nbqueue.client.client import Client
from nbqueue.transports import transport
from nbqueue.transports.redis.pieces import LARGE, PIECE
from tests.redis.conftest import Keys
from tests.redis.proxy import Proxy
from tests.redis.server import RedisServer
from tests.redis.threads import executor

LIMIT = 30.0


def blobs(keys: Keys) -> set[str]:
    """Large payloads and large values that are there."""
    return {name for name in keys.all() if name.startswith(("blob:p.", "value:"))}


@pytest.mark.parametrize("size", [LARGE - 200, LARGE + 1, PIECE, 3 * PIECE + 5, 40 * PIECE])
def test_arguments_and_values_of_any_size_travel(size: int, app: App, url: str, keys: Keys) -> None:
    data = os.urandom(size)
    echo = app.task(lambda x: x, name="echo")
    with executor(url):
        result = echo.delay(data)
        assert result.get(LIMIT) == data
        assert app.AsyncResult(result.id).get(LIMIT) == data
    large = size > LARGE
    assert blobs(keys) == ({f"value:{result.id}"} if large else set())
    assert result.record.outcome is not None
    assert (result.record.outcome.value == b"") is large
    other = App(broker=url)
    assert other.AsyncResult(result.id).get(LIMIT) == data
    other.AsyncResult(result.id).forget()
    other.close()
    assert blobs(keys) == set()


def test_payloads_go_with_their_tasks(app: App, url: str, keys: Keys) -> None:
    data = bytes(3 * PIECE)
    length = app.task(len, name="length")
    results = [length.apply_async((data,), queue=queue) for queue in ("default", "nobody")]
    for result in results:
        result.wait_accepted(LIMIT)
    assert len(blobs(keys)) == 2
    assert all(keys.redis.ttl(keys(name)) == -1 for name in blobs(keys))
    with executor(url):
        assert results[0].get(LIMIT) == len(data)
    assert len(blobs(keys)) == 1
    results[1].revoke()
    with pytest.raises(nbqueue.TaskRevokedError):
        results[1].get(LIMIT)
    assert blobs(keys) == set()


def test_of_one_id_submitted_twice_one_payload_is_kept(app: App, url: str, keys: Keys) -> None:
    data = bytes(2 * PIECE)
    length = app.task(len, name="length")
    for _ in range(2):
        length.apply_async((data,), task_id="once", queue="default").wait_accepted(LIMIT)
    app.flush(LIMIT)
    _until(lambda: len(blobs(keys)) == 1)
    with executor(url):
        assert app.AsyncResult("once").get(LIMIT) == len(data)
    assert blobs(keys) == set()


def test_a_retry_may_have_other_arguments_as_large(app: App, url: str, keys: Keys) -> None:
    @app.task(bind=True, max_retries=3, default_retry_delay=0)
    def grow(self: Any, data: bytes) -> int:
        if len(data) < 3 * PIECE:
            raise self.retry(args=(data + bytes(PIECE),))
        return len(data)

    with executor(url):
        assert grow.delay(b"").get(LIMIT) == 3 * PIECE
    assert blobs(keys) == set()


def test_a_retry_with_the_same_arguments_reads_them_again(app: App, url: str, keys: Keys) -> None:
    @app.task(bind=True, max_retries=3, default_retry_delay=0)
    def again(self: Any, data: bytes) -> tuple[int, int]:
        if self.request.retries < 2:
            raise self.retry(exc=ValueError("again"))
        return len(data), self.request.retries

    with executor(url):
        assert again.delay(bytes(2 * PIECE)).get(LIMIT) == (2 * PIECE, 2)
    assert blobs(keys) == set()


def test_steps_take_large_values_and_have_large_arguments(app: App, url: str, keys: Keys) -> None:
    data = os.urandom(2 * PIECE)
    join = app.task(lambda *parts: b"".join(parts), name="join")
    size = app.task(len, name="size")
    with executor(url):
        result = (join.s(data) | join.s(data) | size.s())()
        assert result.get(LIMIT) == 4 * PIECE
        # they stay as long as others may ask for them
        assert len(blobs(keys)) == 2
        result.forget()
        _until(lambda: not blobs(keys))


def test_a_large_function_travels(app: App, url: str) -> None:
    table = os.urandom(40_000_000)
    look = app.task(lambda i: table[i], name="look")
    with executor(url):
        assert look.delay(39_999_999).get(LIMIT) == table[-1]


def test_what_is_pushed_has_a_limit(app: App, url: str) -> None:
    @app.task(bind=True)
    def report(self: Any) -> str:
        try:
            self.update_state(state="PROGRESS", meta=bytes(9_000_000))
        except nbqueue.SerializationError as error:
            return str(error)
        return "pushed"

    with executor(url):
        assert "8,388,608" in report.delay().get(LIMIT)


def test_the_limit_is_that_of_the_settings(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NBQUEUE_MAX_PAYLOAD_BYTES", "2000000")
    app = App(broker=url)
    with executor(url), pytest.raises(nbqueue.SerializationError, match="2,000,000"):
        app.task(lambda x: x, name="echo").delay(bytes(3_000_000))
    app.close()


def test_a_payload_that_was_altered_is_not_read(
    app: App, url: str, keys: Keys, caplog: pytest.LogCaptureFixture
) -> None:
    length = app.task(len, name="length")
    result = length.delay(os.urandom(3 * PIECE))
    result.wait_accepted(LIMIT)
    (blob,) = blobs(keys)
    piece = keys.redis.hget(keys(blob), "1")
    keys.redis.hset(keys(blob), "1", piece[:-1] + bytes([piece[-1] ^ 1]))
    with executor(url), pytest.raises(nbqueue.SerializationError, match="no longer has"):
        result.get(LIMIT)
    assert "refused, unread" in caplog.text


def test_a_full_redis_refuses_a_large_payload(tmp_path: Any) -> None:
    server = RedisServer(tmp_path / "redis", "maxmemory 8mb", "maxmemory-policy noeviction", aof=False)
    app = App(broker=server.url)
    result = app.task(len, name="length").delay(bytes(30 * PIECE))
    with pytest.raises(nbqueue.SubmissionRefused, match="no memory left"):
        result.get(LIMIT)
    app.client.close(drain=False)
    server.stop()


@pytest.mark.parametrize("how", ["hang up", "cut"])
def test_a_connection_that_breaks_under_a_large_payload(how: str, server: RedisServer) -> None:
    near, far = Proxy(server.port), Proxy(server.port)
    name = how.replace(" ", "")
    app = App(broker=f"redis://127.0.0.1:{near.port}/0?app=large{name}", connect_timeout=10.0)
    data = os.urandom(30 * PIECE)
    echo = app.task(lambda x: x, name="echo")
    with executor(f"redis://127.0.0.1:{far.port}/0?app=large{name}"):
        assert echo.delay(b"first").get(LIMIT) == b"first"

        def disturb() -> None:
            for proxy in (near, far):
                time.sleep(0.05)
                proxy.hang_up() if how == "hang up" else proxy.cut()
                time.sleep(0.5)
                proxy.mend()

        thread = threading.Thread(target=disturb)
        thread.start()
        assert echo.delay(data).get(LIMIT) == data
        thread.join()
    app.close()
    near.close()
    far.close()


def test_many_values_that_are_large_together_are_read(app: App, url: str) -> None:
    make = app.task(lambda x: bytes([x]) * 1_000_000, name="make")
    with executor(url):
        results = [make.delay(x) for x in range(60)]
        assert [result.get(LIMIT)[:1] for result in results] == [bytes([x]) for x in range(60)]
    other = Client(transport(url), app.conf)
    records = [other.record(result.id) for result in results]
    other.look_up_all(records)
    assert all(record.outcome is not None for record in records)
    other.close()


def _until(condition: Any) -> None:
    deadline = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
