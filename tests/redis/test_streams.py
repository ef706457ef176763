"""Items of generators over Redis: in order, each once, as fast as who reads, whoever is lost meanwhile."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import nbqueue
from nbqueue import App
from tests.redis.conftest import Keys
from tests.redis.proxy import Proxy
from tests.redis.server import RedisServer
from tests.redis.threads import executor
from tests.redis.worker import Worker

LIMIT = 20.0


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NBQUEUE_WORKER_LEASE", "1")
    monkeypatch.setenv("NBQUEUE_WORKER_HEARTBEAT", "0.1")


@pytest.fixture
def app(url: str) -> Iterator[App]:
    """Made after the settings."""
    application = App(broker=url)
    yield application
    application.close()


class Counter:
    """A generator task that says how far it is, in a file."""

    def __init__(self, app: App, folder: Path, **options: Any) -> None:
        self._file = folder / "yielded"
        path = str(self._file)

        def count(n: int, pause: float = 0.0) -> Any:
            for i in range(n):
                with open(path, "w") as out:
                    out.write(str(i + 1))
                yield i
                time.sleep(pause)

        self.task = app.task(count, name="count", **options)

    @property
    def yielded(self) -> int:
        return int((self._file.read_text() if self._file.exists() else "") or 0)


@pytest.fixture
def count(app: App, tmp_path: Path) -> Counter:
    return Counter(app, tmp_path)


def test_many_items_come_once_and_in_order(count: Counter, url: str) -> None:
    with executor(url):
        result = count.task.delay(1000, pause=0.0005)
        assert list(result.stream(timeout=LIMIT)) == list(range(1000))
        assert result.get(LIMIT) == list(range(1000))


def test_a_task_waits_for_a_slow_reader_and_can_be_cancelled_then(count: Counter, url: str) -> None:
    with executor(url):
        result = count.task.delay(1000, pause=0.002)
        stream = result.stream(window=5, timeout=LIMIT)
        assert next(stream) == 0
        reached = count.yielded  # it may have run ahead before it heard of its reader
        time.sleep(1.5)  # longer than a lease: the wish is renewed
        assert count.yielded <= max(reached, 1 + 5) + 1 < 500
        result.cancel()
        with pytest.raises(nbqueue.TaskRevokedError):
            list(stream)


def test_a_task_goes_on_when_its_reader_stops_reading(count: Counter, url: str, keys: Keys) -> None:
    with executor(url):
        result = count.task.delay(300, pause=0.001)
        stream = result.stream(window=5, timeout=LIMIT)
        assert [next(stream) for _ in range(3)] == [0, 1, 2]
        stream.close()
        assert result.get(LIMIT) == list(range(300))
        assert not [name for name in keys.all() if name.startswith("wishes")]


def test_a_task_goes_on_when_the_client_that_reads_is_gone(count: Counter, url: str, keys: Keys) -> None:
    other = App(broker=url)
    with executor(url):
        result = count.task.delay(50, pause=0.01)
        far = other.AsyncResult(result.id).stream(window=2, timeout=LIMIT)
        assert next(far) == 0
        other.client._session.streams.clear()  # as if it were: no wish is renewed any more
        assert result.get(LIMIT) == list(range(50))
        deadline = time.monotonic() + LIMIT
        while [name for name in keys.all() if name.startswith("wishes")]:
            assert time.monotonic() < deadline, keys.all()
            time.sleep(0.05)
    other.close()


def test_the_slowest_of_two_readers_sets_the_pace_and_each_gets_all(count: Counter, url: str) -> None:
    other = App(broker=url)
    with executor(url):
        result = count.task.delay(200, pause=0.001)
        quick, slow = (
            result.stream(timeout=LIMIT),
            other.AsyncResult(result.id).stream(window=5, timeout=LIMIT),
        )
        assert next(slow) == 0
        got: list[int] = []
        reader = threading.Thread(target=lambda: got.extend(quick))
        reader.start()
        time.sleep(0.3)
        assert not result.ready()
        assert list(slow) == list(range(1, 200))
        reader.join(LIMIT)
        assert got == list(range(200))
    other.close()


def test_a_run_that_is_repeated_goes_on_where_the_reader_is(app: App, url: str) -> None:
    @app.task(bind=True, autoretry_for=(OSError,), default_retry_delay=0, max_retries=3)
    def flaky(self: Any) -> Any:
        for i in range(20):
            if i == 10 and self.request.retries < 2:
                raise OSError("again")
            yield i

    with executor(url):
        assert list(flaky.delay().stream(timeout=LIMIT)) == list(range(20))


def test_without_a_result_the_items_that_were_begun_with_are_all_read(app: App, url: str) -> None:
    @app.task(ignore_result=True)
    def late(n: int) -> Any:
        time.sleep(0.5)
        yield from range(n)

    result = late.delay(300)
    stream = result.stream(window=20, timeout=LIMIT)
    stream._begin()
    result.wait_accepted(LIMIT)
    with executor(url):
        assert list(stream) == list(range(300))
        assert result.get(LIMIT) is None


def test_large_items_come_through(app: App, url: str) -> None:
    @app.task
    def large(n: int) -> Any:
        for i in range(n):
            yield bytes([i]) * 3_000_000

    with executor(url):
        got = [(item[0], len(item)) for item in large.delay(6).stream(window=4, timeout=LIMIT)]
    assert got == [(i, 3_000_000) for i in range(6)]


def test_lost_connections_lose_and_repeat_nothing(server: RedisServer, url: str, tmp_path: Path) -> None:
    near, far = Proxy(server.port), Proxy(server.port)
    through = url.replace(f":{server.port}/", ":{}/")
    app = App(broker=through.format(near.port))
    counter = Counter(app, tmp_path)
    with executor(through.format(far.port)):
        got = []
        for item in counter.task.delay(400, pause=0.002).stream(window=10, timeout=LIMIT):
            got.append(item)
            if item % 100 == 50:
                (near if item % 200 == 50 else far).hang_up()
        assert got == list(range(400))
    app.close()
    near.close()
    far.close()


@pytest.fixture
def worker(url: str) -> Iterator[Callable[..., Worker]]:
    made: list[Worker] = []
    yield lambda *options: made.append(Worker(url, *options)) or made[-1]
    for each in made:
        each.stop()


def test_a_killed_executor_loses_and_repeats_nothing(count: Counter, worker: Callable[..., Worker]) -> None:
    site = worker("-c", "1")
    got = []
    for item in count.task.delay(60, pause=0.01).stream(window=10, timeout=LIMIT):
        got.append(item)
        if item == 20:
            os.kill(site.executors()[0], signal.SIGKILL)
    assert got == list(range(60))
