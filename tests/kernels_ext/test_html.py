"""Frozen html."""

import html.parser

import pytest

from kernels_ext.details import Details
from kernels_ext.html import frozen_grid, frozen_task, island
from nbqueue.messages import Failure
from nbqueue.states import FAILURE, PENDING, REVOKED, STARTED, SUCCESS
from tests.kernels_ext.widgets.fakes import EMPTY

HOSTILE = "<img src=x onerror=alert(1)>\"'&"


class Outline(html.parser.HTMLParser):
    """Tags and text of some html; fails on tags that are not closed in order."""

    def __init__(self, source):
        super().__init__()
        self.tags, self.words, self._open = set(), [], []
        self.feed(source)
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return "".join(self.words)


def test_a_task_shows_state_name_worker_time_output_and_value():
    view = EMPTY._replace(
        id="fb260bbc-a09d-0001", state=SUCCESS, worker="w1", started_at=1.0, finished_at=3.0, output="hello\n"
    )
    text = Outline(frozen_task(view, Details(value="42"), 9.0)).text
    for part in ("SUCCESS", "train", "fb26…0001", "w1", "2 s", "hello", "42"):
        assert part in text
    assert "as of" not in text


def test_a_task_that_runs_says_when_it_was_looked_at():
    view = EMPTY._replace(state=STARTED, current=3, total=4, description="folds")
    text = Outline(frozen_task(view, Details(), 9.0)).text
    assert "folds 3/4" in text
    assert "as of" in text


def test_a_failure_shows_its_traceback_or_else_its_message():
    failure = Failure(type="ValueError", module="builtins", message="bad", traceback="")
    view = EMPTY._replace(state=FAILURE, failure=failure)
    assert "ValueError: bad" in Outline(frozen_task(view, Details(), 0.0)).text
    assert "\x1b" not in frozen_task(view, Details(traceback="\x1b[31mline 5\x1b[0m"), 0.0)


@pytest.mark.parametrize("field", ["name", "worker", "output", "description", "state", "id"])
def test_whatever_comes_from_a_task_is_escaped(field):
    view = EMPTY._replace(current=1, **{field: HOSTILE})
    outline = Outline(frozen_task(view, Details(value=HOSTILE, traceback=HOSTILE), 0.0))
    assert "img" not in outline.tags


def test_a_grid_counts_its_states_and_names_failures():
    counts = {SUCCESS: 7, FAILURE: 2, REVOKED: 1}
    source = island("k", frozen_grid(HOSTILE, counts, [(3, HOSTILE)], 12.0, 0.0))
    outline = Outline(source)
    for part in ("FAILURE", "×10", "10 of 10 done", "12 s", "7 SUCCESS", "2 FAILURE", f"#3  {HOSTILE}"):
        assert part in outline.text
    assert "img" not in outline.tags


@pytest.mark.parametrize(
    ("counts", "state"),
    [
        ({PENDING: 3}, PENDING),
        ({PENDING: 2, SUCCESS: 1}, STARTED),
        ({SUCCESS: 3}, SUCCESS),
        ({SUCCESS: 2, REVOKED: 1}, REVOKED),
        ({}, SUCCESS),
    ],
)
def test_the_state_of_all_is_told_from_the_counts(counts, state):
    assert f" {state}</b>" in frozen_grid("f", counts, [], None, 0.0)
