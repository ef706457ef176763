"""Which workers a task may run on, and what it occupies there."""

import pytest

from nbqueue import messages as m
from tests.core.by_hand import Hand

GPU = m.Demand(resources={"gpu": 1.0})


def memory(gigabytes: float) -> m.Demand:
    return m.Demand(resources={"memory": gigabytes * 1e9})


def test_a_task_goes_to_a_worker_with_its_tags() -> None:
    hand = Hand()
    hand.worker("plain")
    hand.submit("a", demand=m.Demand(["gpu", "fast"]))
    hand.worker("half", tags=["gpu"])
    assert hand.taken() == []
    assert hand.why("a") == "no worker has the tag 'fast': start one with `nbqueue worker --tag fast`"
    hand.worker("both", tags=["fast", "gpu", "more"])
    assert hand.taken("both.0") == ["a"]


def test_a_worker_gets_no_more_than_its_resources_allow_over_its_executors() -> None:
    hand = Hand()
    hand.worker(executors=4, resources={"gpu": 2.0})
    hand.submit("a", "b", "c", demand=GPU)
    hand.submit("x")
    assert sorted(hand.taken()) == ["a", "b", "x"]
    assert hand.why("c") == "waiting for gpu: it needs 1, and the most that a worker has free is 0"
    hand.finish("a")
    assert hand.taken() == ["c"]


def test_what_comes_free_goes_to_another_executor_that_waits_for_it() -> None:
    hand = Hand()
    hand.worker(executors=2, resources={"gpu": 1.0})
    hand.submit("a", "b", demand=GPU)
    hand.submit("long")
    (holder,) = hand.taken("w.0") and ["w.0"]
    assert hand.taken("w.1") == ["long"]
    hand.submit("urgent", name="other", priority=9)
    hand.finish("a", runtime=9.0)
    assert hand.taken(holder) == ["urgent"]
    hand.finish("long")
    assert hand.taken("w.1") == ["b"]


def test_a_large_task_is_not_overtaken_by_small_ones_for_ever() -> None:
    hand = Hand()
    hand.worker(executors=4, resources={"memory": 8e9})
    hand.submit("1", "2", demand=memory(3))
    hand.submit("large", demand=memory(8))
    hand.submit("3", "4", demand=memory(1))
    hand.submit("none")
    assert sorted(hand.taken()) == ["1", "2", "none"]
    assert hand.why("3").startswith("waiting for memory: what is free is kept for a task that came before it")
    hand.finish("1")
    assert hand.taken() == []
    hand.finish("2")
    assert hand.taken() == ["large"]
    hand.finish("large")
    assert sorted(hand.taken()) == ["3", "4"]


def test_when_the_large_one_is_cancelled_the_others_go_on() -> None:
    hand = Hand()
    hand.worker(executors=3, resources={"memory": 8e9})
    hand.submit("1", demand=memory(3))
    hand.submit("large", demand=memory(8))
    hand.submit("2", demand=memory(1))
    assert hand.taken() == ["1"]
    hand.say("client", m.Cancel(["large"]))
    assert hand.taken() == ["2"]


def test_resources_stay_occupied_until_a_cancelled_run_has_ended() -> None:
    hand = Hand()
    hand.worker(executors=2, resources={"gpu": 1.0})
    hand.submit("a", "b", demand=GPU)
    record = hand.core.tasks.records.get("a")
    assert record is not None
    hand.taken()
    hand.say("client", m.Cancel(["a"]))
    assert hand.taken() == []
    hand.say(record.executor, m.Settle([m.Outcome("a", record.token, "REVOKED")]))
    assert hand.taken() == ["b"]


def test_no_executor_holds_more_in_advance_than_fits() -> None:
    hand = Hand()
    hand.worker(executors=1, resources={"gpu": 1.0})
    hand.submit("measured", demand=GPU)
    hand.finish("measured", runtime=1e-6)
    hand.taken()
    hand.submit("a", "b", "c", demand=GPU)
    assert hand.taken() == ["a"]


def test_a_restarted_broker_knows_what_is_occupied() -> None:
    hand = Hand()
    hand.worker(executors=2, resources={"gpu": 1.0})
    hand.submit("a", "b", demand=GPU)
    record = hand.core.tasks.records.get("a")
    assert record is not None
    holder, token = record.executor, record.token
    hand.restart()
    hello = {"worker": "w", "name": "w", "queues": ["default"], "resources": {"gpu": 1.0}}
    other = ({"w.0", "w.1"} - {holder}).pop()
    hand.say(other, m.Hello(m.EXECUTOR, other, **hello))
    assert hand.taken() == []
    hand.say(holder, m.Hello(m.EXECUTOR, holder, held=[("a", token)], **hello))
    hand.finish("a")
    assert hand.taken() == ["b"]


@pytest.mark.parametrize(
    ("demand", "text", "option"),
    [
        (m.Demand(resources={"gpu": 2.0}), "2 of gpu, the most that one has is 1", "--resource gpu=2"),
        (memory(16), "16 GB of memory, the most that one has is 8 GB", "--memory 16GB"),
        (m.Demand(resources={"tpu": 1.0}), "1 of tpu, none has any", "--resource tpu=1"),
        (m.Demand(["a"], {"gpu": 1.0}), "a, 1 of gpu together", ""),
    ],
)
def test_why_says_what_nobody_has(demand: m.Demand, text: str, option: str) -> None:
    hand = Hand()
    hand.worker("one", tags=["a"], resources={"memory": 8e9})
    hand.worker("two", resources={"gpu": 1.0})
    hand.submit("x", demand=demand)
    start = f": start one with `nbqueue worker {option}`" if option else ""
    assert hand.why("x") == f"no worker has {text}{start}"


@pytest.mark.parametrize("amount", [float("nan"), float("inf"), -1.0])
def test_an_amount_that_is_none_is_rejected(amount: float) -> None:
    hand = Hand()
    hand.submit("x", demand=m.Demand(resources={"gpu": amount}))
    (rejected,) = hand.heard("client", m.Rejected)
    assert "gpu" in rejected.reason


def test_lanes_of_amounts_that_nobody_waits_for_are_dropped() -> None:
    hand = Hand()
    hand.worker(resources={"memory": 8e9})
    for size in range(1, 50):
        hand.submit(f"a{size}", demand=memory(size / 10))
        hand.finish(f"a{size}")
    hand.wait(10.0)
    assert len(hand.core.dispatch.lanes.by_key) < 5
