"""The widget of one result."""

import gc
import weakref

from kernels_ext.widgets.result import ResultWidget
from tests.kernels_ext.widgets.fakes import FakeResult, shown


def test_a_page_that_says_hello_is_told_everything(page, client):
    result = FakeResult(client, "a1", output="so far\n")
    widget = shown(ResultWidget(result))
    result.starts()
    client.tell()
    page.messages.clear()
    page.say(widget, type="hello", islands=True)
    [message] = page.messages
    assert message["card"]["kind"] == "running"
    assert (message["start"], message["text"]) == (0, "so far\n")


def test_output_is_sent_once(page, client):
    result = FakeResult(client, "a1")
    shown(ResultWidget(result))
    result.becomes(output="one\n")
    client.tell()
    result.becomes(output="one\ntwo\n")
    client.tell()
    assert [(m["start"], m["text"]) for m in page.heard("task")][-2:] == [(0, "one\n"), (4, "two\n")]


def test_the_value_is_previewed_when_done_and_the_result_let_go(page, client):
    result = FakeResult(client, "a1")
    widget = shown(ResultWidget(result))
    result.succeeds({"accuracy": 0.97})
    client.tell()
    assert page.messages[-1]["card"]["value"] == "{'accuracy': 0.97}"
    gone = weakref.ref(result)
    client.subscriptions.clear()
    del result
    gc.collect()
    assert gone() is None
    assert widget.finished


def test_a_failure_shows_its_traceback(page, client):
    result = FakeResult(client, "a1")
    shown(ResultWidget(result))
    result.fails(ValueError("no such <b>file</b>"))
    client.tell()
    card = page.messages[-1]["card"]
    assert card["kind"] == "failed"
    assert card["error"] == "ValueError: no such <b>file</b>"
    assert "no such <b>file</b>" in card["traceback"]


def test_a_finished_widget_is_told_of_nothing_more(page, client):
    result = FakeResult(client, "a1")
    widget = shown(ResultWidget(result))
    result.succeeds(1)
    client.tell()
    page.messages.clear()
    result.becomes(output="late")
    client.tell()
    assert page.messages == []
    assert widget._subscription.closed


def test_a_closed_widget_closes_its_subscription(page, client):
    widget = shown(ResultWidget(FakeResult(client, "a1")))
    widget.close()
    assert client.subscriptions[0].closed


def test_cancel_is_handed_to_the_result_at_once(page, client):
    widget = shown(ResultWidget(FakeResult(client, "a1")))
    page.say(widget, type="cancel", index=None)
    assert client.cancelled == ["a1"]


def test_a_page_may_ask_why_a_task_waits(page, client):
    result = FakeResult(client, "a1")
    result.why = lambda: "no worker takes queue 'gpu'"
    page.say(shown(ResultWidget(result)), type="why", index=None)
    assert page.messages[-1] == {"type": "why", "index": None, "text": "no worker takes queue 'gpu'"}
