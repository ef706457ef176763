"""A worker's console."""

import io

import pytest

from nbqueue.messages import Failure, Outcome, Task
from nbqueue.wire import payload
from nbqueue.worker.log import TaskLog, logger

TASK = Task("id1", "tasks.f", "", b"")


class Loud:
    """Says when it is loaded."""

    loaded = 0

    def __reduce__(self):
        return (_load, ())


def _load():
    Loud.loaded += 1
    return "loud"


def outcome(value, state="SUCCESS", failed=None):
    return Outcome("id1", 7, state, value, failed, 0.25, "w")


@pytest.fixture
def stream():
    return io.StringIO()


def test_a_name_with_a_percent_sign_is_only_a_name(stream):
    logger("100%@host", "INFO", stream).info("ready")
    assert stream.getvalue().endswith("INFO/100%@host] ready\n")


def test_a_value_is_shown(stream):
    TaskLog(logger("w", "INFO", stream)).ended(TASK, outcome(payload.dumps_value([1, 2])))
    assert "task tasks.f[id1] succeeded in 0.25s: [1, 2]\n" in stream.getvalue()


def test_a_large_value_is_not_loaded_to_be_shown(stream):
    TaskLog(logger("w", "INFO", stream)).ended(TASK, outcome(bytes(20_000)))
    assert "succeeded in 0.25s: (20,000 bytes)\n" in stream.getvalue()


@pytest.mark.parametrize("level", ["WARNING", "ERROR"])
def test_at_a_higher_level_failures_are_told_and_values_not_even_loaded(stream, level):
    log = TaskLog(logger("w", level, stream))
    log.received(TASK)
    log.ended(TASK, outcome(payload.dumps_value(Loud())))
    assert (stream.getvalue(), Loud.loaded) == ("", 0)
    log.ended(TASK, outcome(b"", "FAILURE", Failure("KeyError", "builtins", "x", "Traceback …")))
    assert "ERROR/w] task tasks.f[id1] raised unexpected: KeyError('x')" in stream.getvalue()


def test_a_repr_that_ends_the_process_does_not(stream):
    class Bye:
        def __repr__(self):
            raise SystemExit

    TaskLog(logger("w", "INFO", stream)).ended(TASK, outcome(payload.dumps_value(Bye())))
    assert "(SystemExit in its repr)" in stream.getvalue()
