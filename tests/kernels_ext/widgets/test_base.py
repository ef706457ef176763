"""What widgets leave in the notebook."""

import pytest

from kernels_ext.widgets.base import VIEW, settle
from kernels_ext.widgets.result import ResultWidget
from tests.kernels_ext.widgets.fakes import FakeResult


@pytest.fixture
def result(client):
    return FakeResult(client, "a1")


@pytest.fixture
def widget(page, result):
    widget = ResultWidget(result)
    widget.show()
    return widget


def test_a_new_output_holds_view_html_and_text(page, widget):
    [output] = page.outputs
    assert set(output.data) == {"text/plain", "text/html", VIEW}
    assert output.data[VIEW]["model_id"] == widget.model_id
    assert (output.display_id, output.update) == (widget.key, False)


def test_a_page_with_islands_turns_the_output_into_html(page, widget):
    page.say(widget, type="hello", islands=True)
    output = page.outputs[-1]
    assert set(output.data) == {"text/plain", "text/html"}
    assert f'data-key="{widget.key}"' in output.data["text/html"]
    assert output.update


def test_a_second_hello_does_not_publish_again(page, widget):
    page.say(widget, type="hello", islands=True)
    page.say(widget, type="hello", islands=True)
    assert len(page.outputs) == 2


def test_a_page_without_islands_keeps_the_view(page, widget, client, result):
    page.say(widget, type="hello", islands=False)
    result.succeeds(5)
    client.tell()
    output = page.outputs[-1]
    assert VIEW in output.data
    assert "SUCCESS" in output.data["text/html"]


def test_a_page_without_islands_that_comes_late_gets_the_view_back(page, widget, client, result):
    result.succeeds(5)
    client.tell()
    assert VIEW not in page.outputs[-1].data
    page.say(widget, type="hello", islands=False)
    assert VIEW in page.outputs[-1].data


def test_without_a_page_the_final_output_has_no_view(page, widget, client, result):
    result.succeeds(5)
    client.tell()
    assert set(page.outputs[-1].data) == {"text/plain", "text/html"}
    assert "✓ train" in page.outputs[-1].data["text/plain"]


def test_the_end_of_a_cell_finishes_what_is_ready(page, widget, result):
    result.succeeds(5)
    settle()
    assert widget.finished
    assert "SUCCESS" in page.outputs[-1].data["text/html"]


def test_the_end_of_a_cell_refreshes_frozen_html_that_nobody_looks_at(page, widget, result):
    result.starts()
    widget.update([0])
    settle()
    settle()
    assert "STARTED" in page.outputs[-1].data["text/html"]
    assert len(page.outputs) == 2


def test_the_end_of_a_cell_leaves_alone_what_a_page_shows(page, widget, result):
    page.say(widget, type="hello", islands=True)
    result.starts()
    widget.update([0])
    settle()
    assert len(page.outputs) == 2


def test_a_drawing_that_fails_does_not_disturb_the_cell(page, widget, result, monkeypatch, caplog):
    monkeypatch.setattr(result, "peek", lambda: 1 / 0)
    settle()
    assert "could not be drawn" in caplog.text


def test_a_message_that_nobody_knows_is_an_error(page, widget):
    with pytest.raises(ValueError, match="unknown message"):
        page.say(widget, type="dance")
