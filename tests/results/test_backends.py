"""Results that the broker does not keep: a backend of one's own, and none at all."""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

import nbqueue
from nbqueue import App, results
from nbqueue.exceptions import (
    ConfigurationError,
    ResultBackendError,
    ResultNotFoundError,
    ResultsDisabledError,
)
from nbqueue.messages import Assignment, Task
from nbqueue.results.base import ResultBackend, StoredValue
from nbqueue.testing import InProcessCluster
from nbqueue.worker.executor.storage import Storage

LIMIT = 20.0
URL = f"{__name__}:MemoryBackend"


class MemoryBackend(ResultBackend):
    """Keeps values in a dict: all that a backend has to do."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.values: dict[str, StoredValue] = {}

    def store(self, values: Sequence[StoredValue], expires: float) -> None:
        self.values |= {value.id: value for value in values}

    def load(self, id: str, token: int) -> bytes | None:
        value = self.values.get(id)
        return value.data if value is not None and value.token == token else None

    def forget(self, ids: Sequence[str]) -> None:
        for id in ids:
            self.values.pop(id, None)


class FullBackend(MemoryBackend):
    """Has no room."""

    def store(self, values: Sequence[StoredValue], expires: float) -> None:
        raise OSError("no room")


@pytest.fixture(scope="module")
def cluster() -> Iterator[InProcessCluster]:
    with InProcessCluster() as made:
        yield made


def app_with(cluster: InProcessCluster, backend: str) -> App:
    return App("tasks", broker=cluster.url, backend=backend, set_as_current=False)


def kept() -> dict[str, StoredValue]:
    backend = results.result_backend(URL)
    assert isinstance(backend, MemoryBackend)
    return backend.values


def double(x: int) -> int:
    return 2 * x


def test_a_value_is_kept_by_the_backend_and_not_by_the_broker(cluster: InProcessCluster) -> None:
    app = app_with(cluster, URL)
    result = app.task(double).delay(21)
    assert result.get(LIMIT) == 42
    assert result.id in kept()
    assert result.record.outcome is not None
    assert result.record.outcome.value == b""
    assert result.backend.as_uri() == URL
    assert app.AsyncResult(result.id).get(LIMIT) == 42


def test_errors_and_states_are_with_the_broker_as_ever(cluster: InProcessCluster) -> None:
    result = app_with(cluster, URL).task(lambda: 1 / 0, name="divide").delay()
    with pytest.raises(ZeroDivisionError):
        result.get(LIMIT)
    assert (result.state, result.id in kept()) == ("FAILURE", False)


def test_what_is_forgotten_is_deleted_there_too(cluster: InProcessCluster) -> None:
    result = app_with(cluster, URL).task(double).delay(1)
    result.get(LIMIT)
    result.forget()
    assert result.id not in kept()


def test_a_value_that_is_gone_is_told(cluster: InProcessCluster) -> None:
    result = app_with(cluster, URL).task(double).delay(1)
    result.wait_accepted(LIMIT)
    while not result.ready():
        pass
    kept().pop(result.id)
    with pytest.raises(ResultNotFoundError, match="no value"):
        result.get(LIMIT)


def test_a_value_of_a_run_that_came_too_late_is_not_taken(cluster: InProcessCluster) -> None:
    result = app_with(cluster, URL).task(double).delay(1)
    while not result.ready():
        pass
    kept()[result.id] = kept()[result.id]._replace(token=1)
    with pytest.raises(ResultNotFoundError):
        result.get(LIMIT)


def test_a_task_whose_value_cannot_be_stored_has_failed(cluster: InProcessCluster) -> None:
    result = app_with(cluster, f"{__name__}:FullBackend").task(double).delay(1)
    with pytest.raises(ResultBackendError, match="no room"):
        result.get(LIMIT)


def test_rpc_means_the_broker(cluster: InProcessCluster) -> None:
    app = app_with(cluster, "rpc://")
    result = app.task(double).delay(2)
    assert result.get(LIMIT) == 4
    assert "rpc://" in repr(result.backend)
    assert cluster.url in repr(app.backend)


def test_without_results_everything_that_asks_for_one_says_so(cluster: InProcessCluster) -> None:
    app = app_with(cluster, "disabled://")
    result = app.task(double).delay(2)
    asks: list[Any] = [
        result.get, result.ready, result.successful, result.failed, result.exists, result.future,
        lambda: result.state, lambda: result.result, lambda: result.traceback, app.AsyncResult(result.id).get,
    ]  # fmt: skip
    for ask in asks:
        with pytest.raises(ResultsDisabledError, match="disabled://"):
            ask()
    assert result.record.outcome is None or result.record.outcome.value == b""
    assert "not kept" in repr(result.backend)
    assert isinstance(nbqueue.ResultsDisabledError(), NotImplementedError)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("mongodb://u:secret@there/", "none of ours"),
        ("nonsense", "there are: rpc://, disabled://"),
        ("nbq_nowhere:Backend", "cannot be loaded"),
        (f"{__name__}:Nothing", "cannot be loaded"),
        (f"{__name__}:double", "no subclass"),
    ],
)
def test_a_backend_that_cannot_be_is_told_where_it_is_first_used(
    cluster: InProcessCluster, url: str, told: str
) -> None:
    task = app_with(cluster, url).task(double)
    with pytest.raises(ConfigurationError, match=told) as raised:
        task.delay(1)
    assert "secret" not in str(raised.value)


def test_a_worker_that_loads_no_pickles_lets_no_task_name_a_class() -> None:
    assignment = Assignment(Task("id", "f", "", b"", backend=f"{__name__}:FullBackend"), 7)
    assert Storage(trusts=False).keep(assignment, b"value") == (b"value", "")
    with pytest.raises(ResultBackendError):
        Storage().keep(assignment, b"value")


def test_a_workers_own_backend_counts_where_the_task_names_none() -> None:
    assignment = Assignment(Task("own", "f", "", b""), 7)
    assert Storage(URL).keep(assignment, b"value") == (b"", URL)
    assert kept()["own"] == StoredValue("own", 7, b"value")
    assert Storage("disabled://").keep(assignment, b"value") == (b"", "")
