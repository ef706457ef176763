"""Whatever a task reports, it can be sent."""

import contextlib
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbqueue.messages import Progress, Update
from nbqueue.wire import codec
from nbqueue.worker.reports import Reports


class Text(str):
    """Not the one class of strings that the codec knows, and its ``str()`` is not either."""

    def __str__(self):
        return self


NUMBERS = (
    st.integers()
    | st.floats(allow_nan=False)
    | st.booleans()
    | st.fractions()
    | st.decimals(allow_nan=False)
    | st.floats(width=32, allow_nan=False).map(np.float32)
    | st.integers(-(2**63), 2**63 - 1).map(np.int64)
)
WORDS = st.text(st.characters()) | st.text(st.characters()).map(Text) | st.text(st.characters()).map(np.str_)


@given(NUMBERS, NUMBERS | st.none(), WORDS | NUMBERS | st.none(), WORDS, WORDS)
def test_odd_numbers_and_texts_arrive(current, total, description, state, printed):
    reports = Reports("id", 7)
    with contextlib.suppress(OverflowError):  # integers beyond floats: the task's error
        reports.show(current, total, description)
    reports.update(state, b"meta")
    reports.output.write("stdout", printed)
    sent = reports.collect(last=True)
    arrived = codec.decode(codec.encode(sent))
    assert [type(message) for message in arrived] == [type(message) for message in sent]
    for message in arrived:
        if isinstance(message, Progress):
            assert message.current == float(current)


@pytest.mark.parametrize("number", [np.int64(3), np.float32(3), Fraction(3), Decimal(3), True + 2])
def test_all_kinds_of_numbers_are_shown_as_floats(number):
    reports = Reports("id", 7)
    reports.show(number, number, "d")
    assert reports.collect() == [Progress("id", 7, 3.0, 3.0, "d")]


@pytest.mark.parametrize("number", ["many", object(), [1]])
def test_what_is_no_number_is_the_tasks_error_and_shows_nothing(number):
    reports = Reports("id", 7)
    with pytest.raises((TypeError, ValueError)):
        reports.show(1, number)
    assert reports.collect() == []


@pytest.mark.parametrize("state", [5, None, ["A"], b"A"])
def test_a_state_that_is_no_text_is_the_tasks_error(state):
    reports = Reports("id", 7)
    with pytest.raises(TypeError, match="a state is a str"):
        reports.update(state, b"")
    assert reports.collect() == []


def test_of_several_states_the_latest_travels():
    reports = Reports("id", 7)
    reports.update("A", b"1")
    reports.update("B", b"2")
    assert reports.collect() == [Update("id", 7, "B", b"2")]


def test_what_was_told_is_told_again_when_asked_to():
    reports = Reports("id", 7)
    reports.show(1, 2)
    reports.update("TRAINING", b"a")
    told = reports.collect()
    assert reports.collect() == []
    reports.repeat()
    assert reports.collect() == told
    reports.repeat()
    reports.update("TESTING", b"b")
    assert Update("id", 7, "TESTING", b"b") in reports.collect()


def test_nothing_is_told_again_that_was_not_told():
    reports = Reports("id", 7)
    reports.repeat()
    assert reports.collect() == []
