"""Tasks behind the interface of ``concurrent.futures``."""

import asyncio
import concurrent.futures
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import nbqueue
from nbqueue import App
from nbqueue.testing import InProcessCluster

LIMIT = 20.0


@pytest.fixture
def app() -> Iterator[App]:
    with InProcessCluster(executors=2) as cluster:
        app = App("executed", broker=cluster.url)
        yield app
        app.close()


def hold(path: str) -> str:
    """Wait until there is such a file."""
    while not os.path.exists(path):
        time.sleep(0.01)
    return path


def test_calls_run_on_workers_and_values_come_in_order(app: App) -> None:
    with nbqueue.Executor(app) as executor:
        assert executor.submit(pow, 2, 5).result(LIMIT) == 32
        assert list(executor.map(lambda x, y: x * y, [1, 2, 3], [4, 5, 6], timeout=LIMIT)) == [4, 10, 18]


def test_it_takes_tasks_with_their_options_and_those_of_each_call(app: App) -> None:
    task = app.task(lambda x: x + 1, name="executed.next")
    executor = nbqueue.Executor(app, queue="nobody's")
    future = executor.submit(task, 1)
    (result,) = executor._waiting.values()
    assert (result.name, result.queue) == ("executed.next", "nobody's")
    future.cancel()
    with pytest.raises(nbqueue.TaskRevokedError):
        result.get(LIMIT)


def test_an_exception_comes_out_of_the_future(app: App) -> None:
    with nbqueue.Executor(app) as executor, pytest.raises(ZeroDivisionError):
        executor.submit(divmod, 1, 0).result(LIMIT)


def test_a_loop_can_run_blocking_code_there(app: App) -> None:
    async def main() -> int:
        with nbqueue.Executor(app) as executor:
            return await asyncio.get_running_loop().run_in_executor(executor, pow, 2, 3)

    assert asyncio.run(main()) == 8


def test_after_its_end_it_takes_no_more(app: App) -> None:
    executor = nbqueue.Executor(app)
    executor.shutdown()
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(pow, 1, 1)


def test_shutdown_waits_for_what_runs_and_cancels_what_does_not(app: App, tmp_path: Path) -> None:
    go = str(tmp_path / "go")
    executor = nbqueue.Executor(app)
    running = [executor.submit(hold, go) for _ in range(2)]
    results = list(executor._waiting.values())
    deadline = time.monotonic() + LIMIT
    while any(result.state != "STARTED" for result in results):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    waiting = executor.submit(hold, go)
    executor.shutdown(wait=False, cancel_futures=True)
    assert waiting.cancelled()
    Path(go).touch()
    executor.shutdown()
    done, left = concurrent.futures.wait(running, timeout=0.0)
    assert (len(done), left) == (2, set())
