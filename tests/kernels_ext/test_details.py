"""What became of a finished task, for people."""

import pytest

from kernels_ext.details import MAX_VALUE, details, preview, render_traceback, why
from nbqueue.exceptions import ConnectionLostError
from nbqueue.messages import Failure
from nbqueue.states import FAILURE, REVOKED, SUCCESS
from nbqueue.wire import failure as failures
from tests.kernels_ext.widgets.fakes import EMPTY


class Result:
    """A finished result; a value that is an exception class is raised when it is read."""

    def __init__(self, value):
        self._value = value

    @property
    def result(self):
        if isinstance(self._value, type):
            raise self._value("cannot be read")
        return self._value


@pytest.mark.parametrize(
    ("value", "shown"),
    [(5, "5"), ("text", "'text'"), (None, ""), ({"a": [1, 2]}, "{'a': [1, 2]}")],
)
def test_a_value_is_shown_as_its_repr(value, shown):
    assert preview(Result(value)) == shown


def test_a_large_value_is_cut():
    assert len(preview(Result("x" * 10**6))) < MAX_VALUE + 10
    assert preview(Result(list(range(10**6)))).endswith("...]")


def test_a_value_that_cannot_be_read_says_why():
    assert preview(Result(ImportError)) == "(the value cannot be shown: ImportError: cannot be read)"


def test_a_repr_that_fails_says_why():
    class Rude:
        def __repr__(self):
            raise RuntimeError("no")

    assert "RuntimeError: no" in preview(Result(Rude()))


def test_a_traceback_has_the_workers_frames_only():
    def divide():
        return 1 / 0

    try:
        divide()
    except ZeroDivisionError as error:
        failure = failures.capture(error)
    rebuilt = failures.rebuild(failure, "in task divide on w1")
    try:
        raise rebuilt
    except ZeroDivisionError as error:
        text = render_traceback(error)
    assert "return 1 / 0" in text.replace("\x1b[39m", "") or "divide" in text
    assert "raise rebuilt" not in text
    assert "in task divide on w1" in text


def test_a_failure_that_cannot_be_rebuilt_shows_its_text():
    failure = Failure(type="E", module="m", message="bad", traceback="Traceback: E: bad")
    view = EMPTY._replace(state=FAILURE, failure=failure)
    assert details(Result(ImportError), view).traceback == "Traceback: E: bad"


def test_only_success_has_a_value_and_only_failure_a_traceback():
    assert details(Result(5), EMPTY._replace(state=SUCCESS, has_value=True)).value == "5"
    assert details(Result(None), EMPTY._replace(state=SUCCESS)) == ("", "")
    assert details(Result(ValueError()), EMPTY._replace(state=REVOKED)) == ("", "")


def test_why_answers_with_the_trouble_when_the_broker_is_gone():
    class Lost:
        def why(self):
            raise ConnectionLostError("nobody listens on port 5")

    assert why(Lost()) == "nobody listens on port 5"
