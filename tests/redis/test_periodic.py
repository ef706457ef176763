"""Periodic tasks over Redis: each firing takes place once, whoever the keeper is."""

import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from nbqueue import App, NBQueueError
from nbqueue.transports.redis.names import Names
from nbqueue.transports.redis.periodic import field_of
from nbqueue.transports.redis.records import Sealed
from nbqueue.wire.signing import Signer, signing_key
from tests.redis.conftest import Keys
from tests.redis.threads import executor
from tests.redis.worker import Worker
from tests.waiting import until

LIMIT = 20.0


@pytest.fixture
def noted(app: App, tmp_path: Path) -> Any:
    """A task that writes its id into a file."""
    path = str(tmp_path / "runs")

    @app.task(bind=True, name="noted")
    def noted(self: Any) -> None:
        with open(path, "a") as file:
            file.write(f"{self.request.id}\n")

    return noted


def runs(tmp_path: Path) -> list[str]:
    path = tmp_path / "runs"
    return path.read_text().splitlines() if path.exists() else []


def sealed(keys: Keys) -> Sealed:
    return Sealed(Signer(signing_key().encode(), keys.prefix[5:-2]))


def set_back(app: App, keys: Keys, seconds: float) -> None:
    """As if no worker had been there for so long."""
    (field,) = keys.redis.hkeys(keys("periodic"))
    entry = sealed(keys).open_entry(keys.redis.hget(keys("periodic"), field))
    at = entry.handled - seconds
    entry = msgspec.structs.replace(entry, anchor=entry.anchor - seconds, handled=at, due=at + 1)
    keys.redis.hset(keys("periodic"), field, sealed(keys).entry(entry))
    keys.redis.zadd(keys("firings"), {field: at + 1})


def test_each_firing_takes_place_once_though_all_think_that_they_are_the_keeper(
    app: App, url: str, noted: Any, keys: Keys, tmp_path: Path
) -> None:
    app.add_periodic_task(0.1, noted, name="often")
    app.beat()
    with executor(url), executor(url):
        deadline = time.monotonic() + LIMIT
        while len(runs(tmp_path)) < 20:
            keys.redis.delete(keys("keeper"))
            assert time.monotonic() < deadline
        app.remove_periodic_task("often")
    found = runs(tmp_path)
    assert len(set(found)) == len(found)


def test_another_worker_is_the_keeper_when_one_is_killed(
    app: App, url: str, noted: Any, keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NBQUEUE_WORKER_LEASE", "1")
    monkeypatch.setenv("NBQUEUE_WORKER_HEARTBEAT", "0.2")
    first, second = Worker(url, "-c", "1"), Worker(url, "-c", "1")
    try:
        app.add_periodic_task(0.1, noted, name="often")
        app.beat()
        keeper = until(lambda: keys.redis.get(keys("keeper")))
        hello = sealed(keys).open_hello(keys.redis.hget(keys("workers"), keeper))
        until(lambda: len(runs(tmp_path)) > 3)
        (first if first.process.pid == hello.pid else second).kill()
        other = until(lambda: (now := keys.redis.get(keys("keeper"))) not in (None, keeper) and now)
        before = len(runs(tmp_path))
        until(lambda: len(runs(tmp_path)) > before + 3)
        assert other != keeper
        app.remove_periodic_task("often")
    finally:
        for worker in (first, second):
            worker.stop()
    found = runs(tmp_path)
    assert len(set(found)) == len(found)


@pytest.mark.parametrize(("missed", "count"), [("once", 1), ("all", 6), ("skip", 0)])
def test_what_was_missed_without_a_worker_is_made_up_for_as_the_entry_says(
    missed: str, count: int, app: App, url: str, noted: Any, keys: Keys, tmp_path: Path
) -> None:
    app.conf.beat_schedule = {"rarely": {"task": "noted", "schedule": 600.0, "missed": missed}}
    app.beat()
    set_back(app, keys, 3610.0)
    with executor(url):
        until(lambda: keys.redis.zscore(keys("firings"), field_of("__main__", "rarely")) > time.time())
        until(lambda: len(runs(tmp_path)) == count)
        until(lambda: not keys.redis.exists(keys("tasks")))
    (entry,) = app.periodic_tasks()
    assert (entry.last is not None) == (count > 0)
    assert len(runs(tmp_path)) == count
    assert entry.next_run_at is not None
    assert 0 < entry.next_run_at.timestamp() - time.time() <= 600


def test_an_entry_waits_for_its_last_task_if_it_is_to(app: App, url: str, keys: Keys) -> None:
    app.task(lambda: None, name="stuck", queue="nobody")
    app.conf.beat_schedule = {
        "stuck": {"task": "stuck", "schedule": 0.05, "skip_if_running": True, "options": {"queue": "nobody"}}
    }
    app.beat()
    with executor(url):
        first = until(lambda: app.periodic_tasks()[0].last)
        handled = keys.redis.zscore(keys("firings"), field_of("__main__", "stuck"))
        until(lambda: keys.redis.zscore(keys("firings"), field_of("__main__", "stuck")) > handled + 0.3)
        assert keys.redis.hlen(keys("tasks")) == 1
        app.remove_periodic_task("stuck")
    first.cancel()


def test_an_entry_says_why_its_task_is_not_kept(
    app: App, url: str, noted: Any, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NBQUEUE_MAX_QUEUED", "1")
    waits = app.task(lambda: None, name="waits", queue="full")
    first = waits.delay()
    app.add_periodic_task(0.05, waits, name="more", queue="full")
    app.beat()
    with executor(url):
        until(lambda: "is full" in app.periodic_tasks()[0].trouble)
        assert keys.redis.hlen(keys("tasks")) == 1
    app.remove_periodic_task("more")
    first.cancel()


def test_an_entry_keeps_its_function_and_leaves_nothing_when_it_is_removed(
    app: App, url: str, noted: Any, keys: Keys
) -> None:
    app.add_periodic_task(600.0, noted, name="rarely")
    app.beat()
    (blob,) = keys.redis.hkeys(keys("references"))
    assert keys.redis.ttl(keys(f"blob:{blob.decode()}")) == -1
    app.add_periodic_task(300.0, noted, name="rarely")
    app.beat()
    assert keys.redis.hgetall(keys("references")) == {blob: b"1"}
    app.remove_periodic_task("rarely")
    assert not keys.redis.exists(*map(keys, ("periodic", "firings", "references", "keeper")))
    assert 0 < keys.redis.ttl(keys(f"blob:{blob.decode()}")) <= 3600


def test_arguments_that_are_too_large_are_refused(app: App) -> None:
    app.add_periodic_task(600.0, app.task(lambda x: x, name="echo"), args=(bytes(2**21),), name="large")
    with pytest.raises(NBQueueError, match="'large': its arguments"):
        app.beat()


@pytest.mark.parametrize("how", ["garbage", "another key", "another name"])
def test_an_entry_that_is_not_ours_does_not_fire(
    how: str, app: App, url: str, noted: Any, keys: Keys, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    app.add_periodic_task(600.0, noted, name="rarely")
    app.beat()
    (genuine,) = keys.redis.hvals(keys("periodic"))
    entry = sealed(keys).open_entry(genuine)
    evil = {
        "garbage": b"\x80\x04" * 40,
        "another key": Sealed(Signer(b"not the signing key, but long", Names("x").app)).entry(entry),
        "another name": genuine,
    }[how]
    field = field_of("__main__", "evil")
    keys.redis.hset(keys("periodic"), field, evil)
    keys.redis.zadd(keys("firings"), {field: time.time() - 1})
    with executor(url):
        until(lambda: keys.redis.zscore(keys("firings"), field) is None)
        assert noted.delay().get(LIMIT) is None
    assert len(runs(tmp_path)) == 1
    assert "refused, unread" in caplog.text
    assert [task.name for task in app.periodic_tasks()] == ["rarely"]
