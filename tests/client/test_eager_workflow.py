"""Workflows that run here, without a broker."""

from typing import Any

import pytest

from nbqueue import App, chain, chord, group
from nbqueue.exceptions import ChordError, TaskRevokedError

app = App("eager", broker="memory://never-connected")
notes: list[Any] = []


@app.task(name="eager.add")
def add(x: int, y: int) -> int:
    return x + y


@app.task(name="eager.total")
def total(numbers: list[int]) -> int:
    return sum(numbers)


@app.task(name="eager.bad")
def bad(*args: Any) -> None:
    raise KeyError("bad")


@app.task(name="eager.note")
def note(request: Any, exc: Any, traceback: Any) -> None:
    notes.append((request.id, request.task, request.args, repr(exc), "KeyError" in traceback))


@app.task(name="eager.note_id")
def note_id(id: str) -> None:
    notes.append(id)


@app.task(name="eager.become", bind=True)
def become(self: Any, n: int) -> Any:
    raise self.replace(group(add.s(n, i) for i in range(3)))


@pytest.fixture(autouse=True)
def fresh() -> None:
    notes.clear()


def test_a_workflow_runs_here_and_its_results_are_as_if_it_had_been_sent() -> None:
    result = (add.s(1, 1) | group(add.s(10), add.s(20)) | total.s() | add.s(0)).apply()
    assert result.get() == 34
    assert result.parent.get() == 34
    assert result.parent.parent.get() == [12, 22]
    assert result.parent.parent.parent.get() == 2
    assert group(add.s(1, 1), add.s(2, 2)).apply().get() == [2, 4]
    assert chord([], total.s()).apply().get() == 0
    assert "eager.add" in str(result.graph())


def test_failures_are_handed_down_as_on_workers() -> None:
    result = (add.s(1, 1) | bad.s() | add.s(1)).apply()
    with pytest.raises(KeyError, match="bad"):
        result.get()
    assert (result.state, result.parent.state) == ("FAILURE", "FAILURE")
    with pytest.raises(ChordError, match=r"eager\.bad\[.+\] failed: KeyError"):
        chord([add.s(1, 1), bad.s()], total.s()).apply().get()
    with pytest.raises(KeyError):
        chain(bad.s(), group(add.s(1), add.s(2)), total.s()).apply().get()


def test_callbacks_are_called_for_what_they_are_for() -> None:
    result = bad.apply((7,), link=note_id.s(), link_error=[note.s(), note_id.s()])
    assert notes == [(result.id, "eager.bad", (7,), "KeyError('bad')", True), result.id]
    notes.clear()
    add.apply((1, 1), link=note_id.s(), link_error=note.s())
    assert notes == [2]


def test_a_task_is_replaced_here_too() -> None:
    assert become.apply((5,)).get() == [5, 6, 7]
    assert (become.s(5) | total.s()).apply().get() == 18
    with pytest.raises(RuntimeError, match="called directly"):
        become(5)


def test_with_task_always_eager_sending_is_running() -> None:
    eager = App("always", broker="memory://never-connected", task_always_eager=True)
    double = eager.task(lambda x: 2 * x, name="always.double")
    assert (double.s(1) | double.s()).delay().get() == 4
    assert group(double.s(n) for n in range(3))().get() == [0, 2, 4]
    assert double.apply_async((1,), link=double.s()).get() == 2
    assert double.chunks([(1,), (2,)], 1).get() == [[2], [4]]


def test_what_is_raised_is_raised_at_once_if_asked_for() -> None:
    with pytest.raises(KeyError):
        (bad.s() | add.s(1)).apply(throw=True)


def test_a_callback_that_is_not_called_is_revoked() -> None:
    made = add.s(1, 1)
    made.link_error(note_id.s())
    assert made.apply().get() == 2
    assert notes == []
    assert issubclass(TaskRevokedError, Exception)
