"""Values and results, whatever carries the messages, and wherever values are kept.

These run over each broker twice: its own results, and those of a Redis beside it.
"""

import asyncio
import gc
import time
import uuid
from typing import Any

import pytest

import nbqueue
from nbqueue import App

LIMIT = 20.0  # seconds for anything here; reached only when something is broken


@pytest.fixture(params=["own results", "results in Redis"])
def app(request: pytest.FixtureRequest, broker_url: str) -> App:
    """An application over each broker, with each place for values."""
    backend = None
    if request.param != "own results":
        backend = request.getfixturevalue("redis_url")
    return App(broker=broker_url, backend=backend)


def test_values_are_where_the_application_says(app: App) -> None:
    result = app.task(lambda: "value", name="where").delay()
    assert result.get(LIMIT) == "value"
    outcome = result.record.outcome
    assert outcome is not None
    assert (outcome.stored, outcome.value == b"") == (app.backend.url, bool(app.backend.url))


def test_a_value_comes_back(app: App) -> None:
    add = app.task(lambda x, y: x + y, name="add")
    assert add.delay(2, y=3).get(LIMIT) == 5


def test_an_exception_comes_back_with_its_type_and_its_lines(app: App) -> None:
    @app.task
    def divide(x: float) -> float:
        return 1 / x

    result = divide.delay(0)
    with pytest.raises(ZeroDivisionError) as raised:
        result.get(LIMIT)
    assert "divide" in [frame.name for frame in raised.traceback]
    assert "return 1 / x" in (result.traceback or "")
    assert (result.state, result.failed(), result.successful()) == ("FAILURE", True, False)
    assert isinstance(result.get(propagate=False), ZeroDivisionError)


def test_many_tasks_come_back_in_order(app: App) -> None:
    square = app.task(lambda x: x * x, name="square")
    group = square.map(range(2000))
    assert group.get(LIMIT) == [x * x for x in range(2000)]
    assert group.completed_count() == 2000


def test_a_result_is_found_again_by_its_id(app: App, broker_url: str) -> None:
    echo = app.task(lambda x: x, name="echo")
    first = echo.delay([1, 2])
    first.get(LIMIT)
    other = App(broker=broker_url)
    found = other.AsyncResult(first.id)
    assert found.get(LIMIT) == [1, 2]
    assert found == first
    assert found == first.id
    assert found.name == "echo"


def test_the_same_id_is_one_task(app: App) -> None:
    now = app.task(time.time_ns, name="now")
    id = str(uuid.uuid4())
    first = now.apply_async(task_id=id).get(LIMIT)
    assert now.apply_async(task_id=id).get(LIMIT) == first


def test_a_forgotten_result_is_gone(app: App) -> None:
    echo = app.task(lambda x: x, name="echo")
    result = echo.delay(1)
    result.get(LIMIT)
    result.forget()
    assert not app.AsyncResult(result.id).exists()


def test_an_ignored_result_keeps_only_its_state(app: App) -> None:
    echo = app.task(lambda x: x, name="echo", ignore_result=True)
    result = echo.delay(1)
    assert result.get(LIMIT) is None
    assert result.successful()


def test_results_are_awaited(app: App) -> None:
    @app.task
    def slow(x: int) -> int:
        time.sleep(0.3)
        return x

    async def main() -> list[int]:
        result = slow.delay(1)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(_awaited(result)), 0.01)
        return [await result, *await slow.map([2, 3])]

    async def _awaited(result: Any) -> Any:
        return await result

    assert asyncio.run(main()) == [1, 2, 3]


def test_a_future_has_the_outcome(app: App) -> None:
    echo = app.task(lambda x: 1 / x, name="inverse")
    assert echo.delay(2).future().result(LIMIT) == 0.5
    assert isinstance(echo.delay(0).future().exception(LIMIT), ZeroDivisionError)


def test_a_value_that_cannot_be_pickled_fails_the_task(app: App) -> None:
    @app.task
    def lock() -> Any:
        import threading

        return threading.Lock()

    with pytest.raises(nbqueue.SerializationError, match="return"):
        lock.delay().get(LIMIT)


def test_a_large_array_travels_both_ways(app: App) -> None:
    data = bytes(range(256)) * 40_000  # 10 MB
    echo = app.task(lambda x: x, name="echo")
    assert echo.delay(data).get(LIMIT) == data


def test_the_same_id_twice_is_one_task_with_one_result(app: App) -> None:
    add = app.task(lambda x, y: x + y, name="add")
    id = str(uuid.uuid4())
    first = add.apply_async((1, 2), task_id=id)
    second = add.apply_async((1, 2), task_id=id)
    assert (first.get(LIMIT), second.get(LIMIT)) == (3, 3)
    third = add.apply_async((1, 2), task_id=id)
    assert third.get(LIMIT) == 3


def test_a_future_keeps_what_it_waits_for(app: App) -> None:
    """Nobody but the callback holds the result."""

    @app.task
    def slow() -> str:
        time.sleep(0.5)
        return "done"

    called: list[str] = []
    future = slow.delay().future()
    slow.delay().then(lambda result: called.append(result.get()))
    gc.collect()
    assert future.result(LIMIT) == "done"
    end = time.monotonic() + LIMIT
    while not called:
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize("serializer", ["json", "msgpack"])
def test_plain_data_travels_without_pickles(app: App, serializer: str) -> None:
    plain = App("plain", broker=app.conf.broker, task_serializer=serializer, result_serializer=serializer)
    task = plain.task(lambda *args, **kwargs: [args, kwargs], name="plain.echo")
    result = task.delay(1, [2.5, None], key="ä")
    assert result.get(LIMIT) == [[1, [2.5, None]], {"key": "ä"}]
    assert result.record.outcome.value[:1] == serializer[:1].encode()
