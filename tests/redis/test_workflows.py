"""Workflows over Redis while workers and Redis itself die: real processes."""

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nbqueue import App, chain, chord
from tests.redis.server import RedisServer
from tests.redis.worker import Worker
from tests.waiting import until

LIMIT = 60.0
FAST = {"NBQUEUE_WORKER_HEARTBEAT": "0.2", "NBQUEUE_WORKER_LEASE": "1"}


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Worker]]:
    """Starts workers, which end with the test."""
    for name, value in FAST.items():
        monkeypatch.setenv(name, value)
    workers: list[Worker] = []

    def started(url: str, *arguments: str) -> Worker:
        workers.append(Worker(url, *arguments))
        return workers[-1]

    yield started
    for worker in workers:
        worker.stop()


def noted(file: Path) -> list[str]:
    return file.read_text().split() if file.exists() else []


def test_a_worker_killed_around_the_last_part_of_a_chord_leaves_exactly_one_body(
    app: App, url: str, start: Callable[..., Worker], tmp_path: Path
) -> None:
    """Its last member kills its process after what it can do, in each of several chords."""
    file = tmp_path / "bodies"
    start(url, "-c", "2")

    @app.task(bind=True, max_retries=0)
    def member(self: Any, fatal: bool, delay: float) -> int:
        import threading

        if fatal and self.request.attempt == 1:
            pid = os.getpid()  # so that it dies before, while or after its outcome is kept
            threading.Timer(delay, lambda: os.kill(pid, signal.SIGKILL)).start()
            time.sleep(0.05)
        return 1

    @app.task
    def body(values: list[int], path: str, number: int) -> int:
        with open(path, "a") as out:
            out.write(f"{number}\n")
        return sum(values)

    results = [
        chord(
            [*[member.s(False, 0) for _ in range(4)], member.s(True, 0.03 + 0.005 * n)], body.s(str(file), n)
        )()
        for n in range(12)
    ]
    assert [result.get(LIMIT) for result in results] == [5] * 12
    runs = Counter(noted(file))
    assert set(runs) == {str(n) for n in range(12)}


def test_a_chain_goes_on_when_redis_is_killed_and_started_again(
    start: Callable[..., Worker], tmp_path: Path
) -> None:
    server = RedisServer(tmp_path / "redis", "appendfsync always")
    start(server.url, "-c", "2")
    app = App(broker=server.url)
    file = tmp_path / "steps"

    @app.task
    def step(n: int, path: str) -> int:
        with open(path, "a") as out:
            out.write(f"{n}\n")
        time.sleep(0.03)
        return n + 1

    result = (chain(step.s(0, str(file)), *[step.s(str(file))] * 39) | app.task(lambda n: n).s()).delay()
    wide = chord([step.s(100 + n, str(file)) for n in range(20)], app.task(sum, name="total").s())()
    for after in (10, 30):
        until(lambda: len(noted(file)) >= after, "nothing happens", LIMIT)  # noqa: B023 - called in this round
        server.kill()
        time.sleep(0.3)
        server.start()
    assert result.get(LIMIT) == 40
    assert wide.get(LIMIT) == sum(range(101, 121))
    runs = Counter(noted(file))
    assert set(runs) == {str(n) for n in [*range(40), *range(100, 120)]}
    app.close()
    server.stop()


def test_thirty_chords_have_thirty_bodies_while_executors_are_killed(
    app: App, url: str, start: Callable[..., Worker], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # so many may die of one task by chance alone
    monkeypatch.setenv("NBQUEUE_MAX_TASK_DEATHS", "100")
    bodies, members = tmp_path / "bodies", tmp_path / "members"
    worker = start(url, "-c", "3")

    @app.task
    def member(path: str, seconds: float) -> int:
        with open(path, "a") as out:
            out.write("x\n")
        time.sleep(seconds)
        return 1

    @app.task(bind=True)
    def body(self: Any, values: list[int], path: str) -> int:
        with open(path, "a") as out:
            out.write(f"{self.request.id}\n")
        return sum(values)

    choose = random.Random(5)
    results = [
        chord([member.s(str(members), choose.uniform(0, 0.03)) for _ in range(10)], body.s(str(bodies)))()
        for _ in range(30)
    ]
    for kill in range(1, 8):
        until(lambda: len(noted(members)) >= 35 * kill, "nothing happens", LIMIT)  # noqa: B023 - called in this round
        if executors := worker.executors():
            os.kill(choose.choice(executors), signal.SIGKILL)
    assert [result.get(LIMIT) for result in results] == [10] * 30
    ids = [result.id for result in results]
    assert set(noted(bodies)) == set(ids)
    assert all(child.successful() for result in results for child in result.parent)
