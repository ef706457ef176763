"""Periodic tasks as an application says them, through a broker in this process."""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from nbqueue import App
from nbqueue.client.periodic import PeriodicTask, own_zone
from nbqueue.exceptions import ConfigurationError, NBQueueError
from nbqueue.schedules import crontab, schedule
from nbqueue.testing import InProcessCluster

LIMIT = 20.0


@pytest.fixture
def app() -> Iterator[App]:
    with InProcessCluster() as cluster:
        app = App("tasks", broker=cluster.url)
        yield app
        app.close()


@pytest.fixture
def add(app: App) -> Any:
    @app.task
    def add(x: int, y: int) -> int:
        return x + y

    return add


def until(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + LIMIT
    while not (found := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)
    return found


def entry(app: App, name: str) -> PeriodicTask:
    (found,) = [task for task in app.periodic_tasks() if task.name == name]
    return found


def notebook(app: App, source: str, **names: Any) -> dict[str, Any]:
    """Run a cell."""
    namespace = {"__name__": "__main__", "app": app, "crontab": crontab, **names}
    exec(source, namespace)
    return namespace


# ── from what is said to what fires ──────────────────────────────────────────────────────────────


def test_celerys_example_of_a_schedule_fires(app: App, add: Any) -> None:
    app.conf.beat_schedule = {
        "add-every-30-seconds": {"task": add.name, "schedule": 0.05, "args": (16, 16)},
    }
    (shown,) = app.beat()
    assert (shown.name, shown.app, shown.task) == ("add-every-30-seconds", "tasks", add.name)
    assert (shown.schedule, shown.missed, shown.last) == ("every 0.05 seconds", "once", None)
    last = until(lambda: entry(app, "add-every-30-seconds").last)
    assert last.get(LIMIT) == 32
    assert last.id.startswith("tasks/add-every-30-seconds:20")


def test_celerys_example_of_a_handler_fires(app: App) -> None:
    @app.on_after_configure.connect
    def setup_periodic_tasks(sender: App, **kwargs: Any) -> None:
        sender.add_periodic_task(0.05, test, ("hello",), name="add every 10")
        sender.add_periodic_task(30.0, test, ("world",), expires=10)
        sender.add_periodic_task(crontab(hour=7, minute=30, day_of_week=1), test, ("Happy Mondays!",))

    @app.task
    def test(arg: str) -> str:
        return arg

    names = {task.name: task.schedule for task in app.beat()}
    assert names == {
        "add every 10": "every 0.05 seconds",
        f"{test.name}('world')": "every 30 seconds",
        f"{test.name}('Happy Mondays!')": "30 7 * * 1",
    }
    assert until(lambda: entry(app, "add every 10").last).get(LIMIT) == "hello"


def test_handlers_are_called_once_and_what_they_raise_is_raised(app: App, add: Any) -> None:
    calls: list[str] = []

    @app.on_after_configure.connect
    def configure(sender: App, **kwargs: Any) -> None:
        calls.append("configured")
        if len(calls) == 1:
            raise KeyError("not yet")

    @app.on_after_finalize.connect
    def finalize(sender: App, **kwargs: Any) -> None:
        calls.append("finalized")

    with pytest.raises(KeyError, match="not yet"):
        app.beat()
    app.beat()
    app.beat()
    assert calls == ["configured", "configured", "finalized"]


def test_in_a_notebook_it_fires_at_once_and_by_value(app: App) -> None:
    source = """
K = 5
@app.task
def times(x):
    return K * x
key = app.add_periodic_task(0.05, times, (2,))
K = 7
"""
    cell = notebook(app, source)
    assert cell["key"] == "tasks.times(2)"
    assert until(lambda: entry(app, "tasks.times(2)").last).get(LIMIT) == 10  # as it was at that time


def test_in_a_module_nothing_happens_until_a_worker_or_beat_says_it(app: App, add: Any) -> None:
    app.add_periodic_task(0.05, add, (1, 2))
    assert app._router._route is None  # nobody was connected to
    assert app.periodic_tasks() == []
    assert [task.name for task in app.beat()] == [f"{add.name}(1, 2)"]


def test_who_adds_another_in_a_notebook_leaves_the_others_alone(app: App, add: Any) -> None:
    notebook(app, "app.add_periodic_task(60, add, (1, 1), name='a')", add=add)
    other = App("tasks", broker=app.conf.broker)  # the kernel was restarted
    notebook(other, "app.add_periodic_task(60, add, (1, 1), name='b')", add=add)
    assert [task.name for task in other.periodic_tasks()] == ["a", "b"]
    assert [task.name for task in other.beat()] == ["b"]  # and this is all there is
    other.remove_periodic_task("b")
    assert other.periodic_tasks() == []
    assert other.beat() == []


def test_entries_that_are_gone_from_the_schedule_go(app: App, add: Any) -> None:
    app.conf.beat_schedule = {n: {"task": add.name, "schedule": 60, "args": (1, 1)} for n in ("a", "b")}
    before = app.beat()
    app.conf.beat_schedule = {"b": {"task": add.name, "schedule": 60, "args": (1, 1)}}
    after = app.beat()
    assert [task.name for task in before] == ["a", "b"]
    assert after == before[1:]  # and its times are what they were


def test_removing_what_is_not_there_names_what_is(app: App, add: Any) -> None:
    notebook(app, "app.add_periodic_task(60, add, (1, 1), name='nightly')", add=add)
    with pytest.raises(KeyError, match="did you mean 'nightly'"):
        app.remove_periodic_task("nightli")


def test_several_applications_do_not_see_one_another(app: App, add: Any) -> None:
    other = App("others", broker=app.conf.broker)
    app.conf.beat_schedule = other.conf.beat_schedule = {
        "same": {"task": "tasks.anything", "schedule": crontab(0, 0)}
    }
    app.beat()
    other.beat()
    assert [task.app for task in app.periodic_tasks(everywhere=True)] == ["others", "tasks"]
    other.remove_periodic_task("same")
    assert [task.app for task in app.periodic_tasks(everywhere=True)] == ["tasks"]


def test_options_of_the_calls_and_of_the_entry(app: App, add: Any) -> None:
    app.conf.beat_missed = "skip"
    app.conf.beat_schedule = {
        "a": {
            "task": add.name,
            "schedule": timedelta(minutes=1),
            "kwargs": {"x": 1, "y": 1},
            "options": {"queue": "night", "expires": timedelta(seconds=5), "priority": 3},
        },
        "b": {"task": add.name, "schedule": 60, "args": [1, 1], "missed": "all", "skip_if_running": True},
    }
    a, b = app.beat()
    assert (a.queue, a.missed, a.skip_if_running) == ("night", "skip", False)
    assert (b.queue, b.missed, b.skip_if_running) == ("default", "all", True)
    task, _ = add.draft((), {"x": 1, "y": 1}, {"expires": 5.0, "priority": 3}, acks_late=False)
    assert (task.expires, task.priority, task.acks_late) == (5.0, 3, False)


def test_calendars_are_of_the_applications_time_zone(app: App, add: Any) -> None:
    app.conf.beat_schedule = {"daily": {"task": "x", "schedule": crontab(minute=0, hour=3)}}
    app.conf.timezone = "Asia/Tokyo"
    (daily,) = app.beat()
    assert daily.next_run_at is not None
    assert (daily.next_run_at.hour, daily.next_run_at.utcoffset()) == (3, timedelta(hours=9))
    assert daily.next_run_at > datetime.now(UTC)


def test_this_machines_zone_has_a_name_or_an_offset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    assert own_zone() == "Europe/Berlin"
    monkeypatch.setenv("TZ", "XYZ-5:30")
    time.tzset()
    assert own_zone() == "UTC+05:30"
    monkeypatch.undo()
    time.tzset()


class Signature(dict[str, Any]):
    """As ``add.s(2)`` makes them: a dict that knows its task."""

    def __init__(self, task: Any, *args: Any, **options: Any) -> None:
        super().__init__(task=task.name, args=args, kwargs={}, options=options, subtask_type=None)
        self._type = task


def test_a_signature_says_what_is_called_and_how(app: App, add: Any) -> None:
    assert app.add_periodic_task(60, Signature(add, 1, 2, queue="night")) == f"{add.name}(1, 2)"
    json = {"task": "other.add", "args": [2], "kwargs": {"y": 3}, "options": {"priority": 3}}
    assert app.add_periodic_task(60, json, (1,), queue="day") == "other.add(1, 2, y=3)"
    assert {task.name: (task.task, task.queue) for task in app.beat()} == {
        f"{add.name}(1, 2)": (add.name, "night"),
        "other.add(1, 2, y=3)": ("other.add", "day"),
    }


def test_a_workflow_is_not_one_task(app: App) -> None:
    with pytest.raises(ConfigurationError, match="let it send the workflow"):
        app.add_periodic_task(60, {"task": "celery.group", "subtask_type": "group", "kwargs": {}})


# ── what cannot be ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ({"schedule": 1}, "says no 'task'"),
        ({"task": "x"}, "says no 'schedule'"),
        ({"task": "x", "schedule": 1, "arg": ()}, "no field 'arg'; did you mean 'args'"),
        ({"task": "x", "schedule": "daily"}, "a number of seconds, a timedelta, or crontab"),
        ({"task": "x", "schedule": 0}, "more than 0 seconds"),
        ({"task": "x", "schedule": 1, "args": "hello"}, r"args=\('hello',\)"),
        ({"task": "x", "schedule": 1, "args": 16}, r"args=\(16,\)"),
        ({"task": "x", "schedule": 1, "kwargs": [1]}, "kwargs is a dict"),
        ({"task": "x", "schedule": 1, "missed": "never"}, "missed is once, skip, all"),
        ({"task": "x", "schedule": 1, "options": {"eta": datetime.now(UTC)}}, "countdown="),
        ({"task": "x", "schedule": 1, "options": {"task_id": "1"}}, "an id of its own"),
        ({"task": "x", "schedule": 1, "options": {"link": "y"}}, "let it send the others"),
        ({"task": "x", "schedule": 1, "options": {"expires": datetime.now(UTC)}}, "in seconds"),
        ({"task": "x", "schedule": 1, "options": {"queues": "a"}}, "did you mean queue"),
        ("tasks.add", "is a dict"),
    ],
)
def test_an_entry_that_cannot_be_is_named(app: App, said: Any, text: str) -> None:
    app.conf.beat_schedule = {"nightly": said}
    with pytest.raises((ConfigurationError, TypeError), match=text) as raised:
        app.beat()
    assert "'nightly'" in str(raised.value)
    assert app.periodic_tasks() == []


def test_a_call_that_cannot_be_is_refused_as_if_it_were_sent(app: App, add: Any) -> None:
    app.add_periodic_task(60, add, (1,))
    with pytest.raises(TypeError, match="missing"):
        app.beat()


def test_what_the_broker_refuses_is_raised(app: App) -> None:
    app.conf.beat_schedule = {"": {"task": "x", "schedule": 60}}
    with pytest.raises(NBQueueError, match="it has no name"):
        app.beat()


def test_a_schedule_of_ones_own_is_refused_with_advice(app: App, add: Any) -> None:
    class Sometimes(schedule):
        def is_due(self, last_run_at: datetime) -> Any:
            return True, 5

    with pytest.raises(ConfigurationError, match="Sometimes is a schedule of your own"):
        app.add_periodic_task(Sometimes(5), add, (1, 1))


@pytest.mark.parametrize("sig", [None, 5, {"no": "task"}, len])
def test_what_is_no_task_is_no_periodic_task(app: App, sig: Any) -> None:
    with pytest.raises(TypeError, match="a task, a signature or a task's name"):
        app.add_periodic_task(60, sig)
