"""What a task queue does, whatever carries its messages."""

import logging
import os
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nbqueue
from nbqueue import App
from nbqueue.result import allow_join_result

LIMIT = 20.0  # seconds for anything here; reached only when something is broken


def test_as_completed_yields_what_is_done_first(app: App) -> None:
    @app.task
    def wait(seconds: float) -> float:
        time.sleep(seconds)
        return seconds

    slow, fast = wait.delay(0.5), wait.delay(0.01)
    assert [r.get() for r in nbqueue.as_completed([slow, fast], timeout=LIMIT)] == [0.01, 0.5]


def test_globals_are_read_at_each_call(app: App) -> None:
    namespace: dict[str, Any] = {"__name__": "__main__", "K": 1}
    exec("def times(x):\n    return K * x\n", namespace)
    times = app.task(namespace["times"])
    assert times.delay(10).get(LIMIT) == 10
    namespace["K"] = 5
    assert times.delay(10).get(LIMIT) == 50


def test_a_redefined_function_is_a_new_function(app: App) -> None:
    namespace: dict[str, Any] = {"__name__": "__main__"}
    exec("def f():\n    return g()\ndef g():\n    return 'old'\n", namespace)
    f = app.task(namespace["f"])
    assert f.delay().get(LIMIT) == "old"
    exec("def g():\n    return 'new'\n", namespace)
    assert f.delay().get(LIMIT) == "new"


def test_what_a_task_prints_is_seen(app: App) -> None:
    @app.task
    def talk() -> None:
        print("to stdout")
        print("to stderr", file=sys.stderr)

    result = talk.delay()
    result.get(LIMIT)
    assert result.output == "to stdout\nto stderr\n"


def test_what_a_task_logs_is_seen(app: App, broker_url: str) -> None:
    if broker_url.startswith("memory"):
        pytest.skip("the log of this process is the test runner's")

    @app.task
    def talk() -> None:
        logging.getLogger("mine").warning("to the log")

    result = talk.delay()
    result.get(LIMIT)
    assert "to the log" in result.output


def test_progress_and_output_are_seen_while_it_runs(app: App) -> None:
    @app.task
    def steps() -> str:
        for _ in nbqueue.progress(range(10), description="steps"):
            print("step")
            time.sleep(0.1)
        return "done"

    result = steps.delay()
    end = time.monotonic() + LIMIT
    while not (result.progress and result.progress.current >= 2 and "step" in result.output):
        assert time.monotonic() < end
        assert not result.ready(), "progress was only seen at the end"
        time.sleep(0.01)
    assert result.progress.total == 10
    assert result.progress.description == "steps"
    assert result.state == "STARTED"
    assert result.get(LIMIT) == "done"
    assert repr(result.progress) == "<Progress 10/10 (100%) steps>"


def test_a_custom_state_with_its_meta_is_seen(app: App) -> None:
    @app.task(bind=True)
    def work(self: Any) -> str:
        self.update_state(state="LOADING", meta={"file": "a.csv"})
        time.sleep(1.0)
        return str(self.request.id)

    result = work.delay()
    end = time.monotonic() + LIMIT
    while result.state != "LOADING":
        assert time.monotonic() < end
        assert not result.ready()
        time.sleep(0.01)
    assert result.info == {"file": "a.csv"}
    assert result.get(LIMIT) == result.id


def test_what_happens_to_a_task_is_told_to_whoever_waits_for_it(app: App) -> None:
    @app.task(bind=True)
    def work(self: Any) -> int:
        self.update_state(state="HALF", meta={"done": 1})
        time.sleep(0.3)
        return 7

    told: list[dict[str, Any]] = []
    waited: list[None] = []
    result = work.delay()
    value = result.get(LIMIT, interval=0.05, on_message=told.append, on_interval=lambda: waited.append(None))
    assert value == 7
    assert [body["status"] for body in told][-2:] == ["HALF", "SUCCESS"]
    assert told[-2]["result"] == {"done": 1}
    assert told[-1] == {
        "task_id": result.id, "status": "SUCCESS", "result": 7, "traceback": None, "children": [],
    }  # fmt: skip
    assert waited


def test_a_running_task_says_in_which_process(app: App) -> None:
    @app.task
    def work() -> int:
        time.sleep(1)
        return os.getpid()

    result = work.delay()
    while result.state != "STARTED":
        time.sleep(0.01)
    info = result.info
    assert info["pid"] == result.get(LIMIT)
    assert info["hostname"] == result.worker


def test_a_timeout_that_has_passed_says_why_the_task_is_not_done(app: App) -> None:
    @app.task
    def work() -> None:
        """Nothing."""

    result = work.apply_async(countdown=0.3)
    with pytest.raises(TimeoutError, match="is not done after 0 s: "):
        result.get(timeout=-1)
    with pytest.raises(TypeError, match="timeout is a number of seconds"):
        result.get(timeout="a")
    assert result.get(LIMIT) is None


def test_a_retry_runs_the_task_again(app: App) -> None:
    @app.task(bind=True, max_retries=3, default_retry_delay=0)
    def third_time(self: Any) -> int:
        if self.request.retries < 2:
            raise self.retry(exc=ValueError("not yet"))
        return int(self.request.retries)

    result = third_time.delay()
    assert result.get(LIMIT) == 2
    assert result.retries == 2


def test_automatic_retries_end_with_the_original_exception(app: App) -> None:
    @app.task(bind=True, autoretry_for=(KeyError,), max_retries=2, default_retry_delay=0)
    def never(self: Any) -> None:
        raise KeyError(self.request.retries)

    with pytest.raises(KeyError, match="2"):
        never.delay().get(LIMIT)


def test_a_running_task_is_cancelled(app: App) -> None:
    @app.task
    def long() -> None:
        for _ in range(600):
            time.sleep(0.1)

    result = long.delay()
    end = time.monotonic() + LIMIT
    while result.state != "STARTED":
        assert time.monotonic() < end
        time.sleep(0.01)
    result.cancel()
    with pytest.raises(nbqueue.TaskRevokedError):
        result.get(LIMIT)
    assert result.state == "REVOKED"
    result.cancel()


def test_a_task_that_heeds_nothing_is_killed_by_signal(app: App, broker_url: str) -> None:
    if broker_url.startswith("memory:"):
        pytest.skip("a thread cannot be killed")

    @app.task
    def stubborn() -> None:
        while True:
            try:
                time.sleep(10)
            except BaseException:
                continue

    result = stubborn.delay()
    while result.state != "STARTED":
        time.sleep(0.01)
    with pytest.raises(ValueError, match="signal is one of INT, TERM, QUIT, ABRT, KILL, not 'HUP'"):
        result.revoke(terminate=True, signal="HUP")
    result.revoke(terminate=True, signal="SIGKILL", wait=True)
    with pytest.raises(nbqueue.TaskRevokedError):
        result.get(LIMIT)


def test_a_waiting_task_is_cancelled_and_never_runs(app: App) -> None:
    f = app.task(lambda: 1, name="f")
    result = f.apply_async(queue="nobody")
    result.revoke()
    with pytest.raises(nbqueue.TaskRevokedError):
        result.get(LIMIT)


def test_get_gives_up_after_its_timeout_and_says_why_it_would_wait(app: App) -> None:
    f = app.task(lambda: 1, name="f")
    result = f.apply_async(queue="gpu")
    with pytest.raises(TimeoutError, match="no worker consumes queue 'gpu'"):
        result.get(timeout=0.2)
    assert result.state == "PENDING"
    result.revoke()


def test_a_countdown_is_waited_for(app: App) -> None:
    f = app.task(time.time, name="f")
    sent = time.time()
    assert f.apply_async(countdown=0.5).get(LIMIT) - sent >= 0.5


def test_an_expired_task_is_revoked(app: App) -> None:
    f = app.task(lambda: 1, name="f")
    with pytest.raises(nbqueue.TaskRevokedError, match="expired"):
        f.apply_async(queue="nobody", expires=0.1).get(LIMIT)


def test_a_soft_time_limit_is_raised_in_the_task(app: App) -> None:
    @app.task(soft_time_limit=0.3)
    def careful() -> str:
        try:
            for _ in range(100):
                time.sleep(0.1)
        except nbqueue.SoftTimeLimitExceeded:
            return "cleaned up"
        return "was not stopped"

    assert careful.delay().get(LIMIT) == "cleaned up"


def test_a_hard_time_limit_ends_the_task(app: App, broker_url: str) -> None:
    if broker_url.startswith("memory"):
        pytest.skip("a thread cannot be killed: hard limits need processes")

    @app.task(time_limit=0.3)
    def endless() -> None:
        while True:
            time.sleep(0.1)

    with pytest.raises(nbqueue.TimeLimitExceeded, match=r"0\.3 s"):
        endless.delay().get(LIMIT)


def test_an_unknown_id_is_pending_and_has_no_result(app: App) -> None:
    result = app.AsyncResult(str(uuid.uuid4()))
    assert result.state == "PENDING"
    assert not result.ready()
    assert not result.exists()
    with pytest.raises(nbqueue.ResultNotFoundError):
        result.get(LIMIT)


def test_accepted_is_said(app: App) -> None:
    echo = app.task(lambda x: x, name="echo")
    result = echo.delay(1)
    result.wait_accepted(LIMIT)
    assert result.accepted
    assert app.flush(LIMIT)


def test_what_cannot_be_pickled_is_said_at_once(app: App) -> None:
    import threading

    echo = app.task(lambda x: x, name="echo")
    with pytest.raises(nbqueue.SerializationError, match="argument 1"):
        echo.delay(threading.Lock())


def test_a_wrong_call_raises_at_once(app: App) -> None:
    @app.task(bind=True)
    def f(self: Any, x: int, *, y: int = 2) -> int:
        return x + y

    with pytest.raises(TypeError, match="missing"):
        f.delay()
    with pytest.raises(TypeError, match="unexpected"):
        f.delay(1, z=3)
    assert f.delay(1, y=4).get(LIMIT) == 5


def test_a_missing_module_is_named(app: App) -> None:
    @app.task
    def needs() -> None:
        import no_such_module_anywhere  # noqa: F401

    with pytest.raises(ModuleNotFoundError, match="no_such_module_anywhere"):
        needs.delay().get(LIMIT)


def _waits_where_it_may(inner: Any) -> int:
    with allow_join_result():
        value: int = inner.delay(1).get()
    return value


def test_a_task_must_not_wait_for_another_unless_it_insists(app: App, broker_url: str) -> None:
    if broker_url.startswith("memory"):
        pytest.skip("in this process, the default broker is not that of the test")
    inner = app.task(lambda x: x + 1, name="inner")
    waits = app.task(lambda x: inner.delay(x).get(), name="waits")
    with pytest.raises(RuntimeError, match="must not wait"):
        waits.delay(1).get(LIMIT)
    insists = app.task(lambda x: inner.delay(x).get(disable_sync_subtasks=False), name="insists")
    assert insists.delay(1).get(LIMIT) == 2
    allows = app.task(_waits_where_it_may, name="allows")
    assert allows.delay(inner).get(LIMIT) == 2


def test_a_bound_task_has_an_application_and_a_logger(app: App, broker_url: str) -> None:
    if broker_url.startswith("memory"):
        pytest.skip("in this process, the default broker is not that of the test")
    app.task(lambda x: x + 1, name="conformance.inner")

    @app.task(bind=True, name="conformance.outer")
    def outer(self: Any, url: str) -> tuple[str, str]:
        self.get_logger().warning("sending")
        result = self.app.AsyncResult("nobody-knows")
        return self.name, result.state

    result = outer.delay(broker_url)
    assert result.get(LIMIT) == ("conformance.outer", "PENDING")
    assert "sending" in result.output


def test_a_bound_task_sends_itself_again(app: App, broker_url: str) -> None:
    if broker_url.startswith("memory"):
        pytest.skip("in this process, the default broker is not that of the test")

    @app.task(bind=True, priority=4)
    def pages(self: Any, number: int) -> Any:
        if number == 0:
            return self.delay(1).id
        if number == 1:
            return self.apply_async((2,), countdown=0.01).id, self.AsyncResult("x").id, repr(self.s(3))
        return self.queue, self.priority, self.request.parent_id

    first = pages.delay(0)
    second = app.AsyncResult(first.get(LIMIT))
    third, asked, said = second.get(LIMIT)
    assert (asked, said) == ("x", f"{pages.name}(3)")
    assert app.AsyncResult(third).get(LIMIT) == ("default", 4, second.id)


def test_a_task_sends_tasks_and_they_know_where_they_came_from(app: App, broker_url: str) -> None:
    if broker_url.startswith("memory"):
        pytest.skip("in this process, the default broker is not that of the test")
    inner = app.task(lambda self: (self.request.parent_id, self.request.root_id), name="inner", bind=True)
    middle = app.task(lambda: inner.delay().id, name="middle")
    outer = app.task(lambda self: (self.request.root_id, middle.delay().id), name="outer", bind=True)
    result = outer.delay()
    root, middle_id = result.get(LIMIT)
    inner_id = app.AsyncResult(middle_id).get(LIMIT)
    assert root == result.id
    assert app.AsyncResult(inner_id).get(LIMIT) == (middle_id, result.id)


def test_one_badly_typed_option_harms_no_other_task(app: App) -> None:
    add = app.task(lambda x, y: x + y, name="add")
    before = add.delay(1, 2)
    with pytest.raises(ValueError, match="expires"):
        add.apply_async((1, 2), expires="soon")
    assert add.apply_async((1, 2), countdown=np.float64(0.01), queue=np.str_("default")).get(LIMIT) == 3
    assert before.get(LIMIT) == 3


def test_all_that_a_task_printed_is_there_as_long_as_it_is_little(app: App) -> None:
    @app.task
    def talk() -> None:
        for number in range(5000):
            print("x" * 100, number)

    result = talk.delay()
    result.get(LIMIT)
    assert result.output == "".join(f"{'x' * 100} {number}\n" for number in range(5000))


class Counting(nbqueue.Task):
    """A base of tasks, which goes along to the workers."""

    max_retries = 7
    count = 0

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        self.count += 1

    def twice(self, x: int) -> int:
        return 2 * x


def test_self_is_an_object_of_the_tasks_own_class(app: App) -> None:
    @app.task(base=Counting, bind=True)
    def bound(self: Any, x: int) -> tuple[Any, ...]:
        return self.twice(x), self.count > 0, self.max_retries, self.request.id, self.name

    result = bound.delay(3)
    assert result.get(LIMIT) == (6, True, 7, result.id, bound.name)


def test_a_class_with_a_run_is_a_task(app: App) -> None:
    class Add(Counting):
        def run(self, x: int, y: int) -> int:
            return self.twice(x) + y + super().twice(0)

    assert app.register_task(Add()).delay(1, y=2).get(LIMIT) == 4


def test_items_of_a_generator_are_read_as_they_are_yielded(app: App) -> None:
    @app.task
    def count(n: int) -> Any:
        for i in range(n):
            yield i
            if i == 0:
                time.sleep(0.3)

    result = count.delay(500)
    stream = result.stream(window=16, timeout=LIMIT)
    assert next(stream) == 0
    assert not result.ready()
    assert list(stream) == list(range(1, 500))
    assert result.get(LIMIT) == list(range(500))


def test_headers_of_a_call_reach_the_task(app: App) -> None:
    @app.task(bind=True)
    def tell(self: Any) -> Any:
        return self.request.tenant, self.request.called_directly

    assert tell.apply_async(headers={"tenant": 7}).get(LIMIT) == (7, False)


def test_a_periodic_task_fires_until_it_is_removed(app: App) -> None:
    add = app.task(lambda x, y: x + y, name="periodic.add")
    app.conf.beat_schedule = {"adds": {"task": "periodic.add", "schedule": 0.1, "args": (2, 3)}}
    firings: set[str] = set()
    deadline = time.monotonic() + LIMIT
    while len(firings) < 3:
        assert time.monotonic() < deadline
        (entry,) = app.beat()  # again and again: it is the same one
        if entry.last is not None and entry.last.id not in firings:
            assert entry.last.get(LIMIT) == 5
            firings.add(entry.last.id)
        time.sleep(0.02)
    app.remove_periodic_task("adds")
    app.conf.beat_schedule = {}
    assert app.beat() == []
    assert add.delay(1, 1).get(LIMIT) == 2


def test_a_task_that_is_started_at_most_once_says_so_when_its_process_dies(
    app: App, broker_url: str, tmp_path: Path
) -> None:
    if broker_url.startswith("memory"):
        pytest.skip("a thread cannot be killed")
    log = str(tmp_path / "starts")

    @app.task(acks_late=False)
    def die() -> None:
        with open(log, "a") as file:
            file.write("started\n")
        os._exit(3)

    @app.task(acks_late=False)
    def live() -> int:
        return 1

    with pytest.raises(nbqueue.WorkerLostError, match=r"exit code 3(.|\n)*is not started again"):
        die.delay().get(LIMIT)
    assert Path(log).read_text() == "started\n"
    assert live.delay().get(LIMIT) == 1


def test_a_task_that_is_started_at_most_once_may_ask_for_another_run(app: App) -> None:
    @app.task(bind=True, acks_late=False)
    def again(self: Any) -> int:
        if self.request.retries < 2:
            raise self.retry(countdown=0.01)
        return int(self.request.retries)

    assert again.delay().get(LIMIT) == 2
