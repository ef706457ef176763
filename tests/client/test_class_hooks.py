"""Classes of tasks on a worker: their methods are called around each run, on one object a process."""

import sys
import types
from collections.abc import Iterator
from typing import Any

import pytest

import nbqueue
from nbqueue import signals
from nbqueue.testing import InProcessCluster

LIMIT = 20.0


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Where tasks, which travel by value to threads of this process, say what happened."""
    place = types.ModuleType("class_hooks_told")
    place.told = []
    monkeypatch.setitem(sys.modules, place.__name__, place)
    return place.told


@pytest.fixture
def app() -> Iterator[nbqueue.App]:
    with InProcessCluster() as cluster:
        app = nbqueue.App("tasks", broker=cluster.url)
        yield app
        app.close()


@pytest.fixture
def base(told: list[Any]) -> type:
    class Base(nbqueue.Task):
        _connection = None

        @property
        def connection(self) -> object:
            if self._connection is None:
                self._connection = object()
            return self._connection

        def _tell(self, *what: Any) -> None:
            from class_hooks_told import told

            told.append(what)

        def before_start(self, task_id: Any, args: Any, kwargs: Any) -> None:
            self._tell("before_start", args)

        def on_success(self, retval: Any, task_id: Any, args: Any, kwargs: Any) -> None:
            self._tell("on_success", retval, self.request.id == task_id)

        def on_retry(self, exc: Any, task_id: Any, args: Any, kwargs: Any, einfo: Any) -> None:
            self._tell("on_retry", repr(exc), self.request.retries)

        def on_failure(self, exc: Any, task_id: Any, args: Any, kwargs: Any, einfo: Any) -> None:
            self._tell("on_failure", repr(exc), einfo.traceback.splitlines()[-1])

        def after_return(
            self, status: str, retval: Any, task_id: Any, args: Any, kwargs: Any, einfo: Any
        ) -> None:
            self._tell("after_return", status)

    return Base


def test_a_run_that_returns(app: nbqueue.App, base: type, told: list[Any]) -> None:
    @app.task(base=base, bind=True)
    def double(self: Any, x: int) -> int:
        return 2 * x

    assert double.delay(4).get(LIMIT) == 8
    assert told == [("before_start", (4,)), ("on_success", 8, True), ("after_return", "SUCCESS")]


def test_runs_that_fail_and_are_repeated(app: nbqueue.App, base: type, told: list[Any]) -> None:
    @app.task(base=base, autoretry_for=(OSError,), max_retries=1, default_retry_delay=0)
    def fail() -> None:
        raise OSError("down")

    with pytest.raises(OSError, match="down"):
        fail.delay().get(LIMIT)
    assert told == [
        ("before_start", ()),
        ("on_retry", "OSError('down')", 0),
        ("after_return", "RETRY"),
        ("before_start", ()),
        ("on_failure", "OSError('down')", "OSError: down"),
        ("after_return", "FAILURE"),
    ]


def test_self_is_one_object_for_all_runs_of_a_process(app: nbqueue.App, base: type) -> None:
    @app.task(base=base, bind=True)
    def where(self: Any) -> int:
        return id(self.connection)

    assert where.delay().get(LIMIT) == where.delay().get(LIMIT)


def test_a_generator_of_a_class_streams_and_may_ask_for_another_run(app: nbqueue.App, base: type) -> None:
    @app.task(base=base, bind=True)
    def count(self: Any, n: int) -> Any:
        yield from range(n)
        if self.request.retries == 0:
            raise self.retry(args=(n + 2,), countdown=0)

    assert list(count.delay(3).stream(timeout=LIMIT)) == [0, 1, 2, 3, 4]


def test_signals_are_sent_by_the_task_and_its_name_and_object_are_the_same_sender(
    app: nbqueue.App, base: type
) -> None:
    @app.task(base=base)
    def named() -> str:
        return "value"

    @app.task
    def other() -> None: ...

    heard = []

    def hear(sender: Any = None, result: Any = None, **told: Any) -> None:
        heard.append((sender.name, result))

    signals.task_success.connect(hear, sender=named)
    try:
        other.delay().get(LIMIT)
        named.delay().get(LIMIT)
    finally:
        signals.task_success.disconnect(hear, sender=named)
    assert heard == [(named.name, "value")]
