"""An executor that runs several tasks at once, against a real broker core."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import msgspec
import pytest

from nbqueue import messages as m
from nbqueue.core.broker import BrokerSettings
from nbqueue.transports import memory, transport
from nbqueue.worker.executor.quota import Quota
from nbqueue.worker.executor.several import SeveralExecutor
from tests.worker.cluster import PYTHON, Client, new_url


class Barrier:
    """Tasks, which travel by value, find it here."""


@contextmanager
def executor(url: str, slots: int = 4, **options) -> Iterator[SeveralExecutor]:
    identity = m.Hello(
        m.EXECUTOR,
        f"e-{url}",
        worker=f"w-{url}",
        name="w@test",
        python=PYTHON,
        queues=["default"],
        slots=slots,
    )
    supervisor = transport(url).connect()
    supervisor.send([msgspec.structs.replace(identity, role=m.WORKER, id=identity.worker)])
    made = SeveralExecutor(transport(url), identity, **options)
    thread = threading.Thread(target=made.run)
    thread.start()
    try:
        yield made
    finally:
        made.stop()
        thread.join(10.0)
        supervisor.close()
        assert not thread.is_alive(), "the executor did not stop"


@pytest.fixture
def url() -> Iterator[str]:
    url = new_url()
    memory.broker(url, BrokerSettings(cancel_grace=0.2))
    yield url
    memory.broker(url).stop()


@pytest.fixture
def client(url):
    client = Client(transport(url).connect())
    yield client
    client.link.close()


@pytest.fixture
def meeting(monkeypatch):
    """Where so many tasks wait for one another: none gets on alone."""
    barrier = threading.Barrier(4, timeout=10)
    monkeypatch.setattr(sys.modules[__name__], "barrier", barrier, raising=False)
    monkeypatch.setitem(sys.modules, "meeting_of_tests", Barrier)
    Barrier.barrier = barrier
    return barrier


def test_sync_tasks_run_at_once_in_threads(url, client, meeting):
    def meet(x):
        import meeting_of_tests

        meeting_of_tests.barrier.wait()
        return x

    with executor(url):
        ids = client.submit_many(meet, [(x,) for x in range(4)])
        assert [client.value(id) for id in ids] == [0, 1, 2, 3]


def test_many_tasks_run_each_once(url, client):
    def square(x):
        return x * x

    with executor(url):
        ids = client.submit_many(square, [(x,) for x in range(1000)])
        client.wait(lambda: len(client.outcomes) == 1000, 30.0)
        assert [client.value(id) for id in ids] == [x * x for x in range(1000)]


def test_what_a_task_prints_is_its_own(url, client, meeting):
    def say(x):
        import meeting_of_tests

        meeting_of_tests.barrier.wait()
        print(f"I am {x}")

    with executor(url):
        ids = client.submit_many(say, [(x,) for x in range(4)])
        client.wait(lambda: len(client.outcomes) == 4)
        client.wait(lambda: all(client.output(id) for id in ids))
        assert [client.output(id) for id in ids] == [f"I am {x}\n" for x in range(4)]


def test_values_of_the_notebook_are_those_of_the_call_in_each_thread(url, client, meeting):
    def make(k):
        def read():
            import meeting_of_tests

            meeting_of_tests.barrier.wait()
            return k

        return read

    with executor(url):
        ids = [client.submit(make(k)) for k in range(4)]
        assert [client.value(id) for id in ids] == [0, 1, 2, 3]


def test_a_cancelled_task_is_revoked_at_once_and_interrupted_where_python_allows(url, client):
    def spin():
        import time

        while True:
            time.sleep(0.01)

    def add(a, b):
        return a + b

    with executor(url, slots=2):
        id = client.submit(spin)
        client.wait_for(m.Started, id)
        client.link.send([m.Cancel([id])])
        assert client.outcome(id).state == "REVOKED"
        held = memory.broker(url).core.dispatch.executors[f"e-{url}"].held
        client.wait(lambda: not held)
        assert client.value(client.submit(add, 1, 2)) == 3


def test_a_coroutine_is_cancelled_where_it_awaits(url, client):
    async def sleep():
        import asyncio

        try:
            await asyncio.sleep(60)
        finally:
            print("cleaned up")

    with executor(url, slots=2):
        id = client.submit(sleep)
        client.wait_for(m.Started, id)
        client.link.send([m.Cancel([id])])
        assert client.outcome(id).state == "REVOKED"
        client.wait(lambda: "cleaned up" in client.output(id))


def test_a_soft_limit_is_raised_in_a_coroutine_which_may_go_on(url, client):
    async def careful():
        import asyncio

        from nbqueue.exceptions import SoftTimeLimitExceeded

        try:
            await asyncio.sleep(60)
        except SoftTimeLimitExceeded:
            await asyncio.sleep(0.01)
            async with asyncio.timeout(5):
                await asyncio.sleep(0.01)
            return "in time"

    with executor(url, slots=2):
        assert client.value(client.submit(careful, soft_time_limit=0.1)) == "in time"


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, ValueError])
def test_whatever_a_coroutine_raises_the_others_go_on(url, client, kind):
    async def fail(kind):
        raise kind("bad")

    async def add(a, b):
        return a + b

    with executor(url, slots=2):
        outcome = client.outcome(client.submit(fail, kind))
        assert (outcome.state, outcome.failure.type) == ("FAILURE", kind.__name__)
        assert client.value(client.submit(add, 1, 2)) == 3


def test_async_tasks_run_together_in_one_loop_and_others_one_after_the_other(url, client):
    async def together(n):
        import asyncio

        loop = asyncio.get_running_loop()
        loop.waiting = [*getattr(loop, "waiting", []), here := asyncio.Event()]
        if len(loop.waiting) == n:
            for event in loop.waiting:
                event.set()
        await here.wait()
        return "met"

    def alone():
        import time

        began = time.monotonic()
        time.sleep(0.05)
        return began, time.monotonic()

    with executor(url, slots=4, one_at_a_time=True):
        ids = client.submit_many(together, [(4,)] * 4)
        assert [client.value(id) for id in ids] == ["met"] * 4
        ids = client.submit_many(alone, [()] * 4)
        runs = sorted(client.value(id) for id in ids)
    assert all(ended <= began for (_, ended), (began, _) in pairwise(runs))


def test_a_definition_is_fetched_for_whoever_waits_for_it_and_a_lost_one_is_a_failure(url, client):
    blobs = memory.broker(url).core.tasks.blobs
    blobs.add("nowhere", b"blob")
    blobs._blobs["nowhere"].data = b""
    with executor(url, slots=2):
        client.link.send([m.Submit([m.Task("lost", "g", "nowhere", b"")])])
        assert "submit the task again" in client.outcome("lost").failure.message


def test_what_runs_is_finished_and_told_when_the_executor_drains(url, client):
    def slow():
        import time

        time.sleep(0.3)
        print("last words")
        return "done"

    with executor(url, slots=2) as made:
        ids = client.submit_many(slow, [(), ()])
        client.wait(lambda: all(client.heard(m.Started, id) for id in ids))
        made.stop()
        assert [client.value(id) for id in ids] == ["done", "done"]
        client.wait(lambda: all(client.output(id) == "last words\n" for id in ids))


def test_a_quota_ends_it_when_it_is_used_up(url, client):
    def f():
        return 1

    with executor(url, slots=2, quota=Quota(max_tasks=3)) as made:
        ids = client.submit_many(f, [()] * 3)
        assert [client.value(id) for id in ids] == [1, 1, 1]
        client.wait(lambda: made.retired)


def test_when_the_broker_does_not_answer_for_a_while_runs_go_on_and_are_told_after(url, client):
    def slow():
        import time

        time.sleep(0.2)
        return time.time()

    with executor(url, slots=2):
        id = client.submit(slow)
        client.wait_for(m.Started, id)
        broker = memory.broker(url)
        for link in list(broker._links.values()):
            if link is not client.link:
                broker.disconnect(link)
        assert client.value(id) < time.time()
