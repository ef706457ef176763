"""The widget of a map or group."""

import gc
import struct
import time
import weakref

import pytest

from kernels_ext.widgets.grid import GridWidget
from kernels_ext.widgets.messages import KINDS
from tests.kernels_ext.widgets.fakes import FakeGroup, shown

WAITING, RUNNING, DONE, FAILED = (KINDS.index(kind) for kind in ("waiting", "running", "done", "failed"))


@pytest.fixture
def group(client):
    return FakeGroup(client, 4)


@pytest.fixture
def widget(page, group):
    return shown(GridWidget(group))


def test_a_page_that_says_hello_is_told_two_bytes_a_task(page, client, group, widget):
    group[1].starts()
    group[1].becomes(current=1, total=2)
    client.tell()
    page.say(widget, type="hello", islands=True)
    assert page.messages[-1]["count"] == 4
    assert page.buffers[-1] == [bytes([WAITING, RUNNING, WAITING, WAITING]), bytes([0, 127, 0, 0])]


def test_only_tasks_that_changed_are_sent(page, client, group, widget):
    group[2].starts()
    group[3].starts()
    client.tell()
    [delta] = page.heard("delta")
    numbers, kinds, progress = page.buffers[page.messages.index(delta)]
    assert struct.unpack("<2I", numbers) == (2, 3)
    assert kinds == bytes([RUNNING, RUNNING])
    assert progress == bytes(2)


def test_messages_are_numbered_so_that_a_page_sees_a_gap(page, client, group, widget):
    first = page.heard("grid")[-1]["revision"]
    for result in group[:3]:
        result.starts()
        client.tell()
        for subscription in client.subscriptions:
            subscription._called_at = 0.0
    assert [delta["revision"] for delta in page.heard("delta")] == [first + 1, first + 2, first + 3]


def test_a_change_that_cannot_be_seen_is_not_sent(page, client, group, widget):
    group[0].becomes(output="printed")
    client.tell()
    assert page.heard("delta") == []


def test_the_inspected_task_is_followed(page, client, group, widget):
    page.say(widget, type="inspect", index=2)
    group[2].becomes(output="hello\n")
    client.tell()
    assert [(m["index"], m["text"]) for m in page.heard("task")] == [(2, ""), (2, "hello\n")]


def test_rows_say_what_is_worth_knowing(page, client, group, widget):
    group[0].fails(ValueError("bad sample"))
    group[1].becomes(output="step 1\nstep 2\n")
    page.say(widget, type="rows", indices=[0, 1, 99])
    rows = page.heard("rows")[-1]["rows"]
    assert [(row["index"], row["text"]) for row in rows] == [(0, "ValueError: bad sample"), (1, "step 2")]


def test_one_task_or_all_can_be_cancelled(page, client, group, widget):
    page.say(widget, type="cancel", index=1)
    assert client.cancelled == [group[1].id]
    page.say(widget, type="cancel", index=None)
    assert len(client.cancelled) == 5


def test_the_last_task_finishes_the_widget(page, client, group, widget):
    group[0].fails(ValueError("bad sample"))
    for result in group[1:]:
        result.succeeds(1)
    client.tell()
    assert widget.finished
    output = page.outputs[-1].data
    assert "4/4 done, 1 failed" in output["text/plain"]
    assert "#0  ValueError: bad sample" in output["text/html"]


def test_a_finished_widget_lets_go_of_the_group_but_answers_while_somebody_holds_it(
    page, client, widget, group
):
    for result in group:
        result.succeeds("value")
    client.tell()
    page.say(widget, type="inspect", index=3)
    assert page.heard("task")[-1]["card"]["value"] == "'value'"
    widget._group()
    gone = weakref.ref(group.children[0])
    group.children.clear()
    client.subscriptions.clear()
    gc.collect()
    assert gone() is None


def test_ten_thousand_tasks_cost_little(page, client):
    # generous: it is about the order of magnitude, on machines that do other things as well
    group = FakeGroup(client, 10_000)
    widget = shown(GridWidget(group))
    for result in group[:100]:
        result.starts()
    began = time.thread_time()
    client.tell()
    assert time.thread_time() - began < 0.02
    assert len(page.buffers[-1][1]) == 100
    assert not widget.ready()
