"""What a step is called with."""

from collections.abc import Callable
from typing import Any

import pytest

from nbqueue.core import inputs
from nbqueue.exceptions import ResultBackendError, SerializationError
from nbqueue.messages import Assignment, Outcome, Step, Task
from nbqueue.states import FAILURE, SUCCESS
from nbqueue.wire import failure, payload
from nbqueue.wire.payload import LoadedTask, TaskOptions
from nbqueue.worker.executor.inputs import Inputs
from nbqueue.worker.executor.storage import Storage


def value(id: str, content: Any, **fields: Any) -> Outcome:
    return Outcome(id, 1, SUCCESS, payload.dumps_value(content), **fields)


def failed(id: str) -> Outcome:
    try:
        raise KeyError("bad")
    except KeyError as error:
        return Outcome(id, 1, FAILURE, failure=failure.capture(error), retries=2, worker="w1")


def assignment(step: Step, *along: Outcome, about: Task | None = None) -> Assignment:
    task = Task("step", "f", "", payload.dumps_arguments((), {}), step=step)
    return Assignment(task, 7, inputs=list(along), about=about)


def called_with(
    run: Assignment,
    function: Callable[..., Any] = lambda *args: None,
    *own: Any,
    bind: bool = False,
    fetch: Callable[[str], bytes] = lambda key: b"",
) -> tuple[Any, ...]:
    taken = Inputs(fetch, Storage())
    loaded = LoadedTask(function, TaskOptions("f", bind=bind))
    return taken.arguments(run, taken.outcomes(run), loaded, own, {})


def test_the_value_comes_before_the_arguments_of_its_own() -> None:
    assert called_with(assignment(Step(["a"], takes=0), value("a", [1])), lambda *a: None, 2, 3) == (
        [1],
        2,
        3,
    )


def test_values_come_in_the_lists_in_which_they_are_wanted() -> None:
    outcomes = [value(str(n), n) for n in range(4)]
    assert called_with(assignment(Step(list("0123"), takes=[3, [0, []], 1]), *outcomes)) == ([3, [0, []], 1],)


def test_a_step_that_takes_nothing_is_called_as_it_says() -> None:
    assert called_with(assignment(Step(["a"])), lambda *a: None, 5) == (5,)
    assert called_with(assignment(Step([], takes=[]))) == ([],)


def test_a_value_that_was_ignored_is_none() -> None:
    assert called_with(assignment(Step(["a"], takes=0), Outcome("a", 1, SUCCESS))) == (None,)


def test_what_did_not_come_along_is_fetched_in_portions() -> None:
    outcomes = [value(str(n), n) for n in range(5)]
    asked: list[str] = []

    def fetch(key: str) -> bytes:
        asked.append(key)
        parsed = inputs.parsed(key)
        assert parsed is not None
        return inputs.pack(outcomes[parsed[1] : parsed[1] + 2])

    run = assignment(Step([str(n) for n in range(5)], takes=[0, 1, 2, 3, 4]))
    assert called_with(run, fetch=fetch) == ([0, 1, 2, 3, 4],)
    assert asked == ["inputs/step/0", "inputs/step/2", "inputs/step/4"]
    with pytest.raises(SerializationError, match="no longer has what this step takes"):
        called_with(run)


def three(request: Any, exc: Any, traceback: Any) -> None: ...


def four(request: Any, exc: Any, traceback: Any, more: Any) -> None: ...


def bound(self: Any, request: Any, exc: Any, traceback: Any) -> None: ...


def one(id: Any) -> None: ...


def one_and_more(id: Any, more: Any) -> None: ...


@pytest.mark.parametrize(
    ("function", "own", "bind", "number"),
    [
        (three, (), False, 3),
        (four, ("x",), False, 4),
        (bound, (), True, 3),
        (print, (), False, 3),
        (one, (), False, 1),
        (one_and_more, ("x",), False, 2),
    ],
)
def test_an_errback_gets_as_much_as_its_function_takes(
    function: Callable[..., Any], own: tuple[Any, ...], bind: bool, number: int
) -> None:
    about = Task("a", "tasks.bad", "", payload.dumps_arguments((1,), {"y": 2}), root_id="r")
    run = assignment(Step(["a"], FAILURE, 0), failed("a"), about=about)
    first, *others = called_with(run, function, *own, bind=bind)
    assert 1 + len(others) == number
    if number < 3:
        assert first == "a"
        return
    assert (first.id, first.task, first.args, first.kwargs, first.root_id) == (
        "a",
        "tasks.bad",
        (1,),
        {"y": 2},
        "r",
    )
    assert (first.retries, first.hostname) == (2, "w1")
    assert isinstance(others[0], KeyError)
    assert "KeyError: 'bad'" in others[1]


def test_arguments_that_are_gone_leave_the_rest_of_the_request() -> None:
    about = Task("a", "tasks.bad", "", b"")
    request, _, _ = called_with(assignment(Step(["a"], FAILURE, 0), failed("a"), about=about), three)
    assert (request.task, request.args) == ("tasks.bad", ())


def test_a_value_of_a_backend_that_the_worker_does_not_use_says_so() -> None:
    run = assignment(Step(["a"], takes=0), value("a", 1, stored="redis://elsewhere"))
    with pytest.raises(ResultBackendError, match="redis://elsewhere keeps, which this worker does not use"):
        called_with(run)
