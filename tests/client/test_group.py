"""Many results as one, over a cluster in this process."""

import asyncio
import pickle
import time
from collections.abc import Iterator
from typing import Any

import pytest

from nbqueue import App, GroupResult, ResultSet, chord, group
from nbqueue.client.task import Task
from nbqueue.exceptions import IncompleteStream, TimeoutError
from nbqueue.result import AsyncResult, result_from_tuple
from nbqueue.testing import InProcessCluster

LIMIT = 20.0


@pytest.fixture(scope="module")
def app() -> Iterator[App]:
    with InProcessCluster(executors=2) as cluster:
        application = App("groups", broker=cluster.url)
        yield application
        application.close()


@pytest.fixture(scope="module")
def add(app: App) -> Task:
    return app.task(lambda x, y: x + y, name="groups.add")


@pytest.fixture(scope="module")
def nap(app: App) -> Task:
    return app.task(_nap, name="groups.nap")


@pytest.fixture(scope="module")
def bad(app: App) -> Task:
    return app.task(_bad, name="groups.bad")


def _nap(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def _bad() -> None:
    raise KeyError("bad")


def test_a_set_of_results_grows_and_shrinks(add: Task) -> None:
    first, second, third = (add.delay(n, n) for n in range(3))
    results = ResultSet([first])
    results.add(second)
    results.add(second)
    results.update([second, third])
    assert results.results == [first, second, third]
    assert (len(results), results[1], list(results), third in results) == (
        3,
        second,
        [first, second, third],
        True,
    )
    assert results.get(LIMIT) == results.join(LIMIT) == results.join_native(LIMIT) == [0, 2, 4]
    results.remove(second.id)
    results.discard(second)
    with pytest.raises(KeyError):
        results.remove(second)
    assert results == ResultSet([first, third])
    results.clear()
    assert results.get() == []


def test_it_says_how_far_all_of_them_are(add: Task, nap: Task, bad: Task) -> None:
    results = ResultSet([add.delay(1, 1), nap.delay(0.5), bad.delay()])
    assert results.waiting()
    assert not results.ready()
    with pytest.raises(KeyError, match="bad"):
        results.get(LIMIT)
    assert (results.completed_count(), results.waiting(), results.failed(), results.successful()) == (
        2, False, True, False,
    )  # fmt: skip
    with pytest.raises(KeyError, match="bad"):
        results.maybe_throw()
    values = results.get(LIMIT, propagate=False)
    assert values[:2] == [2, 0.5]
    assert isinstance(values[2], KeyError)


def test_values_come_as_they_are_done(nap: Task) -> None:
    results = group(nap.s(0.5), nap.s(0.0))()
    assert list(results.iterate(LIMIT)) == [0.0, 0.5]
    known = dict(results.iter_native(LIMIT))
    assert known[results[0].id]["result"] == 0.5
    assert known[results[1].id]["status"] == "SUCCESS"
    with pytest.raises(TimeoutError):
        list(group(nap.s(0.5))().iterate(0.01))


def test_groups_inside_give_lists(add: Task) -> None:
    results = group(add.s(1, 1), group(add.s(2, 2), add.s(3, 3)), add.s(1, 1) | add.s(5))()
    assert results.get(LIMIT) == [2, [4, 6], 7]
    assert results.completed_count() == 3
    assert [task.get(LIMIT) for task in results.tasks] == [2, 4, 6, 2, 7]
    seen: list[Any] = []
    results.get(LIMIT, callback=lambda id, value: seen.append(value))
    assert seen == [2, 4, 6, 7]
    assert asyncio.run(_awaited(results)) == [2, [4, 6], 7]


async def _awaited(results: Any) -> Any:
    return await results


def test_a_group_comes_out_of_a_tuple_as_what_it_was(app: App, add: Task) -> None:
    result = (add.s(1, 1) | group(add.s(2), add.s(3)) | add.s([])).apply_async()
    assert result.get(LIMIT, propagate=False) is not None
    back = result_from_tuple(result.as_tuple(), app)
    assert back == result
    assert back.parent == result.parent
    assert back.parent.get(LIMIT) == [4, 5]
    assert back.parent.parent.get(LIMIT) == 2
    assert back.as_list() == [result.id, result.parent.id, result.parent.parent.id]
    again = pickle.loads(pickle.dumps(result))
    assert [node.id for node in again.ancestors()] == [node.id for node in result.ancestors()]


def test_a_long_chain_is_no_trouble(app: App, add: Task) -> None:
    result = add.delay(1, 1)
    for _ in range(5000):
        result = AsyncResult(result.id, app.client, parent=result)
    assert len(list(pickle.loads(pickle.dumps(result)).ancestors())) == 5000
    assert len(result.as_list()) == 5001
    result.forget()


def test_a_group_is_found_by_its_id_when_it_was_saved(app: App, add: Task) -> None:
    results = group(add.s(1, 1), group(add.s(2, 2), add.s(3, 3)))()
    assert GroupResult.restore(results.id, app=app) is None
    assert results.save() is results
    back = GroupResult.restore(results.id, app=app)
    assert back is not None
    assert back == results
    assert (back.get(LIMIT), back.name) == ([2, [4, 6]], "group" if back.name == "group" else results.name)
    results.delete()
    _until(lambda: GroupResult.restore(results.id, app=app) is None)
    assert results.get(LIMIT) == [2, [4, 6]]


def _until(condition: Any) -> None:
    end = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_all_of_it_can_be_revoked_and_forgotten(app: App, nap: Task) -> None:
    result = chord([nap.s(0.3) | nap.s() for _ in range(3)], nap.s())()
    result.parent.revoke()
    assert result.get(LIMIT, propagate=False) is not None
    assert result.state in ("FAILURE", "REVOKED")


def test_to_forget_a_result_forgets_all_before_it(app: App, add: Task) -> None:
    result = (group(add.s(1), add.s(2)) | add.s([])).delay(1)
    assert result.get(LIMIT, propagate=False) is not None
    ids = [result.id, *(member.id for member in result.parent)]
    result.forget()
    _until(lambda: not any(app.AsyncResult(id).exists() for id in ids))


def test_what_came_of_a_result_is_collected(app: App, add: Task, nap: Task) -> None:
    result = add.apply_async((1, 1), link=[add.s(1), add.s(2) | add.s(10)])
    assert [value for _, value in result.collect()] == [2, 3, 4, 14]
    assert result.get_leaf() == 14
    slow = nap.delay(1.0)
    with pytest.raises(IncompleteStream):
        list(slow.iterdeps())
    assert [node.id for _, node in slow.iterdeps(intermediate=True)] == [slow.id]


def test_bulk_forms_have_been_sent_when_they_are_there(add: Task) -> None:
    parts = add.chunks([(n, n) for n in range(5)], 2)
    assert parts() is parts.delay() is parts
    assert ~parts == [[0, 2], [4, 6], [8]]
    assert ~add.s(1, 1) == 2


def test_a_graph_has_the_tasks_before_and_after_a_result(app: App, add: Task) -> None:
    total = app.task(_total, name="groups.total")
    header = group([add.s(n) for n in range(20)])
    result = (add.s(1, 1) | header | total.s()).apply_async(link_error=add.s(1))
    result.get(LIMIT)
    graph = result.graph()
    titles = [node.title for node in graph.nodes]
    assert titles[0] == "groups.add"
    assert "groups.add ×20" in titles
    assert "groups.total" in titles
    assert [(graph.nodes[e.start].title, graph.nodes[e.end].title, e.kind) for e in graph.edges][:2] == [
        ("groups.add", "groups.add", "error"),
        ("groups.add", "groups.add ×20", "value"),
    ]
    assert len(result.parent.graph().nodes) == len(graph.nodes)
    assert "groups.total" in str(graph)


def _total(numbers: list[int]) -> int:
    return sum(numbers)
