"""``app.control``, before a broker and workers in this process."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from nbqueue import App
from nbqueue.client.replies import Replies
from nbqueue.exceptions import ConfigurationError, NBQueueError, TaskRevokedError
from nbqueue.testing import InProcessCluster

LIMIT = 20.0


@pytest.fixture
def app() -> Iterator[App]:
    with InProcessCluster(2, resources={"gpu": 1.0}, tags=("fast",)) as cluster:
        app = App("tests", broker=cluster.url)
        yield app
        app.close()


def test_what_runs_is_shown_with_its_arguments(app: App) -> None:
    @app.task
    def wait(x: int, *, y: str) -> None:
        time.sleep(LIMIT)

    result = wait.delay(1, y="two")
    deadline = time.monotonic() + LIMIT
    while not (replies := app.control.inspect().active())["in-process"]:
        assert time.monotonic() < deadline
    (task,) = replies["in-process"]
    assert (task["id"], task["args"], task["kwargs"]) == (result.id, [1], {"y": "two"})
    assert abs(task["time_start"] - time.time()) < LIMIT
    assert task["delivery_info"]["routing_key"] == "default"
    assert app.control.inspect().query_task(result.id)["in-process"][result.id][0] == "active"
    app.control.terminate(result.id)


def test_nobody_is_none_and_one_node_is_its_reply(app: App) -> None:
    assert app.control.inspect(["nobody"]).ping() is None
    assert app.control.inspect("in-process").ping() == {"ok": "pong"}
    assert app.control.ping() == [{"in-process": {"ok": "pong"}}]


def test_callbacks_are_told_each_reply(app: App) -> None:
    told: list[Any] = []
    app.control.inspect(callback=told.append).active_queues()
    app.control.broadcast("ping", callback=told.append)
    assert told == [
        {"in-process": [{"name": "default", "routing_key": "default"}]},
        {"in-process": {"ok": "pong"}},
    ]


def test_what_a_worker_cannot_do_is_an_error_reply(app: App) -> None:
    (reply,) = app.control.pool_grow(2, reply=True)
    assert "cannot pool_grow" in reply["in-process"]["error"]


def test_commands_return_at_once_unless_a_reply_is_wanted(app: App) -> None:
    assert app.control.rate_limit("tests.f", "10/m") is None
    (reply,) = app.control.rate_limit("tests.f", 0, reply=True)
    assert reply == {"in-process": {"ok": "rate limit disabled successfully"}}
    (reply,) = app.control.rate_limit("tests.f", "default", reply=True)
    assert reply == {"in-process": {"ok": "rate limit is again what the tasks say"}}
    (reply,) = app.control.time_limit("tests.f", hard=5, reply=True)
    assert reply == {"in-process": {"ok": "time limits set successfully"}}


def test_a_rate_or_signal_that_is_none_is_refused_here(app: App) -> None:
    with pytest.raises(ConfigurationError, match="rate_limit"):
        app.control.rate_limit("f", "often")
    with pytest.raises(ConfigurationError, match="signal"):
        app.control.revoke("id", terminate=True, signal="SIGWINCH")
    with pytest.raises(NBQueueError, match="no command is called 'dance'"):
        app.control.broadcast("dance", reply=True)


def test_tasks_are_revoked_and_purged(app: App) -> None:
    @app.task(queue="nobody's")
    def f() -> None: ...

    first, *others = [f.delay() for _ in range(4)]
    app.flush()
    (reply,) = app.control.revoke(first.id, reply=True)
    assert reply == {"in-process": {"ok": f"tasks {first.id} flagged as revoked"}}
    assert app.control.purge("other") == 0
    assert app.control.purge() == 3
    with pytest.raises(TaskRevokedError, match="purged"):
        others[0].get(LIMIT)


def test_demands_and_rates_of_tasks_are_heeded(app: App) -> None:
    @app.task(rate_limit="20/s", tags=["fast"])
    def when() -> float:
        import time

        return time.time()

    times = sorted(result.get(LIMIT) for result in [when.delay() for _ in range(4)])
    assert times[-1] - times[0] > 0.1
    stuck = when.apply_async(resources={"gpu": 2})
    app.flush()
    assert "no worker has 2 of gpu" in stuck.why()
    stuck.cancel()


def test_replies_have_rows_for_tables() -> None:
    assert Replies(a=[{"id": "1", "n": 2}, {"id": "3"}], b=[]).rows() == (
        ["node", "reply"],
        [["a", "{'id': '1', 'n': 2}"], ["a", "{'id': '3'}"], ["b", ""]],
    )
    assert Replies(a=[{"id": "1", "n": 2}]).rows() == (["node", "id", "n"], [["a", "1", "2"]])
    assert Replies(a={"ok": "pong"}).rows() == (["node", "ok"], [["a", "pong"]])
