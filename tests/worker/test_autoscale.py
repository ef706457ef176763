"""How many executors there should be."""

import pytest

from nbqueue.worker.autoscale import FALL, LOOK, Autoscaler


class Pool:
    """A pool that follows, in virtual time."""

    def __init__(self, most, least):
        self.scaler = Autoscaler(most, least)
        self.count = least
        self.now = 0.0

    def work(self, seconds, busy):
        """The first ``busy(count)`` executors are found at work."""
        end = self.now + seconds
        while self.now < end:
            self.now += LOOK
            self.count = self.scaler.look(self.now, range(busy(self.count)), self.count)


@pytest.fixture
def pool():
    return Pool(10, 1)


def test_it_grows_to_the_most_while_all_are_at_work(pool):
    pool.work(30, lambda count: count)
    assert pool.count == 10


def test_it_grows_at_first_by_one_and_then_faster(pool):
    seen = []
    for _ in range(4):
        pool.work(1.2, lambda count: count)
        seen.append(pool.count)
    assert seen == [2, 3, 4, 6]


def test_executors_that_are_between_two_short_tasks_now_and_then_count_as_busy(pool):
    looks = iter([True, True, True, False] * 1000)
    pool.work(5, lambda count: count if next(looks) else 0)
    assert pool.count > 2


def test_it_does_not_grow_for_little_work(pool):
    pool.count = 4
    pool.work(10, lambda count: 2)
    assert pool.count == 4


def test_those_that_nobody_needed_for_a_while_go(pool):
    pool.count = 8
    pool.work(FALL - 1, lambda count: 3)
    assert pool.count == 8
    pool.work(10 * FALL, lambda count: 3)
    assert pool.count == 4


def test_a_moment_of_work_keeps_them(pool):
    pool.count = 4
    for _ in range(5):
        pool.work(FALL / 2, lambda count: 0)
        pool.work(LOOK, lambda count: count)
    assert pool.count == 4


def test_the_least_stay(pool):
    pool = Pool(10, 2)
    pool.count = 6
    pool.work(2 * FALL, lambda count: 0)
    assert pool.count == 2


def test_other_limits_are_kept_at_once():
    pool = Pool(4, 2)
    pool.count = 9
    pool.work(LOOK, lambda count: count)
    assert pool.count == 4
