"""Rates and demands over Redis: held where tasks are claimed, over all workers."""

import itertools
import time
from pathlib import Path
from typing import Any

import pytest

from nbqueue import App, SubmissionRefused
from tests.redis.conftest import Keys
from tests.redis.threads import executor
from tests.redis.worker import Worker
from tests.waiting import until

LIMIT = 20.0


@pytest.fixture
def when(app: App) -> Any:
    def when() -> float:
        return time.time()

    return app.task(when, name="when", rate_limit="20/s")


def gaps(results: list[Any]) -> list[float]:
    times = sorted(result.get(LIMIT) for result in results)
    return [later - earlier for earlier, later in itertools.pairwise(times)]


def test_tasks_start_at_their_rate_over_all_workers(app: App, url: str, when: Any) -> None:
    with executor(url), executor(url):
        results = [when.delay() for _ in range(15)]
        found = gaps(results)
    assert sum(found) >= 14 * 0.05 - 0.05
    assert sum(found) < 14 * 0.05 + 1.0


def test_a_task_says_that_it_waits_for_its_rate(app: App, url: str) -> None:
    rare = app.task(lambda: None, name="rare", rate_limit="1/h")
    plain = app.task(lambda: 1, name="plain")
    with executor(url):
        assert rare.delay().get(LIMIT) is None
        second = rare.delay()
        assert plain.delay().get(LIMIT) == 1
        assert "rate limit of 1/h for rare: the next one starts in" in second.why()
        second.cancel()


def test_a_rate_that_is_set_at_runtime_holds_in_place_of_theirs(app: App, url: str, keys: Keys) -> None:
    rare = app.task(lambda: 1, name="rare", rate_limit="1/h")
    free = app.task(lambda: 0.0 + time.time(), name="free")
    with executor(url):
        assert rare.delay().get(LIMIT) == 1
        waits = [rare.delay() for _ in range(3)]
        app.control.rate_limit("rare", 0, reply=True)
        assert [result.get(LIMIT) for result in waits] == [1, 1, 1]
        app.control.rate_limit("free", "10/s", reply=True)
        assert min(gaps([free.delay() for _ in range(5)])) > 0.05
        app.control.rate_limit("free", "default", reply=True)
        assert max(gaps([free.delay() for _ in range(5)])) < 1.0
    assert keys.redis.hkeys(keys("tuned")) == [b"rare"]


def test_tasks_go_to_workers_that_have_their_tags(app: App, url: str) -> None:
    tagged = app.task(lambda: 1, name="tagged", tags=["fast"])
    with executor(url):
        waits = tagged.delay()
        until(lambda: "no worker has the tag 'fast'" in waits.why())
        worker = Worker(url, "-c", "1", "--tag", "fast")
        try:
            assert waits.get(LIMIT) == 1
        finally:
            worker.stop()


def test_no_more_is_occupied_of_a_resource_than_there_is(
    app: App, url: str, keys: Keys, tmp_path: Path
) -> None:
    path = str(tmp_path / "log")

    def occupy(amount: int) -> None:
        with open(path, "a") as file:
            file.write(f"{time.time()} {amount}\n")
        time.sleep(0.1)
        with open(path, "a") as file:
            file.write(f"{time.time()} {-amount}\n")

    task = app.task(occupy, name="occupy")
    worker = Worker(url, "-c", "3", "--resource", "gpu=2")
    try:
        results = [task.apply_async((1 + n % 2,), resources={"gpu": 1 + n % 2}) for n in range(12)]
        for result in results:
            result.get(LIMIT)
        lines = sorted(line.split() for line in Path(path).read_text().splitlines())
        used = list(itertools.accumulate(int(amount) for _, amount in lines))
        assert max(used) == 2
        assert used[-1] == 0
        too_large = task.apply_async((3,), resources={"gpu": 3})
        until(lambda: "no worker has 3 of gpu" in too_large.why())
        too_large.cancel()
    finally:
        worker.stop()
    until(lambda: not [name for name in keys.all() if name.startswith(("occupied", "awaits"))])


def test_what_a_killed_process_occupied_is_free_again(app: App, url: str) -> None:
    import os

    die = app.task(lambda: os._exit(3), name="die", max_retries=0)
    live = app.task(lambda: 1, name="live")
    worker = Worker(url, "-c", "2", "--resource", "gpu=1", env={"NBQUEUE_MAX_TASK_DEATHS": "1"})
    try:
        died = die.apply_async(resources={"gpu": 1})
        with pytest.raises(Exception, match="exit code 3"):
            died.get(LIMIT)
        assert live.apply_async(resources={"gpu": 1}).get(LIMIT) == 1
    finally:
        worker.stop()


def test_a_large_demand_gets_its_turn_among_small_ones(app: App, url: str) -> None:
    nap = app.task(lambda: time.sleep(0.05), name="nap")
    worker = Worker(url, "-c", "2", "--resource", "gpu=2")
    try:
        small = [nap.apply_async(resources={"gpu": 1}) for _ in range(4)]
        large = nap.apply_async(resources={"gpu": 2})
        more = [nap.apply_async(resources={"gpu": 1}) for _ in range(60)]
        large.get(LIMIT)
        assert sum(not result.ready() for result in more) > 20
        for result in (*small, *more):
            result.get(LIMIT)
    finally:
        worker.stop()


def test_a_name_that_no_lane_can_have_is_refused(app: App) -> None:
    task = app.task(lambda: 1, name="odd")
    with pytest.raises(SubmissionRefused, match="is no name for a tag"):
        task.apply_async(tags=["a\x1fb"]).get(LIMIT)
