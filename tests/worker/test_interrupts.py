"""Interrupts reach the run that they are meant for, and no other."""

import signal
import sys
import threading
import time
import types

import pytest

from nbqueue.exceptions import SoftTimeLimitExceeded
from nbqueue.worker.interrupts import Gate, ThreadGate


@pytest.fixture
def gate():
    """A gate of this (main) thread; what it changes in the process is put back afterwards."""
    before = signal.getsignal(signal.SIGINT), sys.unraisablehook
    gate = Gate()
    gate.attach()
    yield gate
    gate.leave()
    signal.signal(signal.SIGINT, before[0])
    sys.unraisablehook = before[1]


def later(call, *args):
    timer = threading.Timer(0.05, call, args)
    timer.start()
    return timer


def test_a_cancel_interrupts_the_run_even_while_it_sleeps(gate):
    timer = later(gate.interrupt, 7, "cancel")
    began = time.monotonic()
    gate.enter(7)
    with pytest.raises(KeyboardInterrupt):
        time.sleep(5)
    gate.leave()
    timer.join()
    assert time.monotonic() - began < 2
    assert gate.cancelled(7)


class Deaf:
    """Is interrupted while it is deleted, where Python swallows every exception."""

    def __init__(self, gate, reason):
        self.interrupt = gate.interrupt, reason

    def __del__(self):
        interrupt, reason = self.interrupt
        interrupt(7, reason)
        time.sleep(0)


@pytest.mark.parametrize(
    ("reason", "exception"), [("cancel", KeyboardInterrupt), ("soft_time_limit", SoftTimeLimitExceeded)]
)
def test_an_interrupt_that_a_destructor_swallowed_is_raised_again(gate, reason, exception):
    gate.enter(7)
    waiting = [Deaf(gate, reason)]
    waiting.clear()
    with pytest.raises(exception):
        time.sleep(5)


def test_other_exceptions_in_a_destructor_are_reported_as_ever(monkeypatch):
    told = []
    monkeypatch.setattr(sys, "unraisablehook", told.append)
    gate = Gate()
    gate.attach()
    gate._on_unraisable(types.SimpleNamespace(exc_type=KeyboardInterrupt))
    assert len(told) == 1


def test_a_soft_limit_is_its_own_exception(gate):
    gate.enter(7)
    timer = later(gate.interrupt, 7, "soft_time_limit")
    with pytest.raises(SoftTimeLimitExceeded):
        time.sleep(5)
    timer.join()
    assert not gate.cancelled(7)


def test_an_interrupt_for_another_run_is_ignored(gate):
    gate.enter(8)
    gate.interrupt(7, "cancel")
    time.sleep(0)
    gate.leave()


def test_an_interrupt_that_comes_after_the_run_does_not_hit_the_next(gate):
    gate.enter(7)
    gate.leave()
    gate.interrupt(7, "cancel")
    gate.attach()
    gate.enter(8)
    gate.leave()
    assert not gate.cancelled(8)


def test_an_interrupt_that_comes_before_the_run_is_raised_at_its_start(gate):
    gate.interrupt(7, "cancel")
    assert gate.cancelled(7)
    with pytest.raises(KeyboardInterrupt):
        gate.enter(7)


def test_a_sigint_that_nobody_asked_for_is_ignored(gate):
    gate.enter(7)
    signal.raise_signal(signal.SIGINT)
    gate.leave()


def test_a_task_that_changed_the_signal_handler_does_not_keep_the_next_from_being_interrupted(gate):
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    gate.attach()
    gate.enter(7)
    timer = later(gate.interrupt, 7, "cancel")
    with pytest.raises(KeyboardInterrupt):
        time.sleep(5)
    timer.join()


def test_in_another_thread_the_exception_is_raised_at_the_next_byte_code():
    gate, caught, entered = ThreadGate(), [], threading.Event()

    def run():
        gate.attach()
        try:
            gate.enter(7)
            entered.set()
            while True:
                pass
        except KeyboardInterrupt as error:
            gate.leave()
            caught.append(type(error))

    thread = threading.Thread(target=run)
    thread.start()
    assert entered.wait(5)
    gate.interrupt(7, "cancel")
    thread.join(5)
    assert caught == [KeyboardInterrupt]


def test_in_another_thread_an_exception_that_comes_too_late_is_withdrawn():
    gate, survived = ThreadGate(), threading.Event()

    def run():
        gate.attach()
        for token in range(2000):
            try:  # as the runner does it
                try:
                    gate.enter(token)
                finally:
                    gate.leave()
            except KeyboardInterrupt:
                gate.leave()
            sum(range(20))
        survived.set()

    thread = threading.Thread(target=run)
    thread.start()
    while thread.is_alive():
        # often just when the run that it names ends
        gate.interrupt(gate._inside, "cancel")
    assert survived.is_set()
