"""Workers that die, stop or come back, with Redis as the broker: real processes."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import nbqueue
from nbqueue import App
from tests.redis.conftest import Keys
from tests.redis.worker import Worker
from tests.waiting import until

LIMIT = 20.0
#: short leases, so that the tests are short
FAST = {
    "NBQUEUE_WORKER_HEARTBEAT": "0.2", "NBQUEUE_WORKER_LEASE": "1", "NBQUEUE_CANCEL_GRACE": "0.5",
}  # fmt: skip


@pytest.fixture
def start(url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Worker]]:
    """Starts workers of one executor, which end with the test."""
    for name, value in FAST.items():
        monkeypatch.setenv(name, value)
    workers: list[Worker] = []

    def started(*arguments: str) -> Worker:
        workers.append(Worker(url, "-c", "1", *arguments))
        return workers[-1]

    yield started
    for worker in workers:
        worker.stop()


def test_the_tasks_of_a_killed_worker_run_elsewhere(
    app: App, start: Callable[..., Worker], tmp_path: Any
) -> None:
    first = start("-n", "first")
    may_end = tmp_path / "may end"

    @app.task
    def where() -> int:
        while not may_end.exists():
            time.sleep(0.02)
        return os.getpid()

    result = where.delay()
    until(lambda: result.state == "STARTED", "it does not start")
    second = start("-n", "second")
    killed = time.monotonic()
    first.kill()
    may_end.touch()
    assert result.get(LIMIT) in second.executors()
    assert time.monotonic() - killed < 1.0 + 4.0  # the lease, and a look at it


def test_a_task_is_not_run_twice_however_long_it_takes(
    app: App, start: Callable[..., Worker], tmp_path: Any
) -> None:
    start("-n", "first")
    start("-n", "second")
    log = str(tmp_path / "runs")

    @app.task
    def long() -> str:
        with open(log, "a") as file:
            file.write("x")
        time.sleep(3.0)
        return "done"

    assert long.delay().get(LIMIT) == "done"
    assert (tmp_path / "runs").read_text() == "x"


def test_a_task_that_holds_the_gil_is_not_taken_away(app: App, start: Callable[..., Worker]) -> None:
    start("-n", "first")
    start("-n", "second")

    @app.task(bind=True)
    def hold(self: Any) -> int:
        import ctypes

        ctypes.PyDLL(None).usleep(2_500_000)
        return int(self.request.attempt)

    assert hold.delay().get(LIMIT) == 1


def test_a_task_that_kills_its_process_ends_after_so_many_deaths(
    app: App, start: Callable[..., Worker]
) -> None:
    start()

    @app.task
    def die() -> None:
        os.kill(os.getpid(), signal.SIGSEGV)

    result = die.delay()
    with pytest.raises(nbqueue.WorkerLostError, match=r"SIGSEGV.*\n?.*died 3 times|died 3 times"):
        result.get(60.0)
    echo = app.task(lambda x: x, name="echo")
    assert echo.delay(1).get(LIMIT) == 1


def test_the_outcome_of_a_worker_that_was_stopped_too_long_is_refused(
    app: App, start: Callable[..., Worker], keys: Keys
) -> None:
    first = start("-n", "first")

    @app.task
    def where() -> int:
        time.sleep(1.0)
        return os.getpid()

    result = where.delay()
    until(lambda: result.state == "STARTED", "it does not start")
    stopped = [first.process.pid, *first.executors()]
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    second = start("-n", "second")
    pid = result.get(LIMIT)
    assert pid in second.executors()
    for other in stopped:
        os.kill(other, signal.SIGCONT)
    until(lambda: not any(keys.redis.hlen(keys(name)) for name in _held(keys)), "a lease stays")
    assert app.AsyncResult(result.id).get(LIMIT) == pid
    assert first.process.poll() is None
    second.stop()
    assert where.delay().get(LIMIT) in first.executors()  # it is a worker as before


def _held(keys: Keys) -> list[str]:
    return [name for name in keys.all() if name.startswith("held:")]


def test_a_warm_shutdown_ends_what_runs_and_gives_back_the_rest(
    app: App, start: Callable[..., Worker]
) -> None:
    first = start("-n", "first")
    nap = app.task(lambda s: (time.sleep(s), s)[1], name="nap")
    results = nap.map([1.0, 0.1, 0.1])
    until(lambda: results.children[0].state == "STARTED", "it does not start")
    first.process.send_signal(signal.SIGTERM)
    until(lambda: first.process.poll() is not None, "it does not end")
    assert results.children[0].get(LIMIT) == 1.0
    assert not results.children[2].ready()
    start("-n", "second")
    assert results.get(LIMIT) == [1.0, 0.1, 0.1]


def test_what_waits_behind_a_long_task_goes_to_an_idle_executor(
    app: App, start: Callable[..., Worker]
) -> None:
    start("-n", "first")
    nap = app.task(lambda s: (time.sleep(s), os.getpid())[1], name="nap")
    nap.map([0.0] * 50).get(LIMIT)  # from now on naps are thought to be short
    results = nap.map([60.0, *[0.0] * 20])
    long = results.children[0]
    until(lambda: long.state == "STARTED", "it does not start")
    second = start("-n", "second")
    pids = [child.get(LIMIT) for child in results.children[1:]]
    assert set(pids) == set(second.executors())
    assert not long.ready()
    long.cancel()


def test_cancelling_kills_what_does_not_listen(app: App, start: Callable[..., Worker]) -> None:
    start()

    @app.task
    def deaf() -> None:
        while True:
            try:
                time.sleep(60)
            except KeyboardInterrupt:
                continue

    result = deaf.delay()
    until(lambda: result.state == "STARTED", "it does not start")
    result.cancel()
    with pytest.raises(nbqueue.TaskRevokedError):
        result.get(LIMIT)
    echo = app.task(lambda x: x, name="echo")
    assert echo.delay(1).get(LIMIT) == 1


def test_revoking_a_task_that_runs_without_terminate_lets_it_end(
    app: App, start: Callable[..., Worker]
) -> None:
    start()
    nap = app.task(lambda: (time.sleep(1.0), "done")[1], name="nap")
    result = nap.delay()
    until(lambda: result.state == "STARTED", "it does not start")
    result.revoke(terminate=False)
    assert result.get(LIMIT) == "done"
