"""What a person sees past each limit, through a broker and executors in this process."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

import nbqueue
from nbqueue import App
from nbqueue.core.broker import BrokerSettings
from nbqueue.exceptions import ResultNotFoundError, SerializationError, SubmissionRefused
from nbqueue.testing import InProcessCluster

LIMIT = 20.0

Connect = Callable[..., App]


@pytest.fixture
def connect() -> Iterator[Connect]:
    """An application whose broker has these settings; ``executors`` of them behind it."""
    opened: list[tuple[InProcessCluster, App]] = []

    def connect(executors: int = 1, **settings: Any) -> App:
        cluster = InProcessCluster(executors, settings=BrokerSettings(**settings))
        cluster.__enter__()
        app = App(broker=cluster.url)
        opened.append((cluster, app))
        return app

    yield connect
    for cluster, app in opened:
        app.close()
        cluster.__exit__(None, None, None)


def test_arguments_that_are_too_large_are_refused_at_the_call(connect: Connect) -> None:
    size = connect(max_payload_bytes=100_000).task(len, name="size")
    assert size.delay(b"x" * 99_000).get(LIMIT) == 99_000
    with pytest.raises(SerializationError) as raised:
        size.delay(b"x" * 100_000)
    for words in (
        "the arguments of size(): 100,",
        "at most 100,000 travel",
        "max_payload_bytes",
        "to a file",
    ):
        assert words in str(raised.value)


def test_what_a_function_reads_from_the_notebook_may_not_be_too_large_either(connect: Connect) -> None:
    namespace: dict[str, Any] = {"__name__": "__main__", "DATA": b"x" * 200_000}
    exec("def size():\n    return len(DATA)\n", namespace)
    size = connect(max_payload_bytes=100_000).task(namespace["size"])
    with pytest.raises(SerializationError, match=r"the function, with what it uses.*at most 100,000 travel"):
        size.delay()


def test_a_value_that_is_too_large_ends_its_task_in_an_error_that_says_so(connect: Connect) -> None:
    make = connect(max_payload_bytes=100_000).task(lambda n: b"x" * n, name="make")
    with pytest.raises(SerializationError, match=r"the return value of make\(\): 200,.* at most 100,000"):
        make.delay(200_000).get(LIMIT)
    assert len(make.delay(50_000).get(LIMIT)) == 50_000


def test_a_meta_that_is_too_large_is_an_error_of_the_task(connect: Connect) -> None:
    app = connect(max_payload_bytes=100_000)

    @app.task(bind=True)
    def report(self: Any) -> None:
        self.update_state(meta=b"x" * 200_000)

    with pytest.raises(SerializationError, match="the meta of update_state"):
        report.delay().get(LIMIT)


def test_tasks_past_what_a_queue_takes_are_refused_and_the_others_run(connect: Connect) -> None:
    app = connect(executors=0, max_queued=10)
    results = app.task(lambda n: n, name="same").map(range(12))
    for result in list(results)[10:]:
        with pytest.raises(SubmissionRefused, match="queue 'default' is full"):
            result.get(LIMIT)
    assert results[9].why().startswith("no worker is connected")


def test_a_refused_task_can_be_submitted_again_when_there_is_room(connect: Connect) -> None:
    app = connect(executors=0, max_queued=1)
    same = app.task(lambda n: n, name="same")
    first, second = same.delay(1), same.delay(2)
    with pytest.raises(SubmissionRefused):
        second.wait_accepted(LIMIT)
    first.cancel()
    with pytest.raises(nbqueue.TaskRevokedError):
        first.get(LIMIT)
    same.delay(3).wait_accepted(LIMIT)


def test_an_old_result_makes_room_and_its_id_says_so(connect: Connect) -> None:
    app = connect(max_results=5)
    same = app.task(lambda n: n, name="same")
    results = [same.delay(n) for n in range(20)]
    assert [result.get(LIMIT) for result in results] == list(range(20))
    assert results[0].get() == 0  # it is here already
    again = app.AsyncResult(results[0].id)
    assert again is not results[0]
    id = results[0].id
    del results, again
    with pytest.raises(ResultNotFoundError, match="expired or forgotten"):
        app.AsyncResult(id).get(LIMIT)


def test_a_task_that_prints_without_end_keeps_its_beginning_and_its_end(connect: Connect) -> None:
    app = connect(max_output_bytes=100_000)

    @app.task
    def talk() -> None:
        for number in range(200_000):
            print("line", number)
        print("the end")

    result = talk.delay()
    result.get(LIMIT)
    seen = app.AsyncResult(result.id).output
    assert seen.startswith("line ")
    assert seen.endswith("the end\n")
    assert "characters of output dropped" in seen
    assert len(seen) < 2**20
