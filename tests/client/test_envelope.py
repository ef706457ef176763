"""What a call is sent as; most of it is filled in once a task."""

import datetime
from collections.abc import Iterator
from datetime import UTC
from types import SimpleNamespace
from typing import Any

import pytest

from nbqueue import messages as m
from nbqueue.client import options
from nbqueue.client.app import App
from nbqueue.client.task import Task


@pytest.fixture
def app() -> Iterator[App]:
    app = App("tasks", broker="memory://test_envelope")
    yield app
    app.close()


def sent(task: Task, *args: Any, origin: str = "gen1@here", **said: Any) -> m.Task:
    """What a call with these options is sent as."""
    plan = task._planned()
    client: Any = SimpleNamespace(max_payload_bytes=0, origin=origin)
    call = plan.options_of(task.name, args, {}, task._given(said))
    return task._envelopes.envelope(client, call, args, {}).task


def test_calls_differ_in_their_ids_and_arguments(app: App) -> None:
    task = app.task(abs)
    first, second = sent(task, -1), sent(task, -2)
    assert first.id != second.id
    assert first.payload != second.payload


def test_options_of_one_call_are_not_those_of_the_next(app: App) -> None:
    task = app.task(abs)
    sent(task, -1)
    urgent = sent(task, -1, priority=9, queue="gpu", countdown=5, tags="gpu", headers={"a": 1}, expires=60)
    assert (urgent.priority, urgent.queue, urgent.countdown, urgent.expires) == (9, "gpu", 5.0, 60.0)
    plain = sent(task, -1)
    assert (plain.priority, plain.queue, plain.countdown, plain.expires) == (0, "default", 0.0, None)
    assert plain.demand is None
    assert plain.headers is None


def test_options_that_change_count_from_the_next_call_on(app: App) -> None:
    task = app.task(abs)
    assert sent(task).queue == "default"
    task.queue = "gpu"
    assert sent(task).queue == "gpu"
    app.conf.task_default_priority = 4
    assert sent(task).priority == 4


def test_a_function_that_changes_is_sent_anew(app: App) -> None:
    space: dict[str, Any] = {"__name__": "__main__"}
    exec("def helper(): return 1\ndef f(): return helper()", space)
    task = app.task(space["f"], name="f")
    first = sent(task)
    assert sent(task).definition == first.definition
    exec("def helper(): return 2", space)
    assert sent(task).definition != first.definition


def test_each_client_says_who_it_is(app: App) -> None:
    task = app.task(abs)
    assert sent(task, origin="gen1@here").origin == "gen1@here"
    assert sent(task, origin="gen2@there").origin == "gen2@there"


def test_until_a_fixed_time_there_is_less_and_less_left(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_000_000.0
    monkeypatch.setattr(options.time, "time", lambda: now)
    task = app.task(abs, expires=datetime.datetime.fromtimestamp(now + 60, UTC))
    assert sent(task).expires == 60.0
    now += 20
    assert sent(task).expires == 40.0
