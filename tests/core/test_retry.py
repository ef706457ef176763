"""When a failed task runs again."""

from dataclasses import dataclass

import pytest

from nbqueue.core import retry


@dataclass(frozen=True)
class Policy:
    max_retries: int | None = 3
    default_retry_delay: float = 180.0
    retry_backoff: float = 0.0
    retry_backoff_max: float = 600.0
    retry_jitter: bool = False


def test_three_retries_are_four_runs():
    assert [retry.allowed(3, retries) for retries in range(5)] == [True, True, True, False, False]


def test_none_is_no_limit():
    assert retry.allowed(None, 10**6)


def test_without_backoff_every_delay_is_the_same():
    assert {retry.delay(Policy(default_retry_delay=7.0), n, 0.5) for n in range(5)} == {7.0}


def test_with_backoff_delays_double_up_to_the_maximum():
    policy = Policy(retry_backoff=2.0, retry_backoff_max=20.0)
    assert [retry.delay(policy, n, 0.5) for n in range(5)] == [2.0, 4.0, 8.0, 16.0, 20.0]


def test_jitter_draws_the_delay_from_zero_up():
    policy = Policy(retry_backoff=8.0, retry_jitter=True)
    assert [retry.delay(policy, 0, random) for random in (0.0, 0.5, 1.0)] == [0.0, 4.0, 8.0]


@pytest.mark.parametrize("retries", [100, 10_000])
def test_many_retries_do_not_overflow(retries):
    assert retry.delay(Policy(retry_backoff=1.0), retries, 1.0) == 600.0
