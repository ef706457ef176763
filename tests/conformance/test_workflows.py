"""Workflows, whatever carries their messages."""

import json
import time
from typing import Any

import pytest

from nbqueue import App, chain, chord, chunks, group, signature, xmap, xstarmap
from nbqueue.client.task import Task
from nbqueue.exceptions import ChordError, TaskRevokedError

LIMIT = 20.0  # seconds for anything here; reached only when something is broken


class Tasks:
    """What the tests put together."""

    def __init__(self, app: App) -> None:
        self.add: Task = app.task(lambda x, y: x + y, name="wf.add")
        self.mul: Task = app.task(lambda x, y: x * y, name="wf.mul")
        self.xsum: Task = app.task(_xsum, name="wf.xsum")
        self.same: Task = app.task(lambda value: value, name="wf.same")
        self.bad: Task = app.task(_bad, name="wf.bad")
        self.nap: Task = app.task(_nap, name="wf.nap")


def _xsum(numbers: list[Any]) -> Any:
    return sum(numbers)


def _bad(*args: Any) -> None:
    raise KeyError("bad")


def _nap(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@pytest.fixture
def tasks(app: App, broker_url: str, monkeypatch: pytest.MonkeyPatch) -> Tasks:
    if broker_url.startswith("memory"):  # where its executors are threads of this process
        monkeypatch.setenv("NBQUEUE_BROKER", broker_url)
    return Tasks(app)


# ── one after the other, and side by side ────────────────────────────────────────────────────────


def test_a_chain_passes_values_on_and_its_result_knows_its_parents(tasks: Tasks) -> None:
    result = (tasks.add.s(2, 2) | tasks.mul.s(4) | tasks.add.s(1)).delay()
    assert result.get(LIMIT) == 17
    assert result.parent.get(LIMIT) == 16
    assert result.parent.parent.get(LIMIT) == 4
    assert result.parent.parent.parent is None


def test_arguments_of_the_call_come_before_those_of_the_first_task(tasks: Tasks) -> None:
    assert chain(tasks.add.s(2), tasks.mul.s(10)).delay(3).get(LIMIT) == 50
    assert group(tasks.add.s(1), tasks.mul.s(2))(5).get(LIMIT) == [6, 10]


def test_an_immutable_step_takes_nothing(tasks: Tasks) -> None:
    assert (tasks.add.s(2, 2) | tasks.same.si("mine")).delay().get(LIMIT) == "mine"


def test_a_group_gives_the_list_of_its_values(tasks: Tasks) -> None:
    result = group(tasks.add.s(i, i) for i in range(10))()
    assert result.get(LIMIT) == [2 * i for i in range(10)]
    assert result.completed_count() == 10
    assert result.successful()


def test_a_chord_gives_its_body_the_list(tasks: Tasks) -> None:
    header = [tasks.add.s(i, i) for i in range(100)]
    assert chord(header)(tasks.xsum.s()).get(LIMIT) == 9900
    result = chord(header, tasks.xsum.s()).delay()
    assert result.get(LIMIT) == 9900
    assert result.parent.get(LIMIT) == [2 * i for i in range(100)]


def test_an_empty_header_gives_the_body_an_empty_list(tasks: Tasks) -> None:
    assert chord([], tasks.same.s())().get(LIMIT) == []
    assert group([])().get(LIMIT) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("task | group | task", 44),
        ("group | task | task", 60),
        ("group | group | task", [12, [2, 4]]),
        ("group of chains and a chord", [8, 6, [1, [2]]]),
        ("chord in a chord", 42),
    ],
)
def test_they_are_put_into_one_another(tasks: Tasks, name: str, value: Any) -> None:
    add, mul, xsum, same = tasks.add, tasks.mul, tasks.xsum, tasks.same
    pair = group(add.s(1, 1), add.s(2, 2))
    made = {
        "task | group | task": add.s(1, 1) | group(add.s(20), mul.s(11)) | xsum.s(),
        "group | task | task": pair | xsum.s() | mul.s(10),
        "group | group | task": pair | group(xsum.s() | mul.s(2), same.s()) | same.s(),
        "group of chains and a chord": group(
            add.s(1, 1) | mul.s(4),
            chord([add.s(1, 1), add.s(2, 2)], xsum.s()),
            group(same.s(1), group(same.s(2))),
        ),
        "chord in a chord": chord(
            [pair | xsum.s(), chord([pair, same.s([0])], same.s()) | same.si(36)], xsum.s()
        ),
    }  # fmt: skip
    assert made[name].apply_async().get(LIMIT) == value


def test_a_workflow_comes_out_of_json_as_it_went_in(tasks: Tasks) -> None:
    made = chain(tasks.add.s(1, 1), group(tasks.add.s(10), tasks.mul.si(3, 4)), tasks.xsum.s())
    assert signature(json.loads(json.dumps(made)))().get(LIMIT) == 24


def test_many_members_and_many_calls_in_parts(tasks: Tasks) -> None:
    calls = [(i, i) for i in range(25)]
    parts = [[2 * i for i in range(25)][start : start + 10] for start in (0, 10, 20)]
    assert tasks.add.chunks(calls, 10).get(LIMIT) == parts
    assert chunks(tasks.add, calls, 10)().get(LIMIT) == parts
    assert (chunks(tasks.add, calls, 10) | tasks.same.s()).delay().get(LIMIT) == parts
    assert xmap(tasks.xsum, [[1, 2], [3]])().get(LIMIT) == [3, 3]
    assert (xstarmap(tasks.add, calls) | tasks.xsum.s()).delay().get(LIMIT) == 600


def test_a_chord_of_ten_thousand(tasks: Tasks) -> None:
    assert chord((tasks.same.s(i) for i in range(10_000)), tasks.xsum.s())().get(3 * LIMIT) == 49_995_000


def test_large_values_are_fetched_by_the_step_that_takes_them(tasks: Tasks) -> None:
    large = b"x" * 3_000_000
    header = group(tasks.same.s(large), tasks.same.s(large + b"y"), tasks.same.s(1))
    first, second, last = (header | tasks.same.s()).delay().get(LIMIT)
    assert (first, second, last) == (large, large + b"y", 1)


def test_a_value_that_is_taken_is_not_dropped_although_it_is_ignored(tasks: Tasks) -> None:
    quiet = tasks.add.s(1, 1).set(ignore_result=True)
    assert (quiet | tasks.mul.s(3)).delay().get(LIMIT) == 6


# ── failures ─────────────────────────────────────────────────────────────────────────────────────


def test_the_last_of_a_chain_raises_the_exception_of_the_one_that_failed(tasks: Tasks) -> None:
    result = (tasks.same.s(1) | tasks.bad.s() | tasks.mul.s(2) | tasks.mul.s(2)).delay()
    with pytest.raises(KeyError, match="bad") as raised:
        result.get(LIMIT)
    assert f"in task wf.bad[{result.parent.parent.id}]" in str(raised.value.__notes__)
    assert "_bad" in [frame.name for frame in raised.traceback]
    assert (result.state, result.parent.state) == ("FAILURE", "FAILURE")


def test_a_chord_error_names_the_member_and_the_others_run(tasks: Tasks) -> None:
    result = chord([tasks.bad.s(), tasks.add.s(1, 1)], tasks.xsum.s())()
    with pytest.raises(ChordError, match=r"wf.bad\[.+\] failed: KeyError: 'bad'"):
        result.get(LIMIT)
    assert result.parent[1].get(LIMIT) == 2


def test_callbacks_are_called_for_what_they_are_for(tasks: Tasks, app: App) -> None:
    told: Task = app.task(lambda request, exc, traceback: (request.id, request.task, request.args, repr(exc)))
    told_id: Task = app.task(lambda id: id)
    result = tasks.bad.apply_async((1,), link=tasks.same.s(), link_error=[told.s(), told_id.s()])
    with pytest.raises(KeyError):
        result.get(LIMIT)
    same, first, second = result.children
    with pytest.raises(TaskRevokedError, match="not called for"):
        same.get(LIMIT)
    assert first.get(LIMIT) == (result.id, "wf.bad", (1,), "KeyError('bad')")
    assert second.get(LIMIT) == result.id


def test_a_link_gets_the_value(tasks: Tasks) -> None:
    result = tasks.add.apply_async((2, 2), link=tasks.add.s(16) | tasks.mul.s(2))
    assert result.get(LIMIT) == 4
    (callback,) = result.children
    (last,) = callback.children
    assert (callback.get(LIMIT), last.get(LIMIT)) == (20, 40)
    assert [value for _, value in result.collect()] == [4, 20, 40]
    assert result.get_leaf() == 40


def test_a_step_that_waits_can_be_revoked(tasks: Tasks) -> None:
    result = (tasks.nap.s(0.5) | tasks.same.s() | tasks.same.s()).delay()
    result.parent.revoke()
    with pytest.raises(TaskRevokedError):
        result.get(LIMIT)
    assert result.parent.parent.get(LIMIT) == 0.5


# ── replace ──────────────────────────────────────────────────────────────────────────────────────


def test_a_task_is_replaced_by_a_signature_of_any_kind(tasks: Tasks, app: App) -> None:
    add, xsum = tasks.add, tasks.xsum

    @app.task(bind=True)
    def become(self: Any, n: int, kind: str) -> None:
        one = add.s(n, 1)
        many = group(add.s(n, i) for i in range(3))
        raise self.replace({"task": one, "group": many, "chord": many | xsum.s()}[kind])

    assert become.delay(5, "task").get(LIMIT) == 6
    assert become.delay(5, "group").get(LIMIT) == [5, 6, 7]
    assert (become.s(5, "group") | tasks.xsum.s()).delay().get(LIMIT) == 18
    assert chord([become.s(1, "chord"), tasks.same.s(2)], tasks.same.s())().get(LIMIT) == [6, 2]


def test_the_failure_of_a_replacement_is_that_of_the_task(tasks: Tasks, app: App) -> None:
    bad = tasks.bad

    @app.task(bind=True)
    def fails(self: Any) -> None:
        raise self.replace(bad.s() | bad.s())

    with pytest.raises(KeyError, match="bad"):
        fails.delay().get(LIMIT)


def test_a_workflow_may_be_written_as_json(broker_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = App("wfjson", broker=broker_url, task_serializer="json", result_serializer="json")
    add: Task = plain.task(lambda x, y: x + y, name="wfjson.add")
    xsum: Task = plain.task(_xsum, name="wfjson.xsum")
    assert (group(add.s(i, i) for i in range(3)) | xsum.s() | add.s(1)).delay().get(LIMIT) == 7
    plain.close()


def test_where_results_are_not_kept_steps_still_take_values(broker_url: str, app: App) -> None:
    silent = App("wfsilent", broker=broker_url, backend="disabled://")
    add: Task = silent.task(lambda x, y: x + y, name="wfsilent.add")
    kept: Task = app.task(_xsum, name="wfsilent.xsum")
    assert (group(add.s(i, i) for i in range(3)) | kept.s()).delay().get(LIMIT) == 6


# ── known before, and marked ─────────────────────────────────────────────────────────────────────


def test_ids_of_a_workflow_are_known_before_it_is_sent(tasks: Tasks) -> None:
    made = tasks.add.s(1, 1) | group(tasks.add.s(2), tasks.add.s(3)) | tasks.xsum.s()
    frozen = made.freeze()
    assert made.freeze().id == frozen.id
    sent = made.apply_async()
    assert sent.as_tuple() == frozen.as_tuple()
    assert frozen.get(LIMIT) == 9
    assert frozen.parent.get(LIMIT) == [4, 5]
    assert frozen.parent.parent.get(LIMIT) == 2


def test_stamps_reach_the_tasks_and_revoke_them(app: App, tasks: Tasks) -> None:
    @app.task(bind=True)
    def stamps(self: Any, *_: Any) -> Any:
        return self.request.stamps

    mark = str(time.time())
    both = group(stamps.s(), tasks.same.s(1) | stamps.s()).stamp(order=[mark]).delay()
    assert both.get(LIMIT) == [{"order": [mark]}] * 2
    waiting = group(tasks.same.s(1), tasks.same.s(2)).stamp(order=mark).apply_async(countdown=60)
    other = tasks.same.s(3).stamp(order="another").apply_async(countdown=60)
    for result in [*waiting, other]:
        result.wait_accepted(LIMIT)
    app.control.revoke_by_stamped_headers({"order": mark}, reply=True)
    for result in waiting:
        with pytest.raises(TaskRevokedError):
            result.get(LIMIT)
    assert other.state == "PENDING"
    other.revoke()
