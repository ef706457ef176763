"""An executor against a real broker core, in threads."""

import time
from collections.abc import Iterator

import pytest

from nbqueue import messages as m
from nbqueue.states import FAILURE, REVOKED, SUCCESS
from nbqueue.transports import memory, transport
from nbqueue.wire.payload import TaskOptions
from nbqueue.worker.registry import RegisteredTask
from tests.worker.cluster import Client, executor, new_url


@pytest.fixture
def url() -> Iterator[str]:
    url = new_url()
    yield url
    memory.broker(url).stop()


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    with executor(url):
        client = Client(transport(url).connect())
        yield client
        client.link.close()


# Shipped by value: defined inside of functions, as a notebook's would be.


def test_a_task_runs_and_its_value_comes_back(client):
    def add(a, b):
        return a + b

    id = client.submit(add, 4, 4)
    assert client.value(id) == 8
    assert client.outcomes[id].worker == "w@test"


def test_many_tasks_run_each_once(client):
    def square(x):
        return x * x

    ids = client.submit_many(square, [(x,) for x in range(2000)])
    client.wait(lambda: len(client.outcomes) == 2000)
    assert [client.value(id) for id in ids] == [x * x for x in range(2000)]


def test_an_exception_is_a_failure_with_its_type_and_traceback(client):
    def fail():
        raise ValueError("no such luck")

    outcome = client.outcome(client.submit(fail))
    assert outcome.state == FAILURE
    assert outcome.failure.type == "ValueError"
    assert outcome.failure.message == "no such luck"
    assert "nbqueue" not in outcome.failure.traceback.replace("nbqueue-", "")


@pytest.mark.parametrize("kind", [SystemExit, RecursionError, MemoryError, KeyboardInterrupt, GeneratorExit])
def test_whatever_a_task_raises_the_executor_goes_on(client, kind):
    def fail(kind):
        raise kind("bad")

    def add(a, b):
        return a + b

    outcome = client.outcome(client.submit(fail, kind))
    assert (outcome.state, outcome.failure.type) == (FAILURE, kind.__name__)
    assert client.value(client.submit(add, 1, 2)) == 3


def test_endless_recursion_is_a_failure(client):
    def down(n):
        return down(n + 1)

    outcome = client.outcome(client.submit(down, 0))
    assert outcome.failure.type == "RecursionError"


def test_a_result_that_cannot_be_pickled_is_a_failure_that_says_so(client):
    def lock():
        import threading

        return threading.Lock()

    outcome = client.outcome(client.submit(lock))
    assert outcome.state == FAILURE
    assert outcome.failure.type == "SerializationError"
    assert "lock" in outcome.failure.message


def test_a_definition_that_cannot_be_loaded_is_a_failure(client):
    task = m.Task("broken", "f", "key", b"")
    client.link.send([m.Define("key", b"no pickle"), m.Submit([task])])
    assert client.outcome("broken").failure.type == "SerializationError"


def test_a_definition_that_the_broker_lost_is_a_failure(client, url):
    def f():
        return 1

    def g():
        return 2

    task = m.Task("lost", "g", "nowhere", b"")
    blobs = memory.broker(url).core.tasks.blobs
    blobs.add("nowhere", b"blob")
    blobs._blobs["nowhere"].data = b""
    client.link.send([m.Submit([task])])
    outcome = client.outcome("lost")
    assert "submit the task again" in outcome.failure.message
    assert client.value(client.submit(f)) == 1


def test_a_coroutine_function_is_run_to_its_end(client):
    async def slow(x):
        import asyncio

        await asyncio.sleep(0)
        return x + 1

    assert client.value(client.submit(slow, 1)) == 2


def test_the_items_of_a_generator_are_the_result(client):
    def count(n):
        yield from range(n)

    async def count_slowly(n):
        for i in range(n):
            yield i

    assert client.value(client.submit(count, 3)) == [0, 1, 2]
    assert client.value(client.submit(count_slowly, 3)) == [0, 1, 2]


def test_the_value_of_a_task_that_ignores_its_result_does_not_travel(client):
    def f():
        return 1

    id = client.submit(f, ignore_result=True)
    assert client.outcome(id).state == SUCCESS
    assert client.outcomes[id].value == b""


def test_a_bound_task_gets_its_request(client):
    def whoami(self, x):
        r = self.request
        return {
            "id": r.id,
            "args": r.args,
            "retries": r.retries,
            "attempt": r.attempt,
            "host": r.hostname,
            "x": x,
        }

    id = client.submit(whoami, 7, options={"bind": True})
    assert client.value(id) == {"id": id, "args": (7,), "retries": 0, "attempt": 1, "host": "w@test", "x": 7}


def test_a_registered_task_runs_without_a_definition(url):
    def add(a, b):
        return a + b

    task = RegisteredTask("tasks.add", add, TaskOptions(name="tasks.add"))
    with executor(url, [task]):
        client = Client(transport(url).connect())
        from nbqueue.wire import payload

        client.link.send([m.Submit([m.Task("r1", "tasks.add", "", payload.dumps_arguments((1, 2), {}))])])
        assert client.value("r1") == 3


# ── retries ──────────────────────────────────────────────────────────────────────────────────────


def test_a_task_that_retries_itself_runs_again_under_the_same_id(client):
    def flaky(self):
        if self.request.retries < 2:
            raise self.retry(countdown=0)
        return self.request.retries

    id = client.submit(flaky, options={"bind": True})
    assert client.value(id) == 2
    assert client.outcomes[id].retries == 2


def test_three_retries_are_four_runs_and_then_the_original_exception(client):
    def never(self):
        print("run", self.request.retries)
        raise OSError("down")

    options = {"bind": True, "autoretry_for": (OSError,), "max_retries": 3, "default_retry_delay": 0.0}
    id = client.submit(never, options=options)
    outcome = client.outcome(id)
    assert (outcome.state, outcome.failure.type, outcome.failure.message) == (FAILURE, "OSError", "down")
    assert client.output(id) == "".join(f"run {n}\n" for n in range(4))


def test_retries_that_are_used_up_end_in_the_given_exception_or_say_so(client):
    def with_exc(self):
        raise self.retry(exc=ValueError("the cause"), countdown=0, max_retries=1)

    def without(self):
        raise self.retry(countdown=0, max_retries=1)

    first = client.outcome(client.submit(with_exc, options={"bind": True}))
    assert (first.failure.type, first.failure.message) == ("ValueError", "the cause")
    second = client.outcome(client.submit(without, options={"bind": True}))
    assert second.failure.type == "MaxRetriesExceededError"


def test_exceptions_that_are_not_listed_are_not_retried(client):
    def fail():
        raise KeyError("x")

    id = client.submit(fail, options={"autoretry_for": (OSError,)})
    assert client.outcome(id).failure.type == "KeyError"
    assert client.heard(m.Retrying, id) == []


def test_ignore_ends_a_task_without_a_value_and_reject_as_refused(client):
    def ignore():
        from nbqueue.exceptions import Ignore

        raise Ignore

    def reject():
        from nbqueue.exceptions import Reject

        raise Reject("not mine")

    ignored = client.outcome(client.submit(ignore))
    assert (ignored.state, ignored.value) == (SUCCESS, b"")
    assert client.outcome(client.submit(reject)).failure.type == "Reject"


def test_reject_with_requeue_puts_the_task_back(client):
    def reject_once(self):
        from nbqueue.exceptions import Reject

        if self.request.attempt == 1:
            raise Reject("later", requeue=True)
        return self.request.attempt

    assert client.value(client.submit(reject_once, options={"bind": True})) == 2


# ── while it runs ────────────────────────────────────────────────────────────────────────────────


def test_a_run_that_lasts_is_reported_as_started_and_a_short_one_is_not(client):
    def nap(seconds):
        import time

        time.sleep(seconds)

    long, short = client.submit(nap, 0.3), client.submit(nap, 0.0)
    client.outcome(short)
    assert client.wait_for(m.Started, long).worker == "w@test"
    assert client.heard(m.Started, short) == []
    started = client.messages.index(client.heard(m.Started, long)[0])
    assert not any(isinstance(x, m.Settle) for x in client.messages[:started])


def test_output_comes_while_the_task_runs_and_all_of_it_before_the_outcome(client):
    def talk():
        import sys
        import time

        print("hello")
        time.sleep(0.2)
        print("trouble", file=sys.stderr)
        print("bye", end="")

    id = client.submit(talk)
    first = client.wait_for(m.Output, id)
    assert (first.stream, first.text) == ("stdout", "hello\n")
    assert id not in client.outcomes
    client.outcome(id)
    assert client.output(id) == "hello\ntrouble\nbye"
    assert [piece.stream for piece in client.heard(m.Output, id)] == ["stdout", "stderr", "stdout"]


def test_output_outside_of_tasks_goes_where_it_always_went(client, capsys):
    def quiet():
        return None

    client.outcome(client.submit(quiet))
    print("mine")
    assert "mine" in capsys.readouterr().out


def test_progress_of_a_loop_is_reported_with_its_total(client):
    def work():
        import time

        from nbqueue import progress

        for _ in progress(range(10), description="epochs"):
            time.sleep(0.02)

    id = client.submit(work)
    client.outcome(id)
    reports = client.heard(m.Progress, id)
    assert (reports[-1].current, reports[-1].total, reports[-1].description) == (10.0, 10.0, "epochs")
    assert 1 < len(reports) <= 11
    assert [r.current for r in reports] == sorted(r.current for r in reports)


def test_progress_in_any_kind_of_numbers_and_texts_is_reported(client):
    def work():
        from fractions import Fraction
        from pathlib import Path

        from nbqueue import progress

        list(progress(range(2), total=Fraction(4), description=Path("data.csv")))

    id = client.submit(work)
    client.value(id)
    report = client.heard(m.Progress, id)[-1]
    assert (report.current, report.total, report.description) == (2.0, 4.0, "data.csv")


def test_a_custom_state_travels_with_its_meta_and_moves_the_progress(client):
    def work(self):
        self.update_state(state="LOADING", meta={"current": 3, "total": 9, "file": "a.csv"})

    id = client.submit(work, options={"bind": True})
    client.outcome(id)
    from nbqueue.wire import payload

    update = client.heard(m.Update, id)[-1]
    assert (update.state, payload.loads(update.meta)["file"]) == ("LOADING", "a.csv")
    assert (client.heard(m.Progress, id)[-1].current, client.heard(m.Progress, id)[-1].total) == (3.0, 9.0)


def test_a_finished_task_does_not_wait_behind_a_long_one(client):
    def quick():
        return "done"

    def nap():
        import time

        time.sleep(1.0)

    client.value(client.submit(quick))
    began = time.monotonic()
    first, second = client.submit(quick), client.submit(nap)
    assert client.value(first) == "done"
    assert time.monotonic() - began < 0.5
    assert second not in client.outcomes
    client.outcome(second)


def test_a_cancelled_task_is_interrupted_and_the_next_one_runs(client):
    def spin():
        while True:
            pass

    def add(a, b):
        return a + b

    id = client.submit(spin)
    client.wait_for(m.Started, id)
    client.link.send([m.Cancel([id])])
    assert client.outcome(id).state == REVOKED
    assert client.value(client.submit(add, 1, 1)) == 2


def test_a_soft_limit_is_an_exception_that_the_task_can_catch(client):
    def spin():
        from nbqueue.exceptions import SoftTimeLimitExceeded

        try:
            while True:
                pass
        except SoftTimeLimitExceeded:
            return "cleaned up"

    assert client.value(client.submit(spin, soft_time_limit=0.2)) == "cleaned up"


def test_tasks_that_wait_behind_a_long_one_are_given_back_to_an_idle_executor(client, url):
    def work(seconds):
        import time

        time.sleep(seconds)
        return seconds

    client.value(client.submit(work, 0.0))
    long, *others = client.submit_many(work, [(1.0,), *[(0.0,)] * 5])
    with executor(url):
        client.wait(lambda: all(id in client.outcomes for id in others), timeout=0.9)
        assert long not in client.outcomes
        client.outcome(long)


# ── losing the broker's connection ───────────────────────────────────────────────────────────────


def test_a_broken_connection_is_noticed_and_nothing_is_lost(url):
    from nbqueue.core.broker import BrokerSettings

    def add(a, b):
        return a + b

    broker = memory.broker(url, BrokerSettings(worker_heartbeat=0.1))
    with executor(url) as running:
        client = Client(transport(url).connect())
        assert client.value(client.submit(add, 1, 1)) == 2
        broker.disconnect(running._exchange._link)
        broker.disconnect(running._control.link)
        assert client.value(client.submit(add, 2, 2)) == 4


def test_an_outcome_whose_connection_broke_is_sent_again(url):
    from nbqueue.core.broker import BrokerSettings

    def nap():
        import time

        time.sleep(0.4)
        return "kept"

    broker = memory.broker(url, BrokerSettings(worker_heartbeat=0.1))
    with executor(url) as running:
        client = Client(transport(url).connect())
        id = client.submit(nap)
        client.wait_for(m.Started, id)
        broker.disconnect(running._exchange._link)
        assert client.value(id) == "kept"
        assert client.heard(m.Requeued, id) == []


def test_stopping_finishes_the_running_task_and_gives_back_the_others(url):
    def work(seconds):
        import time

        time.sleep(seconds)
        return seconds

    with executor(url) as running:
        client = Client(transport(url).connect())
        client.value(client.submit(work, 0.0))
        first, second = client.submit_many(work, [(0.4,), (0.0,)])
        client.wait_for(m.Started, first)
        running.stop()
        assert client.value(first) == 0.4
        assert second not in client.outcomes
    with executor(url):
        assert client.value(second) == 0.0
