"""What is left in Redis: nothing, once results have expired and everybody has gone."""

import time
from collections.abc import Callable
from typing import Any

import pytest

import nbqueue
from nbqueue import App
from nbqueue.transports.redis import names
from tests.redis.conftest import Keys
from tests.redis.threads import executor

LIMIT = 20.0


def until(condition: Callable[[], Any], what: Callable[[], Any]) -> None:
    deadline = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < deadline, what()
        time.sleep(0.05)


def test_nothing_is_left_after_results_have_expired_and_workers_have_left(
    url: str, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
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
    app.close()
    # timers of runs that are over go when they are due; what is kept for later has a time to live
    for timer in keys.redis.zrange(keys("timers"), 0, -1):
        keys.redis.zadd(keys("timers"), {timer: 0.0})
    last = App(broker=url)
    assert last.client.ask("status")["queues"] == {}
    until(lambda: not keys.redis.exists(keys("timers")), keys.all)
    last.close()
    until(lambda: all(keys.redis.ttl(keys(name)) != -1 for name in keys.all()), keys.all)
    until(lambda: not [n for n in keys.all() if not n.startswith(("blob:", "token"))], keys.all)
    for name in keys.all():
        assert keys.redis.ttl(keys(name)) <= (3600 if name.startswith("blob:") else 86_400)


def test_every_key_is_described(app: App, url: str, keys: Keys) -> None:
    assert names.__doc__ is not None
    described = {
        word.strip("`").partition(":")[0]
        for line in names.__doc__.splitlines()
        if line.startswith("``")
        for word in line[:24].replace(",", " ").split()
    }
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
        seen |= {name.partition(":")[0] for name in keys.all()}
    assert seen - described == set()
    assert len(seen) > 15
    waits.revoke()


def test_an_application_touches_no_key_of_another(server: Any, app: App, url: str, keys: Keys) -> None:
    before = {key for key in keys.redis.keys("*") if not key.startswith(keys.prefix.encode())}
    echo = app.task(lambda x: x, name="echo")
    with executor(url):
        assert echo.delay(1).get(LIMIT) == 1
    after = {key for key in keys.redis.keys("*") if not key.startswith(keys.prefix.encode())}
    assert after <= before
