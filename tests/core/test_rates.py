"""How often tasks of a name start, over all workers."""

import time

import pytest

from nbqueue import messages as m
from nbqueue.core.limits import TimeLimits, spoken
from tests.core.by_hand import Hand

TEN_A_MINUTE = 10 / 60


def test_tasks_of_a_limited_name_start_one_after_the_other_evenly() -> None:
    hand = Hand()
    hand.worker(executors=4)
    hand.submit("a", "b", "c", rate=TEN_A_MINUTE)
    assert hand.taken() == ["a"]
    hand.wait(5.9)
    assert hand.taken() == []
    hand.wait(0.2)
    assert hand.taken() == ["b"]
    hand.wait(6.0)
    assert hand.taken() == ["c"]


def test_the_rate_holds_over_all_workers_and_queues() -> None:
    hand = Hand()
    hand.worker("v")
    hand.worker("w", queues=["other"])
    hand.submit("a", rate=1.0)
    hand.submit("b", rate=1.0, queue="other")
    assert hand.taken() == ["a"]
    hand.wait(1.0)
    assert hand.taken() == ["b"]


def test_after_a_pause_there_is_no_burst() -> None:
    hand = Hand()
    hand.worker(executors=3)
    hand.submit("a", rate=1.0)
    hand.wait(100.0)
    hand.submit("b", "c", rate=1.0)
    assert hand.taken() == ["a", "b"]
    hand.wait(0.9)
    assert hand.taken() == []


def test_fast_rates_are_kept_in_spite_of_late_timers() -> None:
    hand = Hand()
    hand.worker(executors=100)
    hand.submit(*map(str, range(100)), rate=1000.0)
    for _ in range(20):
        hand.now += 0.005  # each tick 5 ms late
        hand.wait()
    assert len(hand.taken()) == 100


def test_others_of_the_queue_do_not_wait_for_a_limited_name() -> None:
    hand = Hand()
    hand.worker(executors=2)
    hand.submit("a", "b", name="limited", rate=0.1, priority=9)
    hand.submit("c", name="free")
    assert hand.taken() == ["a", "c"]


def test_a_million_limited_tasks_cost_the_others_nothing() -> None:
    hand = Hand()
    hand.submit(*map(str, range(20_000)), name="limited", rate=1e-3)
    hand.worker(executors=2)
    hand.submit("x", name="free")
    assert "x" in hand.taken()
    core, began = hand.core, time.perf_counter()
    executor = next(iter(core.dispatch.executors.values()))
    for _ in range(1000):
        core.dispatch.feed(executor, hand.now)
    assert time.perf_counter() - began < 0.5  # a scan would take some seconds


def test_no_two_limited_tasks_wait_in_an_executor() -> None:
    """They were handed out seconds apart, and would start together when what is before them ends."""
    hand = Hand()
    hand.worker()
    hand.submit("first", rate=1.0)
    hand.finish("first", runtime=1e-6)  # short: others of that name would travel in batches
    hand.submit("long")
    hand.submit("a", "b", rate=1.0)
    hand.wait(10.0)
    assert hand.taken() == ["first", "long", "a"]


def test_a_retry_counts_as_a_start() -> None:
    hand = Hand()
    hand.worker()
    hand.submit("a", rate=0.1)
    record = hand.core.tasks.records.get("a")
    assert record is not None
    hand.say("w.0", m.Retry("a", record.token, 0.0))
    hand.taken()
    hand.wait(9.0)
    assert hand.taken() == []
    hand.wait(1.0)
    assert hand.taken() == ["a"]


def test_why_says_the_rate_and_when_the_next_one_starts() -> None:
    hand = Hand()
    hand.worker(executors=2)
    hand.submit("a", "b", "c", rate=TEN_A_MINUTE)
    hand.wait(2.0)
    assert hand.why("b") == "rate limit of 10/m for f: the next one starts in 4.0 s"
    assert hand.why("c").endswith("in 4.0 s, 1 task is before it")


def test_the_latest_task_says_the_rate_for_all_of_its_name() -> None:
    hand = Hand()
    hand.worker(executors=4)
    hand.submit("a", "b", rate=1 / 3600)
    hand.wait(5.0)
    hand.submit("c", rate=1.0)
    assert hand.taken() == ["a", "b"]
    hand.wait(1.0)
    assert hand.taken() == ["c"]


@pytest.mark.parametrize("from_snapshot", [False, True])
def test_a_restarted_broker_remembers_the_last_start(from_snapshot: bool) -> None:
    hand = Hand()
    hand.worker()
    hand.submit("a", "b", rate=0.1)
    hand.finish("a")
    if from_snapshot:
        hand.snapshot()
    hand.wait(5.0)
    hand.restart()
    hand.worker()
    assert hand.taken() == []
    hand.wait(5.0)
    assert hand.taken() == ["b"]


class TestSetAtRuntime:
    def set_rate(self, hand: Hand, rate: float | None) -> None:
        hand._perform([*_flushed(hand, rate)])

    def test_it_holds_for_tasks_that_wait_among_others(self) -> None:
        hand = Hand()
        hand.submit("a", "b", "c")
        hand.submit("x", name="other")
        self.set_rate(hand, 1.0)
        hand.worker(executors=4)
        assert sorted(hand.taken()) == ["a", "x"]
        hand.wait(2.0)
        assert hand.taken() == ["b", "c"]

    def test_0_lets_all_of_them_go_in_their_old_order(self) -> None:
        hand = Hand()
        hand.submit("a", name="other")
        hand.submit("b", "c", rate=0.001)
        hand.submit("d", name="other")
        self.set_rate(hand, 0.0)
        hand.worker(executors=4)
        assert hand.taken("w.0", "w.1", "w.2", "w.3") == ["a", "b", "c", "d"]

    def test_it_wins_over_the_rate_of_tasks_until_it_is_taken_back(self) -> None:
        hand = Hand()
        hand.worker(executors=9)
        hand.submit("a", "b", rate=0.001)
        self.set_rate(hand, 1.0)
        hand.wait(1.0)
        assert hand.taken() == ["a", "b"]
        hand.submit("c", "d", rate=0.001)
        self.set_rate(hand, None)
        hand.wait(500.0)
        assert hand.taken() == []
        assert "3.6/h" in hand.why("c")

    @pytest.mark.parametrize("from_snapshot", [False, True])
    def test_it_survives_the_broker(self, from_snapshot: bool) -> None:
        hand = Hand()
        self.set_rate(hand, 0.1)
        if from_snapshot:
            hand.snapshot()
        hand.restart()
        hand.worker(executors=3)
        hand.submit("a", "b")
        assert hand.taken() == ["a"]
        hand.wait(10.0)
        assert hand.taken() == ["b"]


def _flushed(hand: Hand, rate: float | None) -> list[object]:
    hand.core.dispatch.set_rate("f", rate, hand.now)
    return list(hand.core.tick(hand.now))


def test_time_limits_that_were_set_hold_for_later_runs_also_after_a_restart() -> None:
    hand = Hand()
    hand.worker()
    hand.submit("before")
    hand.core.dispatch.set_time_limits("f", TimeLimits(None, 5.0, hand.now))
    hand._perform(hand.core.tick(hand.now))
    held = hand.core.tasks.records.get("before")
    assert held is not None
    hand.restart()
    hand.worker(held=[("before", held.token)])  # its run goes on
    before = hand.core.tasks.records.get("before")
    assert before is not None
    assert before.task.time_limit is None
    hand.submit("after")
    hand.finish("before")
    after = hand.core.tasks.records.get("after")
    assert after is not None
    assert after.task.time_limit == 5.0
    hand.wait(5.1)
    assert after.outcome is not None
    assert after.outcome.failure is not None
    assert after.outcome.failure.type == "TimeLimitExceeded"


@pytest.mark.parametrize(
    ("rate", "words"), [(10.0, "10/s"), (10 / 60, "10/m"), (1 / 3600, "1/h"), (1e-6, "0.0036/h")]
)
def test_rates_are_said_as_people_write_them(rate: float, words: str) -> None:
    assert spoken(rate) == words
