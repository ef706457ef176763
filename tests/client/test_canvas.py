"""What signatures are, and how they are put together; nothing is sent here."""

import copy
import json
from typing import Any

import pytest

import nbqueue
from nbqueue import App, chain, chord, chunks, group, signature, xmap
from nbqueue.canvas import Signature, maybe_signature
from nbqueue.client.task import Task
from nbqueue.client.weaving import Braid, Given, Loom, Strand
from nbqueue.exceptions import ConfigurationError
from nbqueue.messages import Step
from nbqueue.wire import payload

app = App("canvas", broker="memory://never-connected")


@app.task(name="canvas.add")
def add(x: int, y: int) -> int:
    return x + y


@app.task(name="canvas.mul")
def mul(x: int, y: int) -> int:
    return x * y


@app.task(name="canvas.total")
def total(numbers: list[int]) -> int:
    return sum(numbers)


@app.task(name="canvas.note")
def note(request: Any, exc: Any, traceback: Any) -> None: ...


@app.task(name="canvas.note_id")
def note_id(id: str) -> None: ...


def laid(made: Any, *args: Any, **options: Any) -> list[tuple[str, tuple[Any, ...], Step | None]]:
    """The tasks of a signature, with numbers for their ids."""
    loom = Loom(made._gather)
    loom.lay(made, None, Given(args, {}, options))
    number = {id: str(n) for n, id in enumerate(loom.calls)}
    return [
        (
            call.task.name.removeprefix("canvas."),
            call.args,
            None
            if call.step is None
            else Step([number[id] for id in call.step.after], *tuple(_fields(call.step))[1:]),
        )
        for call in loom.calls.values()
    ]


def _fields(step: Step) -> list[Any]:
    return [step.after, step.on, step.takes, step.optional]


# ── one call ─────────────────────────────────────────────────────────────────────────────────────


def test_a_signature_is_a_dict_of_plain_values() -> None:
    made = add.s(2, y=3).set(countdown=10)
    assert made == {
        "task": "canvas.add",
        "args": (2,),
        "kwargs": {"y": 3},
        "options": {"countdown": 10},
        "subtask_type": None,
        "immutable": False,
    }
    assert (made.task, made.args, made.kwargs, made.options, made.immutable) == (
        "canvas.add", (2,), {"y": 3}, {"countdown": 10}, False,
    )  # fmt: skip
    assert repr(made) == "canvas.add(2, y=3)"


@pytest.mark.parametrize(
    "made",
    [
        signature(add, (2, 3)),
        signature("canvas.add", args=(2, 3)),
        add.signature((2, 3)),
        add.subtask((2,), {"y": 3}),
        add.s(2, 3),
        signature({"task": "canvas.add", "args": [2, 3], "kwargs": {}, "options": {}}),
        nbqueue.signature("canvas.add", (2, 3)),
    ],
)
def test_however_it_is_made_it_is_the_same_call(made: Signature) -> None:
    assert made() == 5


def test_arguments_given_later_come_first_and_keywords_are_merged() -> None:
    partial = add.s(10)
    assert partial(1) == 11
    assert partial.clone((5,))() == 15
    assert add.s(1, y=2)(y=7) == 8
    assert partial == add.s(10), "the original is as it was"


def test_an_immutable_one_takes_nothing_more() -> None:
    assert add.si(1, 2)(5) == 3
    assert add.s(1, 2).set(immutable=True).clone((9,)).args == (1, 2)


def test_a_copy_shares_nothing_that_is_set_later() -> None:
    first = add.s(1).set(queue="a")
    first.link(mul.s(2))
    second = first.clone()
    second.set(queue="b").link(mul.s(3))
    assert first.options["queue"] == "a"
    assert len(first.options["link"]) == 1
    assert copy.deepcopy(first) == first
    assert first.replace(args=(7,), kwargs={"y": 1}).args == (7,)


def test_callbacks_are_signatures_each_of_them_once() -> None:
    made = add.s(1, 1)
    assert made.link(mul.s(2)) == mul.s(2)
    made.link(mul.s(2))
    assert made.on_error(note.s()) is made
    assert made.options == {"link": [mul.s(2)], "link_error": [note.s()]}
    assert made.flatten_links() == [made, mul.s(2)]


def test_a_name_that_nobody_has_says_what_to_do() -> None:
    with pytest.raises(ConfigurationError, match=r"no task called 'canvas\.gone': import its module"):
        signature("canvas.gone", (1,))()


def test_it_pickles_with_its_function() -> None:
    made = chord([add.s(1, 1), add.s(2, 2)], total.s() | mul.s(2))
    back = payload.loads(payload.dumps_value(made))
    assert back == made
    assert type(back) is chord
    assert back.body.tasks[0].type.run([1, 2]) == 3


# ── several ──────────────────────────────────────────────────────────────────────────────────────


def test_a_bar_puts_one_after_the_other() -> None:
    made = add.s(1, 1) | mul.s(2) | mul.s(3)
    assert type(made) is chain
    assert [task.task for task in made.tasks] == ["canvas.add", "canvas.mul", "canvas.mul"]
    assert repr(made) == "canvas.add(1, 1) | canvas.mul(2) | canvas.mul(3)"
    assert (add.s(1, 1) | chain(mul.s(2), mul.s(3))) == made
    assert chain([add.s(1, 1), mul.s(2), mul.s(3)]) == made


def test_a_group_before_a_task_is_a_chord() -> None:
    made = group(add.s(1, 1), add.s(2, 2)) | total.s()
    assert type(made) is chord
    assert made.body == total.s()
    assert len(made.tasks) == 2
    longer = made | mul.s(2)
    assert type(longer) is chord
    assert type(longer.body) is chain
    assert type(add.s(1, 1) | made.header | total.s()) is chain


def test_a_chain_of_one_is_that_one() -> None:
    assert chain(add.s(1, 1)) == add.s(1, 1)


def test_what_is_put_together_does_not_change() -> None:
    header, body = group(add.s(1, 1), add.s(2, 2)), total.s()
    before = json.dumps([header, body])
    made = header | body | mul.s(2) | group(mul.s(1), mul.s(2))
    made.tasks[0].set(queue="x") if isinstance(made, chain) else made.body.set(queue="x")
    assert json.dumps([header, body]) == before


@pytest.mark.parametrize(
    "made",
    [
        add.s(1, 2).set(priority=3),
        chain(add.s(1, 2), mul.si(1, 2)),
        group([add.s(1, 2), mul.s(3, 4)]),
        chord([add.s(1, 2)], total.s()),
        chain(add.s(1), group(mul.s(2), chain(mul.s(3), mul.s(4))), total.s()),
        xmap(total, [[1], [2]]),
        add.s(1, 1).on_error(note.s()),
    ],
    ids=lambda made: str(made["task"]),
)
def test_it_comes_out_of_json_as_what_it_was(made: Signature) -> None:
    back = signature(json.loads(json.dumps(made)))
    assert type(back) is type(made)
    assert json.dumps(back) == json.dumps(made)
    assert maybe_signature(back) is back
    assert maybe_signature(None) is None


def test_parts_of_many_calls() -> None:
    made = chunks(add, zip(range(5), range(5), strict=True), 2)
    assert [len(task.kwargs["it"]) for task in made.group().tasks] == [2, 2, 1]
    with pytest.raises(ValueError, match="1 call or more"):
        chunks(add, [], 0)


def test_a_group_may_start_little_by_little() -> None:
    made = group(add.s(i, i) for i in range(3)).skew(start=1, step=2)
    assert [task.options["countdown"] for task in made.tasks] == [1, 3, 5]


# ── laid out ─────────────────────────────────────────────────────────────────────────────────────


def test_a_chain_laid_out() -> None:
    assert laid(add.s(1) | mul.s(2) | mul.si(3, 4), 5) == [
        ("add", (5, 1), None),
        ("mul", (2,), Step(["0"], takes=0)),
        ("mul", (3, 4), Step(["1"], takes=None)),
    ]


def test_groups_laid_out_take_the_lists_of_those_before_them() -> None:
    inner = group(mul.s(1), chain(mul.s(2), mul.s(3)))
    assert laid(add.s(1, 1) | group(mul.s(9), inner) | group(total.s(), total.s())) == [
        ("add", (1, 1), None),
        ("mul", (9,), Step(["0"], takes=0)),
        ("mul", (1,), Step(["0"], takes=0)),
        ("mul", (2,), Step(["0"], takes=0)),
        ("mul", (3,), Step(["3"], takes=0)),
        ("total", (), Step(["1", "2", "4"], takes=[0, [1, 2]])),
        ("total", (), Step(["1", "2", "4"], takes=[0, [1, 2]])),
    ]


def test_callbacks_laid_out() -> None:
    made = (add.s(1, 1).on_error(note_id.s()) | mul.s(2)).on_error(note.s())
    made.link(mul.s(7) | mul.s(8))
    assert laid(made) == [
        ("add", (1, 1), None),
        ("note_id", (), Step(["0"], "FAILURE", 0)),
        ("note", (), Step(["0"], "FAILURE", 0)),
        ("mul", (2,), Step(["0"], takes=0)),
        ("mul", (7,), Step(["3"], takes=0, optional=True)),
        ("mul", (8,), Step(["4"], takes=0)),
        ("note", (), Step(["3"], "FAILURE", 0)),
    ]


def test_a_chords_errback_is_its_bodys() -> None:
    made = chord([add.s(1, 1)], total.s(), link_error=note.s())
    assert [name for name, _, _ in laid(made)] == ["add", "total", "note"]


def test_large_groups_one_after_the_other_are_gathered_between() -> None:
    made = group(add.s(1, 1) for _ in range(200)) | group(total.s() for _ in range(200))
    steps = laid(made)
    assert len(steps) == 401
    assert steps[200][0] == "nbqueue.gather"
    assert {len(step.after) for _, _, step in steps[201:] if step is not None} == {1}


def test_options_of_a_whole_go_where_they_mean_something() -> None:
    loom = Loom(add.s()._gather)
    made = chain(add.s(1, 1), mul.s(2), mul.s(3))
    thread = loom.lay(made, None, Given(options={"countdown": 5, "task_id": "last", "queue": "q"}))
    calls = list(loom.calls.values())
    assert [call.options.get("countdown") for call in calls] == [5, None, None]
    assert {call.options["queue"] for call in calls} == {"q"}
    assert isinstance(thread, Strand)
    assert thread.id == "last"
    braid = loom.lay(group(add.s(1, 1)), None, Given(options={"task_id": "of the group"}))
    assert isinstance(braid, Braid)
    assert braid.id == "of the group"


@pytest.mark.parametrize(
    "made",
    [add.s(1, 1) | mul.s(2, 3), add.s(1), group(add.s(1, 1), mul.s()), chord([add.s(1, 1)], note_id.s(1, 2))],
)
def test_a_wrong_call_anywhere_is_a_type_error_before_anything_is_sent(made: Any) -> None:
    with pytest.raises(TypeError, match="argument"):
        made.apply_async()


def test_a_wrong_option_anywhere_is_told_before_anything_is_sent() -> None:
    with pytest.raises(TypeError, match="no option is called quue"):
        (add.s(1, 1) | mul.s(2).set(quue="x")).apply_async()
    with pytest.raises(ConfigurationError, match="priority"):
        group(add.s(1, 1), mul.s(2, 2).set(priority=-1)).apply_async()


def test_an_errback_takes_an_id_or_three_values() -> None:
    add.s(1, 1).on_error(note.s())
    with pytest.raises(TypeError):
        laid(add.s(1, 1).on_error(mul.s(1, 2, 3)))


def test_what_is_no_signature_says_so() -> None:
    with pytest.raises(TypeError, match=r"task\.s"):
        group(1, 2)
    with pytest.raises(TypeError):
        add.s(1, 1) | 3
    with pytest.raises(ValueError, match="needs a body"):
        chord([add.s(1, 1)]).apply_async()
    with pytest.raises(ValueError, match="empty chain"):
        chain().apply_async()


def test_tasks_are_signatures_where_these_are_expected() -> None:
    assert isinstance(add, Task)
    assert [task.task for task in group(add, mul).tasks] == ["canvas.add", "canvas.mul"]
