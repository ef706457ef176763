"""Schedules that are played in every test run; ``make sim SEEDS=100000`` plays more."""

import random

import pytest

from tests.sim.schedules import failure, regressions

CHUNK = 50


@pytest.mark.parametrize("first", range(0, 2000, CHUNK))
def test_nothing_is_lost_and_nothing_is_accepted_twice_whatever_breaks(first: int) -> None:
    for seed in range(first, first + CHUNK):
        assert not (text := failure(seed)), text


def test_what_once_failed_does_not_fail_again() -> None:
    for seed in regressions():
        assert not (text := failure(seed)), text


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_schedules_that_were_never_tried() -> None:
    """New seeds at each run; the one that fails is in the message, and replays it."""
    first = random.SystemRandom().randrange(10**9)
    for seed in range(first, first + 5000):
        assert not (text := failure(seed)), text
