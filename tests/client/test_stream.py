"""Items of generator tasks, read as they are yielded."""

import asyncio
import gc
import sys
import threading
import time
import types
from collections.abc import Iterator

import pytest

import nbqueue
from nbqueue.core.broker import BrokerSettings
from nbqueue.exceptions import ConfigurationError
from nbqueue.testing import InProcessCluster
from nbqueue.transports import memory

LIMIT = 20.0


@pytest.fixture
def cluster() -> Iterator[InProcessCluster]:
    settings = BrokerSettings(worker_heartbeat=0.1, worker_lease=1.0)
    with InProcessCluster(settings=settings) as cluster:
        yield cluster


@pytest.fixture
def app(cluster: InProcessCluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[nbqueue.App]:
    place = types.ModuleType("stream_tests_meet")
    place.yielded, place.go = 0, threading.Event()
    monkeypatch.setitem(sys.modules, "stream_tests_meet", place)
    app = nbqueue.App("tasks", broker=cluster.url)
    app.meet = place
    yield app
    place.go.set()
    app.close()


@pytest.fixture
def count(app):
    """A generator that says how far it is."""

    @app.task
    def count(n, pause=0.0):
        import time

        import stream_tests_meet as meet

        for i in range(n):
            meet.yielded = i + 1
            yield i
            time.sleep(pause)

    return count


@pytest.fixture
def held(app):
    """Yields one item, and the second when it may."""

    @app.task
    def held():
        import stream_tests_meet as meet

        yield "first"
        meet.go.wait(20)
        yield "second"

    return held


def test_items_come_as_they_are_yielded_and_the_list_of_them_is_the_result(app, held):
    result = held.delay()
    stream = result.stream(timeout=LIMIT)
    assert next(stream) == "first"
    assert not result.ready()
    app.meet.go.set()
    assert list(stream) == ["second"]
    assert result.get(LIMIT) == ["first", "second"]


def test_many_items_come_once_and_in_order(count):
    result = count.delay(2000)
    assert list(result.stream(timeout=LIMIT)) == list(range(2000))


def test_a_task_that_nobody_reads_never_waits(count):
    assert count.delay(500).get(LIMIT) == list(range(500))


def test_a_task_waits_for_a_slow_reader_and_can_be_cancelled_then(app, count):
    result = count.delay(1000, pause=0.001)
    stream = result.stream(window=5, timeout=LIMIT)
    assert next(stream) == 0
    reached = app.meet.yielded  # it may have run ahead before it heard of its reader
    time.sleep(0.3)  # a heartbeat or two, which renew the wish
    assert app.meet.yielded <= max(reached, 1 + 5) + 1 < 500
    result.cancel()
    with pytest.raises(nbqueue.TaskRevokedError):
        list(stream)


def test_a_task_goes_on_when_its_reader_stops_reading(app, count):
    result = count.delay(300, pause=0.001)
    for item in result.stream(window=5, timeout=LIMIT):
        if item == 3:
            break
    gc.collect()
    assert result.get(LIMIT) == list(range(300))


def test_a_task_goes_on_when_the_client_that_reads_is_gone(app, count, cluster):
    other = nbqueue.App("tasks", broker=cluster.url)
    result = count.delay(50, pause=0.001)
    far = other.AsyncResult(result.id).stream(window=2, timeout=LIMIT)
    assert next(far) == 0
    other.client._session.streams.clear()  # as if it were: no wish is renewed any more
    assert result.get(LIMIT) == list(range(50))


def test_who_comes_late_gets_all_from_the_beginning(app, held):
    result = held.delay()
    first = result.stream(timeout=LIMIT)
    assert next(first) == "first"
    second = result.stream(timeout=LIMIT)
    assert next(second) == "first"
    app.meet.go.set()
    assert list(second) == ["second"]
    assert list(first) == ["second"]
    assert list(result.stream()) == ["first", "second"]


def test_a_failure_comes_after_the_items_before_it(app):
    @app.task
    def fail():
        yield 1
        yield 2
        raise ValueError("no more")

    stream = fail.delay().stream(timeout=LIMIT)
    got = []

    def read():
        for item in stream:
            got.append(item)  # noqa: PERF402 - what came before the exception counts

    with pytest.raises(ValueError, match="no more"):
        read()
    assert got in ([], [1, 2])  # it may have failed before anybody read


def test_an_async_generator_streams_too_and_is_read_by_async_for(app):
    @app.task
    async def count(n):
        import asyncio

        for i in range(n):
            await asyncio.sleep(0)
            yield i

    async def read():
        return [item async for item in count.delay(200).stream(timeout=LIMIT)]

    assert asyncio.run(read()) == list(range(200))


def test_without_a_result_the_items_that_were_begun_with_are_all_read(app, count):
    @app.task(ignore_result=True)
    def count(n):
        import stream_tests_meet as meet

        meet.go.wait(20)
        yield from range(n)

    result = count.delay(300)
    stream = result.stream(window=20, timeout=LIMIT)
    stream._begin()
    threading.Timer(0.1, app.meet.go.set).start()
    assert list(stream) == list(range(300))
    assert result.get(LIMIT) is None


def test_lost_connections_lose_and_repeat_nothing(app, count, cluster):
    result = count.delay(400, pause=0.002)
    stream = result.stream(window=10, timeout=LIMIT)
    got = []
    for item in stream:
        got.append(item)
        if item % 100 == 50:
            broker = memory.broker(cluster.url)
            for link in list(broker._links.values()):
                broker.disconnect(link)
    assert got == list(range(400))


def test_a_run_that_is_repeated_goes_on_where_the_reader_is(app):
    @app.task(bind=True, autoretry_for=(OSError,), default_retry_delay=0, max_retries=3)
    def flaky(self):
        for i in range(20):
            if i == 10 and self.request.retries < 2:
                raise OSError("again")
            yield i

    assert list(flaky.delay().stream(timeout=LIMIT)) == list(range(20))


def test_a_task_that_is_no_generator_says_so(app):
    @app.task
    def plain():
        return 5

    with pytest.raises(TypeError, match="is no generator"):
        list(plain.delay().stream(timeout=LIMIT))


def test_an_item_that_does_not_come_in_time_is_a_timeout_and_the_reading_goes_on(app, held):
    stream = held.delay().stream(timeout=0.3)
    assert next(stream) == "first"
    with pytest.raises(nbqueue.TimeoutError, match="yielded nothing"):
        next(stream)
    app.meet.go.set()
    assert list(stream) == ["second"]


def test_at_least_one_item_has_to_be_on_the_way(held):
    with pytest.raises(ConfigurationError, match="at least one"):
        held.delay().stream(window=0)
