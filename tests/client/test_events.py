"""``app.events``: a stream of what happens."""

import gc
import time
from collections.abc import Iterator
from typing import Any

import pytest

from nbqueue import App
from nbqueue.client import events
from nbqueue.exceptions import TimeoutError
from nbqueue.testing import InProcessCluster
from nbqueue.transports import memory

LIMIT = 20.0


@pytest.fixture
def cluster() -> Iterator[InProcessCluster]:
    with InProcessCluster() as cluster:
        yield cluster


@pytest.fixture
def app(cluster: InProcessCluster) -> Iterator[App]:
    app = App("tests", broker=cluster.url)
    yield app
    app.close()


def is_heard(app: App, cluster: InProcessCluster, expected: bool = True) -> None:
    """Wait until the broker knows whether somebody listens."""
    feed = memory.broker(cluster.url).core.feed
    deadline = time.monotonic() + LIMIT
    while feed.on != expected:
        assert time.monotonic() < deadline
        app.client.ask("status")


def test_events_come_as_they_happen_until_there_are_none(app: App, cluster: InProcessCluster) -> None:
    @app.task
    def f() -> None: ...

    stream = app.events(["task-sent", "task-succeeded"], timeout=1.0)
    is_heard(app, cluster)
    result = f.delay()
    assert [(e["type"], e["uuid"]) for e in stream] == [
        ("task-sent", result.id), ("task-succeeded", result.id),
    ]  # fmt: skip
    is_heard(app, cluster, False)


def test_a_forgotten_stream_costs_nothing_more(app: App, cluster: InProcessCluster) -> None:
    @app.task
    def f() -> None: ...

    stream = app.events()
    is_heard(app, cluster)
    f.delay().get(LIMIT)
    assert next(stream)
    del stream
    gc.collect()
    f.delay().get(LIMIT)
    is_heard(app, cluster, False)


def test_receivers_are_called_by_type(app: App, cluster: InProcessCluster) -> None:
    @app.task
    def f() -> None:
        raise ValueError("no")

    told: list[Any] = []
    receiver = app.events.Receiver(handlers={"task-failed": told.append, "*": lambda event: f.delay()})
    with pytest.raises(TimeoutError):
        app.events.Receiver(handlers={"task-failed": told.append}).capture(timeout=0.05)
    f.delay()
    receiver.capture(limit=4, timeout=LIMIT)
    assert all(event["type"] == "task-failed" for event in told)


def test_what_is_not_read_in_time_is_counted(
    app: App, cluster: InProcessCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "KEPT", 2)
    with app.events("x") as stream:  # and no heartbeats
        stream.put([{"type": "x", "n": n} for n in range(5)], 4)
        lost = next(stream)
        assert (lost["type"], lost["count"]) == ("events-lost", 7)
        assert [next(stream)["n"] for _ in range(2)] == [3, 4]
        assert stream.take(0.01) is None


def test_it_goes_on_over_another_connection(app: App, cluster: InProcessCluster) -> None:
    @app.task
    def f() -> None: ...

    broker = memory.broker(cluster.url)
    with app.events("task-sent") as stream:
        is_heard(app, cluster)
        broker.disconnect(app.client._link)
        deadline = time.monotonic() + LIMIT
        event = None
        while event is None:
            assert time.monotonic() < deadline
            f.delay().get(LIMIT)
            event = stream.take(0.2)
        assert event["type"] == "task-sent"
