"""Stamps of workflows, in the order and with the names of Celery's docs."""

from typing import Any

import pytest

from nbqueue import App, chain, chord, group, signature
from nbqueue.canvas import StampingVisitor
from nbqueue.exceptions import ConfigurationError

app = App("stamping", broker="memory://never-connected")


@app.task
def add(x: int, y: int) -> int:
    return x + y


@app.task(bind=True)
def stamps(self: Any, *_: Any) -> Any:
    return self.request.stamps, self.request.stamped_headers


def of(sig: Any) -> dict[str, Any]:
    """The stamps that a task carries."""
    return dict(sig.options.get("headers", {}).get("stamps", {}))


class InGroup(StampingVisitor):
    """From Celery's docs."""

    def __init__(self) -> None:
        self.in_group = False

    def on_group_start(self, group: Any, **headers: Any) -> dict[str, Any]:
        self.in_group = True
        return {"in_group": [self.in_group], "stamped_headers": ["in_group"]}

    def on_group_end(self, group: Any, **headers: Any) -> None:
        self.in_group = False

    def on_chain_start(self, chain: Any, **headers: Any) -> dict[str, Any]:
        return {"in_group": [self.in_group], "stamped_headers": ["in_group"]}

    def on_signature(self, sig: Any, **headers: Any) -> dict[str, Any]:
        return {"in_group": [self.in_group], "stamped_headers": ["in_group"]}


class Callbacks(StampingVisitor):
    """From Celery's docs."""

    def on_signature(self, sig: Any, **headers: Any) -> dict[str, Any]:
        return {"header": "value"}

    def on_callback(self, callback: Any, **header: Any) -> dict[str, Any]:
        return {"on_callback": True}

    def on_errback(self, errback: Any, **header: Any) -> dict[str, Any]:
        return {"on_errback": True}

    def on_chord_body(self, sig: Any, **header: Any) -> dict[str, Any]:
        return {"body": 1}


def test_each_task_of_a_workflow_carries_the_stamp() -> None:
    made = chain(add.s(1, 1), group(add.s(2), add.s(3)), stamps.s()).stamp(order=7)
    first, middle = made.tasks
    carriers = [first, *middle.tasks, middle.body]
    assert [of(sig) for sig in carriers] == [{"order": [7]}] * 4
    assert first.options["headers"]["stamped_headers"] == ["order"]


def test_a_visitor_says_what_each_part_carries() -> None:
    made = chain(add.s(1, 1), group(add.s(2), add.s(3))).stamp(visitor=InGroup())
    first, both = made.tasks
    assert of(first) == {"in_group": [False]}
    assert [of(sig) for sig in both.tasks] == [{"in_group": [True]}] * 2


def test_callbacks_carry_what_the_visitor_says_of_them() -> None:
    made = chord([add.s(1, 1), add.s(2, 2)], stamps.s())
    made.link(signature("sig_link"))
    made.link_error(signature("sig_link_error"))
    made.stamp(visitor=Callbacks())
    assert [of(sig) for sig in made.tasks] == [{"header": ["value"]}] * 2
    assert of(made.body) == {"body": [1], "header": ["value"]}
    assert of(made.body.options["link"][0]) == {"body": [1], "on_callback": [True], "header": ["value"]}
    assert of(made.body.options["link_error"][0]) == {"body": [1], "on_errback": [True], "header": ["value"]}


def test_headers_that_are_no_stamps_travel_beside_them() -> None:
    sig = add.s(1, 1).set(headers={"tenant": 1}).stamp(a=1, b={2}, stamped_headers=["b"])
    assert sig.options["headers"] == {"tenant": 1, "a": 1, "stamped_headers": ["b"], "stamps": {"b": [2]}}


def test_a_stamp_takes_the_place_of_the_last_one_or_adds_to_it() -> None:
    sig = add.s(1, 1).stamp(order=1).stamp(order=2)
    assert of(sig) == {"order": [2]}
    assert of(sig.stamp(order=3, append_stamps=True)) == {"order": [2, 3]}


def test_a_task_that_runs_here_has_its_stamps() -> None:
    assert stamps.s().stamp(order=7).apply().get() == ({"order": [7]}, ["order"])
    assert stamps.s().apply().get() == ({}, None)


def test_a_visitor_that_returns_no_headers_is_told_so() -> None:
    class Wrong(StampingVisitor):
        def on_signature(self, sig: Any, **headers: Any) -> Any:
            return "stamp"

    with pytest.raises(
        ConfigurationError, match=r"Wrong\.on_signature returns a dict of headers, not 'stamp'"
    ):
        add.s(1, 1).stamp(visitor=Wrong())
