"""Whatever a task does, its run has an ending."""

import _thread
import operator
import signal
import sys
from datetime import timedelta
from functools import partial

import pytest

from nbqueue.messages import Assignment, Outcome, Task
from nbqueue.states import FAILURE, REVOKED
from nbqueue.wire import payload
from nbqueue.wire.payload import LoadedTask, TaskOptions
from nbqueue.worker.executor.runner import Runner
from nbqueue.worker.interrupts import Gate
from nbqueue.worker.reports import Reports


class Definitions:
    """Has one task."""

    def __init__(self, function, **options):
        self._loaded = LoadedTask(function, TaskOptions(name="f", **options))

    def load(self, task):
        return self._loaded


@pytest.fixture
def gate():
    before = signal.getsignal(signal.SIGINT), sys.unraisablehook
    gate = Gate()
    gate.attach()
    yield gate
    signal.signal(signal.SIGINT, before[0])
    sys.unraisablehook = before[1]


def run(gate, function, **options) -> Outcome:
    runner = Runner(Definitions(function, **options), gate, worker="w", whole_process=False)
    task = Task("id", "f", "", payload.dumps_arguments((), {}))
    return runner.run(Assignment(task, 7), Reports("id", 7))


def test_an_interrupt_that_is_pending_when_c_code_fails_ends_the_run_and_no_more(gate):
    # all in C, so that the signal's handler runs no sooner than in the runner's own except clause
    calls = [
        partial(setattr, gate, "_request", (7, "cancel")),
        _thread.interrupt_main,
        partial(operator.truediv, 1, 0),
    ]
    assert run(gate, partial(list, map(operator.methodcaller("__call__"), calls))).state == REVOKED


@pytest.mark.parametrize("kinds", [[OSError], "OSError", 5])
def test_options_that_nobody_checked_make_a_failure(gate, kinds):
    def fail():
        raise OSError("down")

    outcome = run(gate, fail, autoretry_for=kinds)
    assert (outcome.state, outcome.failure.type) == (FAILURE, "TypeError")
    assert "down" in outcome.failure.traceback


@pytest.mark.parametrize("delay", ["soon", timedelta(1)])
def test_a_delay_that_is_no_number_makes_a_failure(gate, delay):
    def fail():
        raise OSError("down")

    outcome = run(gate, fail, autoretry_for=(OSError,), default_retry_delay=delay)
    assert (outcome.state, outcome.failure.type) in [(FAILURE, "ValueError"), (FAILURE, "TypeError")]


def test_a_cause_that_is_no_exception_makes_a_failure(gate):
    def fail():
        from nbqueue.exceptions import Retry

        raise Retry(exc="a text", countdown=0)

    assert run(gate, fail).state == FAILURE


def test_a_countdown_that_is_no_number_makes_a_failure(gate):
    def fail():
        from nbqueue.exceptions import Retry

        raise Retry(countdown="soon")

    outcome = run(gate, fail)
    assert (outcome.state, outcome.failure.type) == (FAILURE, "ValueError")
