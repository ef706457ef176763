"""What is left in Redis: nothing, once results have expired and everybody has gone."""

import time
from typing import Any

import pytest

import nbqueue
from nbqueue import App, chord, group
from nbqueue.transports.redis import names
from tests.redis.conftest import Keys
from tests.redis.threads import executor
from tests.redis.worker import Worker
from tests.waiting import until

LIMIT = 20.0


def test_nothing_is_left_after_results_have_expired_and_workers_have_left(
    url: str, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NBQUEUE_BROKER", url)  # for tasks of this process that become others
    monkeypatch.setenv("NBQUEUE_RESULT_EXPIRES", "1")
    monkeypatch.setenv("NBQUEUE_WORKER_LEASE", "1")
    monkeypatch.setenv("NBQUEUE_WORKER_HEARTBEAT", "0.2")
    app = App(broker=url)

    @app.task(bind=True, max_retries=2, default_retry_delay=0)
    def work(self: Any, x: int) -> int:
        print("working")
        self.update_state(state="LOADING", meta={"x": x})
        if x == 3 and self.request.retries < 1:
            raise self.retry(exc=ValueError("again"))
        return 1 // x

    with executor(url):
        results = work.map(range(10))
        later = work.apply_async((1,), countdown=0.3)
        assert later.get(LIMIT) == 1
        limited = work.apply_async((1,), time_limit=30, soft_time_limit=20)
        assert limited.get(LIMIT) == 1
        with pytest.raises(ZeroDivisionError):
            results.get(LIMIT)
        withdrawn = [work.apply_async((1,), queue="nobody", countdown=n) for n in (0, 60)]
        expired = work.apply_async((1,), queue="nobody", expires=0.1)
        for result in withdrawn:
            result.revoke()
        for result in (*withdrawn, expired):
            with pytest.raises(nbqueue.TaskRevokedError):
                result.get(LIMIT)
        other = App(broker=url)
        assert other.AsyncResult(results.children[1].id).get(LIMIT) == 1
        _run_workflows(app, work)
    app.close()
    # timers of runs that are over go when they are due; what is kept for later has a time to live
    for timer in keys.redis.zrange(keys("timers"), 0, -1):
        keys.redis.zadd(keys("timers"), {timer: 0.0})
    last = App(broker=url)
    assert last.client.ask("status")["queues"] == {}
    until(lambda: not keys.redis.exists(keys("timers")), keys.all)
    last.close()
    until(lambda: all(keys.redis.ttl(keys(name)) != -1 for name in keys.all()), keys.all)
    longest = {"call": 60, "blob": 3600, "token": 86_400}
    until(lambda: not [n for n in keys.all() if n.partition(":")[0] not in longest], keys.all)
    for name in keys.all():
        assert keys.redis.ttl(keys(name)) <= longest[name.partition(":")[0]]


def _run_workflows(app: App, work: Any) -> None:
    """Of each kind one that ends well, and one that does not."""
    total = app.task(sum, name="total")
    told: Any = app.task(lambda request, exc, traceback: request.id, name="told")
    items = app.task(_count, name="count")

    @app.task(bind=True, name="become")
    def become(self: Any) -> None:
        raise self.replace(work.s(1) | work.s())

    assert chord([work.s(1), become.s(), work.s(1)], total.s())().get(LIMIT) == 3
    failed = work.apply_async((0,), link=work.s(), link_error=told.s())
    broken = (work.s(0) | work.s() | group(work.s(), work.s()) | total.s()).delay()
    for result in (failed, broken):
        with pytest.raises(ZeroDivisionError):
            result.get(LIMIT)
    assert failed.children[1].get(LIMIT) == failed.id
    waits = chord([work.s(1), work.s(1).set(queue="nobody")], total.s())()
    waits.parent[0].get(LIMIT)
    waits.parent[0].forget()
    waits.parent[1].revoke()
    with pytest.raises(nbqueue.ChordError):
        waits.get(LIMIT)
    assert list(items.delay(100).stream(window=10, timeout=LIMIT)) == list(range(100))


def _count(number: int) -> Any:
    for i in range(number):
        time.sleep(0.002)
        yield i


def described() -> set[str]:
    """What ``names`` tells of, without what comes after the colon."""
    assert names.__doc__ is not None
    return {
        word.strip("`").partition(":")[0]
        for line in names.__doc__.splitlines()
        if line.startswith("``")
        for word in line[:24].replace(",", " ").split()
    }


def test_what_was_asked_told_limited_and_scheduled_goes_too(
    app: App, url: str, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NBQUEUE_WORKER_LEASE", "1")
    monkeypatch.setenv("NBQUEUE_WORKER_HEARTBEAT", "0.2")
    seen: set[str] = set()

    def look() -> set[str]:
        seen.update(name.partition(":")[0] for name in keys.all())
        return seen

    work = app.task(lambda: time.sleep(0.2), name="work", rate_limit="100/s")
    worker = Worker(url, "-c", "1", "--resource", "gpu=1")
    try:
        stream = app.events(timeout=LIMIT)
        app.add_periodic_task(0.1, work, name="often")
        app.beat()
        app.control.time_limit("work", hard=60, reply=True)
        app.control.disable_events(reply=True)
        results = [work.apply_async(resources={"gpu": 1}) for _ in range(3)]
        until(
            lambda: {"occupied", "starts", "total", "loads", "keeper", "silent", "listeners"} <= look(), look
        )
        assert [result.get(LIMIT) for result in results] == [None] * 3
        app.remove_periodic_task("often")
        stream.close()
    finally:
        worker.stop()
    assert seen - described() == set()
    app.control.purge()
    gone = ("occupied", "awaits", "total", "loads", "keeper", "listeners", "periodic", "firings", "silent")
    until(lambda: not [name for name in keys.all() if name.startswith(gone)], keys.all)
    for name in ("starts", "tuned"):
        assert 0 < keys.redis.ttl(keys(name)) <= 30 * 86_400


def test_every_key_is_described(app: App, url: str, keys: Keys) -> None:
    seen: set[str] = set()
    nap = app.task(lambda: (time.sleep(0.2), print("x")), name="nap")
    with executor(url):
        waits = nap.apply_async(queue="nobody", countdown=60, expires=60)
        waits.wait_accepted(LIMIT)
        result = nap.delay()
        while not result.ready():
            seen |= {name.partition(":")[0] for name in keys.all()}
            time.sleep(0.01)
        App(broker=url).AsyncResult(waits.id).exists()
        errback = app.task(lambda id: id, name="errback").s().set(queue="nobody")
        failed = app.task(lambda: 1 // 0, name="fails").apply_async(link_error=errback)
        stream = app.task(_count, name="count").delay(200).stream(window=4)
        assert next(stream) == 0
        until(failed.ready, keys.all)
        follows = nap.si().set(queue="nobody").apply_async(link=nap.si())
        follows.wait_accepted(LIMIT)
        until(lambda: follows.children, keys.all)

        seen |= {name.partition(":")[0] for name in keys.all()}
        stream.close()
    assert seen - described() == set()
    assert {"steps", "left", "waiting", "after", "call", "wishes"} <= seen
    assert len(seen) > 15
    waits.revoke()


def test_an_application_touches_no_key_of_another(server: Any, app: App, url: str, keys: Keys) -> None:
    before = {key for key in keys.redis.keys("*") if not key.startswith(keys.prefix.encode())}
    echo = app.task(lambda x: x, name="echo")
    with executor(url):
        assert echo.delay(1).get(LIMIT) == 1
    after = {key for key in keys.redis.keys("*") if not key.startswith(keys.prefix.encode())}
    assert after <= before
