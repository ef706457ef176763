"""Monitors as they are written for Celery: state from events, cameras."""

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from nbqueue import App
from nbqueue.events.snapshot import Polaroid
from nbqueue.events.state import State
from nbqueue.exceptions import ConnectionLostError
from nbqueue.testing import InProcessCluster

LIMIT = 20.0


@pytest.fixture
def app() -> Iterator[App]:
    with InProcessCluster() as cluster:
        app = App("monitored", broker=cluster.url)
        yield app
        app.close()


def event(type: str, at: float = 1.0, **fields: Any) -> dict[str, Any]:
    return {"type": type, "timestamp": at, **fields}


def test_celerys_example_announces_tasks_that_fail(app: App) -> None:
    said: list[str] = []

    @app.task
    def fails(x: int) -> None:
        raise KeyError(x)

    def my_monitor(app: Any) -> None:  # as it stands in Celery's docs
        state = app.events.State()

        def announce_failed_tasks(event: Any) -> None:
            state.event(event)
            task = state.tasks.get(event["uuid"])
            said.append(f"TASK FAILED: {task.name}[{task.uuid}] {task.info()}")

        with app.connection() as connection:
            recv = app.events.Receiver(
                connection, handlers={"task-failed": announce_failed_tasks, "*": state.event}
            )
            recv.capture(limit=None, timeout=None, wakeup=True)

    def watch() -> None:
        with contextlib.suppress(ConnectionLostError):  # the test ends before the monitor does
            my_monitor(app)

    monitor = threading.Thread(target=watch, daemon=True)
    monitor.start()
    deadline = time.monotonic() + LIMIT
    while not said:  # the monitor may begin to listen later than the first task fails
        result = fails.delay(7)
        result.get(LIMIT, propagate=False)
        assert time.monotonic() < deadline
    assert f"TASK FAILED: {fails.name}[" in said[0]
    assert "'exception': \"KeyError('7')\"" in said[0]


def test_a_task_is_what_its_events_have_said() -> None:
    state = State()
    state.event(event("task-sent", 1.0, uuid="a", name="t.f", queue="default"))
    state.event(event("task-received", 2.0, uuid="a", name="t.f", hostname="w", retries=1))
    state.event(event("task-succeeded", 4.0, uuid="a", name="t.f", hostname="w", runtime=0.5))
    state.event(event("task-started", 3.0, uuid="a", name="t.f", hostname="w"))  # late
    task = state.tasks["a"]
    assert (task.state, task.ready, task.name, task.worker) == ("SUCCESS", True, "t.f", state.workers["w"])
    assert (task.sent, task.received, task.started, task.succeeded, task.failed) == (1.0, 2.0, 3.0, 4.0, None)
    assert task.info() == {"retries": 1, "runtime": 0.5}
    assert task.as_dict()["queue"] == "default"
    assert (state.event_count, state.task_count) == (4, 1)
    with pytest.raises(AttributeError, match="Task has no 'colour'"):
        _ = task.colour


def test_a_worker_is_alive_until_it_says_goodbye_or_nothing() -> None:
    state, now = State(), time.time()
    state.event(event("worker-online", now, hostname="w", freq=2.0, pid=7))
    state.event(event("worker-heartbeat", now - 60.0, hostname="old", freq=2.0))
    assert [worker.hostname for worker in state.alive_workers()] == ["w"]
    assert repr(state.workers["old"]) == "<Worker: old (OFFLINE)>"
    state.event(event("worker-offline", now, hostname="w"))
    assert list(state.alive_workers()) == []


def test_tasks_are_looked_at_by_time_name_and_worker() -> None:
    state = State()
    for number, name in enumerate(["t.a", "t.b", "t.a"]):
        state.event(event("task-started", float(number), uuid=str(number), name=name, hostname=f"w{number}"))
    assert [id for id, _ in state.tasks_by_time()] == ["2", "1", "0"]
    assert [id for id, _ in state.tasks_by_timestamp(limit=1, reverse=False)] == ["0"]
    assert [id for id, _ in state.tasks_by_type("t.a")] == ["2", "0"]
    assert [id for id, _ in state.tasks_by_worker("w1")] == ["1"]
    assert [id for id, _ in state.itertasks(2)] == ["0", "1"]
    assert state.task_types() == ["t.a", "t.b"]


def test_only_so_many_are_remembered() -> None:
    state = State(max_tasks_in_memory=2, max_workers_in_memory=1)
    for number in range(3):
        state.event(event("task-sent", uuid=str(number), hostname=f"w{number}"))
    assert (list(state.tasks), list(state.workers), state.task_count) == (["1", "2"], ["w2"], 3)


def test_tasks_that_have_ended_can_be_dropped() -> None:
    heard: list[Any] = []
    state = State(callback=lambda state, event: heard.append(event["type"]))
    state.event(event("task-succeeded", uuid="a"))
    state.event(event("task-started", uuid="b"))
    state.clear_tasks()
    assert list(state.tasks) == ["b"]
    state.clear(ready=False)
    assert (list(state.tasks), state.event_count) == ([], 0)
    assert heard == ["task-succeeded", "task-started"]


def test_a_camera_takes_pictures_and_a_last_one_at_the_end() -> None:
    pictures: list[int] = []

    class Camera(Polaroid):
        clear_after = True

        def on_shutter(self, state: State) -> None:
            pictures.append(state.event_count)

    state = State()
    state.event(event("task-sent", uuid="a"))
    with Camera(state, freq=0.01):
        deadline = time.monotonic() + LIMIT
        while not pictures:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        state.event(event("task-sent", uuid="b"))
    assert pictures[0] == 1
    assert sum(pictures) == 2
