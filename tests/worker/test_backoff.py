"""Waiting longer and longer, in virtual time."""

from nbqueue.worker.backoff import Backoff


def test_delays_double_up_to_the_longest():
    backoff, now, delays = Backoff(0.5, 30.0, 60.0), 100.0, []
    for _ in range(9):
        delays.append(backoff.failed(now))
        now += delays[-1] + 0.1
    assert delays == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]


def test_failures_at_the_same_time_count_as_one():
    backoff = Backoff(0.5, 30.0, 60.0)
    assert [backoff.failed(100.0), backoff.failed(100.1), backoff.failed(100.2)] == [0.5, 0.5, 0.5]
    assert backoff.failed(101.0) == 1.0


def test_after_a_healthy_time_they_begin_anew():
    backoff, now = Backoff(0.5, 30.0, 60.0), 100.0
    for _ in range(8):
        now += backoff.failed(now)
    assert backoff.failed(now + 60.0) == 30.0
    assert backoff.failed(now + 60.0 + 91.0) == 0.5
