"""Workers asked and told over Redis: the same questions, commands and answers as with nbqueue's broker."""

import os
import time
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner

import nbqueue
from nbqueue import App
from nbqueue.cli.main import cli
from tests.redis.conftest import Keys
from tests.redis.threads import executor
from tests.redis.worker import Worker
from tests.waiting import until

LIMIT = 20.0
#: seconds that workers have to answer on a busy machine
PATIENT = 10.0


@pytest.fixture
def worker(url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Worker]:
    monkeypatch.setenv("NBQUEUE_WORKER_HEARTBEAT", "0.2")
    monkeypatch.setenv("NBQUEUE_CANCEL_GRACE", "0.5")
    made = Worker(url, "-c", "1", "-n", "w1@test")
    yield made
    made.stop()


@pytest.fixture
def nap(app: App) -> Any:
    def nap(seconds: float) -> None:
        time.sleep(seconds)

    return app.task(nap, name="nap")


def inspect(app: App) -> Any:
    return app.control.inspect(timeout=PATIENT)


def test_what_runs_waits_and_is_scheduled_is_shown(app: App, nap: Any, worker: Worker) -> None:
    running = nap.delay(60)
    until(lambda: inspect(app).active()["w1@test"], "it does not run")
    later = nap.apply_async((1,), countdown=60, priority=3)
    waiting = nap.delay(2)
    gone = nap.delay(3)
    app.flush()
    gone.cancel()
    (task,) = inspect(app).active()["w1@test"]
    assert (task["id"], task["args"], task["name"]) == (running.id, [60], "nap")
    assert abs(task["time_start"] - time.time()) < LIMIT
    assert task["worker_pid"] in worker.executors()
    assert inspect(app).reserved() == {"w1@test": []}
    (row,) = inspect(app).scheduled()["w1@test"]
    assert (row["request"]["id"], row["priority"]) == (later.id, 3)
    assert 0 < row["eta"] - time.time() <= 60
    found = inspect(app).query_task(running.id, later.id, waiting.id)["w1@test"]
    assert {id: state for id, (state, _) in found.items()} == {
        running.id: "active", later.id: "scheduled", waiting.id: "waiting",
    }  # fmt: skip
    assert gone.id in until(lambda: inspect(app).revoked()["w1@test"], "nothing was revoked")
    app.control.terminate([running.id, later.id, waiting.id], signal="KILL", reply=True)
    with pytest.raises(nbqueue.TaskRevokedError):
        running.get(LIMIT)
    assert nap.delay(0).get(LIMIT) is None


def test_workers_answer_for_themselves(app: App, worker: Worker) -> None:
    echo = app.task(lambda x: x, name="echo")
    assert [echo.delay(n).get(LIMIT) for n in range(3)] == [0, 1, 2]
    assert app.control.ping(timeout=PATIENT) == [{"w1@test": {"ok": "pong"}}]
    assert app.control.inspect("w1@test", timeout=PATIENT).ping() == {"ok": "pong"}
    assert app.control.inspect(["nobody"]).ping() is None
    stats = until(lambda: (s := inspect(app).stats()["w1@test"])["total"] and s, "nothing was counted")
    assert stats["total"] == {"echo": 3}
    assert (stats["pid"], stats["pool"]["processes"]) == (worker.process.pid, worker.executors())
    assert inspect(app).conf()["w1@test"]["worker"]["concurrency"] == 1
    assert "nbqueue" in inspect(app).report()["w1@test"]["ok"]
    assert inspect(app).registered()["w1@test"] == inspect(app).registered_tasks()["w1@test"]
    assert inspect(app).active_queues() == {"w1@test": [{"name": "default", "routing_key": "default"}]}


def test_workers_are_told_what_to_do(app: App, worker: Worker) -> None:
    def tell(command: str, *args: Any, **options: Any) -> Any:
        (reply,) = getattr(app.control, command)(*args, reply=True, timeout=PATIENT, **options)
        return reply["w1@test"]

    where = app.task(lambda: f"{os.getpid()}", name="where")
    assert tell("add_consumer", "other") == {"ok": "add consumer other"}
    assert int(where.apply_async(queue="other").get(LIMIT)) in worker.executors()
    queues = [{"name": name, "routing_key": name} for name in ("default", "other")]
    assert inspect(app).active_queues() == {"w1@test": queues}
    assert tell("cancel_consumer", "other") == {"ok": "no longer consuming from other"}
    assert "only queue" in tell("cancel_consumer", "default")["error"]
    assert tell("pool_grow", 1) == {"ok": "pool will grow"}
    until(lambda: len(worker.executors()) == 2, "it does not grow")
    assert tell("pool_shrink", 1) == {"ok": "pool will shrink"}
    until(lambda: len(worker.executors()) == 1, "it does not shrink")
    assert tell("autoscale", 2, 1) == {"ok": "autoscale now max=2 min=1"}
    (before,) = worker.executors()
    assert tell("pool_restart") == {"ok": "reload started"}
    until(lambda: before not in worker.executors(), "it is not replaced")
    assert tell("disable_events") == {"ok": "task events disabled"}
    assert tell("disable_events") == {"ok": "task events already disabled"}
    assert tell("enable_events") == {"ok": "task events enabled"}
    assert tell("shutdown") == {"ok": "shutting down"}
    worker.process.wait(LIMIT)
    assert app.control.ping() == []


def test_time_limits_of_a_name_hold_for_runs_that_begin_from_then_on(
    app: App, nap: Any, worker: Worker
) -> None:
    assert nap.delay(0).get(LIMIT) is None
    (reply,) = app.control.time_limit("nap", hard=0.3, reply=True)
    assert reply == {"w1@test": {"ok": "time limits set successfully"}}
    with pytest.raises(nbqueue.TimeLimitExceeded, match=r"0\.3 s"):
        nap.delay(60).get(LIMIT)
    app.control.time_limit("nap", soft=0.2, reply=True)
    with pytest.raises(nbqueue.SoftTimeLimitExceeded):
        nap.delay(60).get(LIMIT)


def test_a_worker_has_time_limits_of_its_own(app: App, nap: Any, url: str) -> None:
    worker = Worker(url, "-c", "1", "--time-limit", "0.3")
    try:
        with pytest.raises(nbqueue.TimeLimitExceeded):
            nap.delay(60).get(LIMIT)
        assert nap.delay(0).get(LIMIT) is None
    finally:
        worker.stop()


def test_tasks_that_wait_are_purged(app: App, keys: Keys) -> None:
    f = app.task(lambda: None, name="f")
    first, *others = [f.apply_async(queue="nobody", countdown=60 * (n % 2)) for n in range(300)]
    other = f.apply_async(queue="other")
    app.flush()
    first.wait_accepted(LIMIT)
    other.wait_accepted(LIMIT)
    (reply,) = app.control.revoke([first.id, "unknown"], reply=True)
    assert list(reply.values()) == [
        {"ok": f"tasks {first.id}, unknown flagged as revoked; not known: unknown"}
    ]
    assert app.control.purge("nobody") == 299
    assert app.control.purge() == 1
    assert app.control.purge() == 0
    with pytest.raises(nbqueue.TaskRevokedError, match="purged"):
        others[0].get(LIMIT)
    assert keys.redis.hlen(keys("tasks")) == 0


def test_a_worker_that_does_not_answer_is_waited_for_no_longer_than_was_said(app: App, url: str) -> None:
    with executor(url):  # its supervisor answers no orders
        until(lambda: app.control.inspect().active_queues(), "it has not come")
        began = time.monotonic()
        assert app.control.inspect(timeout=0.3).ping() is None
        assert 0.3 <= time.monotonic() - began < LIMIT


def test_what_makes_no_sense_is_refused(app: App) -> None:
    with pytest.raises(nbqueue.NBQueueError, match="no command is called 'dance'"):
        app.control.broadcast("dance", reply=True)
    with pytest.raises(nbqueue.NBQueueError, match="would never be reached"):
        app.control.time_limit("f", soft=2, hard=1, reply=True)


def test_commands_speak_to_workers_over_redis(app: App, nap: Any, url: str, worker: Worker) -> None:
    def run(*words: str) -> str:
        result = CliRunner().invoke(cli, words, env={"NBQUEUE_BROKER": url, "COLUMNS": "120"})
        assert result.exit_code == 0, (words, result.output, result.exception)
        return result.output

    result = nap.delay(60)
    until(lambda: inspect(app).active()["w1@test"], "it does not run")
    assert "pong" in run("inspect", "ping", "-t", "10")
    assert result.id in run("inspect", "active")
    assert "1 node online" in run("inspect", "active_queues")
    assert "pool will grow" in run("control", "pool_grow", "1", "-t", "10")
    assert "w1@test" in run("status")
    assert "nap" in run("top", "--once")
    App(broker=url).AsyncResult(result.id).cancel()
