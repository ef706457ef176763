"""One executor's memory of what it holds, runs and owes."""

import random

import pytest

from nbqueue.core.worker import MAX_FORGOTTEN, MAX_SETTLE_BYTES, ExecutorCore, Leave, Raise
from nbqueue.messages import (
    CONTROL,
    EXECUTOR,
    MAX_BATCH,
    Acknowledge,
    Assign,
    Assignment,
    Consume,
    Drop,
    Held,
    Hello,
    Interrupt,
    Outcome,
    Ping,
    Recall,
    Refused,
    Retry,
    Returned,
    Settle,
    Task,
    Unknown,
    Welcome,
)
from nbqueue.states import SUCCESS

WELCOME = Welcome(boot=1, version="", heartbeat=2.0, lease=10.0, epoch=0.0)


def assignment(token: int) -> Assignment:
    return Assignment(Task(f"id{token}", "f", "", b""), token)


def outcome(token: int) -> Outcome:
    return Outcome(f"id{token}", token, SUCCESS)


@pytest.fixture
def core() -> ExecutorCore:
    core = ExecutorCore(Hello(EXECUTOR, "e1", worker="w1", queues=["default"]))
    core.introduce(EXECUTOR)
    core.receive(EXECUTOR, WELCOME)
    core.introduce(CONTROL)
    core.receive(CONTROL, WELCOME)
    return core


def assign(core: ExecutorCore, *tokens: int) -> None:
    assert core.receive(EXECUTOR, Assign([assignment(token) for token in tokens])) == []


def run_all(core: ExecutorCore) -> list[int]:
    tokens = []
    while (taken := core.take()) is not None:
        tokens.append(taken.token)
        core.finish(outcome(taken.token))
    return tokens


def test_tasks_run_in_the_order_in_which_they_were_assigned(core):
    assign(core, 1, 2)
    assign(core, 3)
    assert run_all(core) == [1, 2, 3]
    assert core.take() is None


def test_outcomes_are_sent_once_and_kept_until_they_are_acknowledged(core):
    assign(core, 1, 2)
    run_all(core)
    assert core.flush() == [Settle([outcome(1), outcome(2)])]
    assert core.flush() == []
    assert not core.settled
    core.receive(EXECUTOR, Acknowledge([1]))
    assert core.held() == [2]
    core.receive(EXECUTOR, Acknowledge([2]))
    assert core.settled


def test_a_batch_of_outcomes_is_never_larger_than_allowed(core):
    assign(core, *range(1, MAX_BATCH + 11))
    run_all(core)
    assert [len(settle.outcomes) for settle in core.flush()] == [MAX_BATCH, 10]


def test_large_values_travel_one_by_one(core):
    assign(core, 1, 2, 3)
    for token in (1, 2, 3):
        core.take()
        core.finish(Outcome(f"id{token}", token, SUCCESS, b"x" * (MAX_SETTLE_BYTES // 2 + 1)))
    assert [len(settle.outcomes) for settle in core.flush()] == [1, 1, 1]


def test_retries_are_sent_beside_the_outcomes_and_kept_likewise(core):
    assign(core, 1, 2)
    core.take()
    core.finish(Retry("id1", 1, 5.0))
    core.take()
    core.finish(outcome(2))
    assert core.flush() == [Settle([outcome(2)]), Retry("id1", 1, 5.0)]
    assert core.held() == [1, 2]


def test_a_broker_that_does_not_know_us_is_told_what_we_hold_and_all_that_it_did_not_acknowledge(core):
    assign(core, 1, 2, 3)
    core.take()
    core.finish(outcome(1))
    core.flush()
    core.take()
    hello, settle = core.receive(EXECUTOR, Unknown())
    assert (hello.role, hello.id) == (EXECUTOR, "e1")
    assert hello.held == [("id1", 1), ("id2", 2), ("id3", 3)]
    assert settle == Settle([outcome(1)])


def test_outcomes_that_were_not_sent_yet_are_not_sent_twice_after_a_hello(core):
    assign(core, 1)
    run_all(core)
    assert core.receive(EXECUTOR, Unknown())[1:] == [Settle([outcome(1)])]
    assert core.flush() == []


def test_several_messages_to_a_stranger_cause_one_hello(core):
    assert len(core.receive(EXECUTOR, Unknown())) == 1
    assert core.receive(EXECUTOR, Unknown()) == []
    core.receive(EXECUTOR, WELCOME)
    assert len(core.receive(EXECUTOR, Unknown())) == 1


def test_a_hello_that_was_lost_is_said_again_with_the_heartbeat(core):
    core.receive(EXECUTOR, Unknown())
    assert isinstance(core.heartbeat(EXECUTOR)[0], Hello)
    core.receive(EXECUTOR, WELCOME)
    assert core.heartbeat(EXECUTOR) == [Ping()]


def test_the_links_are_introduced_one_by_one(core):
    (hello,) = core.receive(CONTROL, Unknown())
    assert hello.role == CONTROL
    assert core.heartbeat(EXECUTOR) == [Ping()]


def test_the_control_link_reports_everything_that_is_held(core):
    assign(core, 1, 2, 3)
    core.take()
    core.finish(outcome(1))
    core.take()
    assert core.heartbeat(CONTROL) == [Held([1, 2, 3], latest=3)]


def test_a_recall_gives_back_the_last_tasks_that_were_not_started(core):
    assign(core, 1, 2, 3, 4)
    core.take()
    assert core.receive(CONTROL, Recall(2)) == [Returned([3, 4])]
    assert core.receive(CONTROL, Recall(9)) == [Returned([2])]
    assert run_all(core) == []


def test_a_recall_of_nothing_is_answered_too(core):
    assert core.receive(CONTROL, Recall(5)) == [Returned([])]


def test_a_dropped_task_is_returned_and_never_runs(core):
    assign(core, 1, 2)
    assert core.receive(CONTROL, Drop([1])) == [Returned([1])]
    assert run_all(core) == [2]


def test_a_running_or_finished_task_is_not_dropped(core):
    assign(core, 1, 2)
    core.take()
    core.finish(outcome(1))
    core.take()
    assert core.receive(CONTROL, Drop([1, 2])) == []
    core.finish(outcome(2))
    assert core.flush() == [Settle([outcome(1), outcome(2)])]


def test_a_task_that_was_dropped_before_it_arrived_is_returned_on_arrival(core):
    assert core.receive(CONTROL, Drop([7])) == []
    assert core.receive(EXECUTOR, Assign([assignment(7), assignment(8)])) == [Returned([7])]
    assert run_all(core) == [8]


def test_memory_of_dropped_tasks_is_bounded(core):
    core.receive(CONTROL, Drop(list(range(1, MAX_FORGOTTEN + 2))))
    assign(core, 1)
    assert run_all(core) == [1]


def test_only_the_running_task_is_interrupted(core):
    assign(core, 1, 2)
    core.take()
    assert core.receive(CONTROL, Interrupt("id1", 1, "cancel")) == [Raise(1, "cancel")]
    core.finish(outcome(1))
    assert core.receive(CONTROL, Interrupt("id1", 1, "cancel")) == []


def test_a_cancelled_task_that_has_not_started_goes_back(core):
    assign(core, 1, 2)
    core.take()
    assert core.receive(CONTROL, Interrupt("id2", 2, "cancel")) == [Returned([2])]
    assert core.receive(CONTROL, Interrupt("id2", 2, "soft_time_limit")) == []


def test_a_lease_that_arrives_twice_is_taken_once(core):
    assign(core, 1)
    assign(core, 1)
    core.take()
    assign(core, 1)
    core.finish(outcome(1))
    assign(core, 1)
    assert core.take() is None


def test_an_executor_that_drains_gives_back_what_waits_and_what_still_comes(core):
    assign(core, 1, 2, 3)
    core.take()
    assert core.drain() == [Returned([2, 3])]
    assert core.receive(EXECUTOR, Assign([assignment(4)])) == [Returned([4])]
    core.finish(outcome(1))
    assert core.flush() == [Settle([outcome(1)])]
    assert core.receive(EXECUTOR, Unknown()) == []


def test_a_refusal_ends_the_executor_with_the_reason(core):
    assert core.receive(EXECUTOR, Refused("install the same version")) == [Leave("install the same version")]


@pytest.mark.parametrize("seed", range(20))
def test_every_lease_is_settled_or_returned_exactly_once_whatever_happens(seed):
    rng = random.Random(seed)
    core = ExecutorCore(Hello(EXECUTOR, "e1", queues=["default"], slots=1 + seed % 3))
    issued, returned, settled = set[int](), list[int](), list[int]()

    def sent(messages):
        for message in messages:
            if isinstance(message, Returned):
                returned.extend(message.tokens)
            elif isinstance(message, Settle):
                settled.extend(o.token for o in message.outcomes)

    next_token = 1
    for _ in range(300):
        event = rng.randrange(6)
        if event == 0:
            tokens = range(next_token, next_token := next_token + rng.randrange(1, 5))
            issued.update(tokens)
            sent(core.receive(EXECUTOR, Assign([assignment(token) for token in tokens])))
        elif event == 1:
            sent(core.receive(CONTROL, Recall(rng.randrange(3))))
        elif event == 2:
            sent(core.receive(CONTROL, Drop([rng.randrange(1, next_token + 3)])))
        elif event == 3:
            sent(core.flush())
            core.receive(EXECUTOR, Acknowledge(settled))
        elif not (rng.random() < 0.5 and core.take()) and core.running:
            core.finish(outcome(rng.choice(list(core.running))))
        assert len(set(core.held())) == len(core.held())
    for token in list(core.running):
        core.finish(outcome(token))
    sent(core.drain())
    sent(core.flush())
    assert sorted(returned + settled) == sorted(issued)


def test_it_runs_as_many_at_once_as_it_has_slots():
    core = ExecutorCore(Hello(EXECUTOR, "e1", slots=2))
    assign(core, 1, 2, 3)
    assert [core.take(), core.take(), core.take()] == [assignment(1), assignment(2), None]
    assert not core.can_take
    assert core.receive(CONTROL, Interrupt("id2", 2, "cancel")) == [Raise(2, "cancel")]
    core.finish(outcome(1))
    assert core.can_take
    assert [token for _, token in core._leases()] == [1, 2, 3]


def test_other_queues_are_said_now_and_in_every_hello_from_now_on(core):
    assert core.consume(["gpu"]) == [Consume(["gpu"])]
    assert core.introduce(EXECUTOR)[0].queues == ["gpu"]
