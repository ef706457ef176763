"""Waiting for a task: how long, and what is heard meanwhile."""

from datetime import timedelta
from typing import Any

import pytest

from nbqueue import messages as m
from nbqueue.client.records import TaskRecord
from nbqueue.client.waiting import News, seconds_to_wait


@pytest.mark.parametrize(
    ("said", "seconds"),
    [(None, None), (2, 2.0), (0.5, 0.5), (timedelta(minutes=1), 60.0), (-1, 0.0), (timedelta(-1), 0.0)],
)
def test_a_timeout_is_seconds_and_one_that_has_passed_is_none_left(said: Any, seconds: float | None) -> None:
    assert seconds_to_wait(said) == seconds


@pytest.mark.parametrize("said", ["a", "2", True, [1]])
def test_what_is_no_timeout_is_said_so(said: Any) -> None:
    with pytest.raises(TypeError, match="timeout is a number of seconds, or None"):
        seconds_to_wait(said)


def test_news_are_handed_on_once_each_and_in_order_until_it_is_done() -> None:
    record, heard = TaskRecord("1"), []
    news = News(record, heard.append)
    record.on_started(m.Started("1", 1, "w"), 0.0)
    news.changed()
    news.changed()
    record.on_update(m.Update("1", 1, "PROGRESS", b"half"))
    news.changed()
    assert not news.wait(0.0)
    assert heard == [("STARTED", b""), ("PROGRESS", b"half")]
    news.set()
    assert news.wait(1.0)


def test_the_end_is_no_news() -> None:
    record, heard = TaskRecord("1"), []
    news = News(record, heard.append)
    record.on_outcome(m.Outcome("1", 1, "SUCCESS"), 0.0)
    news.changed()
    news.set()
    assert news.wait(1.0)
    assert heard == []
