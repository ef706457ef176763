"""How much work an executor is given in advance."""

import pytest

from nbqueue import messages as m
from nbqueue.core.actions import Send
from nbqueue.core.broker import BrokerCore, BrokerSettings


def core_with_executor() -> BrokerCore:
    core = BrokerCore(BrokerSettings(), boot=1)
    core.receive("client", m.Hello(role=m.CLIENT, id="client"), 0.0)
    core.receive("executor", m.Hello(role=m.EXECUTOR, id="e", worker="w", queues=["default"]), 0.0)
    core.receive("client", m.Define("d", b"blob"), 0.0)
    return core


def assigned(actions: list[object]) -> list[m.Assignment]:
    return [
        a for action in actions if isinstance(action, Send) and isinstance(action.message, m.Assign)
        for a in action.message.assignments
    ]  # fmt: skip


def submit(core: BrokerCore, count: int) -> list[m.Assignment]:
    tasks = [m.Task(str(n), "f", "d", b"") for n in range(count)]
    return assigned(list(core.receive("client", m.Submit(tasks), 0.0)))


def settle(core: BrokerCore, lease: m.Assignment, runtime: float) -> list[m.Assignment]:
    outcome = m.Outcome(lease.task.id, lease.token, "SUCCESS", runtime=runtime)
    return assigned(list(core.receive("executor", m.Settle([outcome]), 0.0)))


def test_a_function_that_was_not_measured_goes_one_at_a_time() -> None:
    assert len(submit(core_with_executor(), 100)) == 1


def test_long_tasks_go_one_at_a_time() -> None:
    core = core_with_executor()
    (first,) = submit(core, 100)
    assert len(settle(core, first, runtime=1.0)) == 1


def test_short_tasks_go_in_batches_of_ten_milliseconds() -> None:
    core = core_with_executor()
    (first,) = submit(core, 1000)
    assert len(settle(core, first, runtime=0.001)) == 10


def test_the_shortest_tasks_go_in_full_batches() -> None:
    core = core_with_executor()
    (first,) = submit(core, 1000)
    assert len(settle(core, first, runtime=1e-6)) == m.MAX_BATCH


def test_tokens_grow_and_belong_to_the_boot() -> None:
    core = core_with_executor()
    (first,) = submit(core, 3)
    (second,) = settle(core, first, runtime=1.0)
    assert first.token < second.token
    assert first.token >> 32 == 1


def test_an_outcome_with_an_old_token_is_refused_and_acknowledged() -> None:
    core = core_with_executor()
    (lease,) = submit(core, 1)
    lost = m.ExecutorLost("e", lease.token, -9)
    core.receive("worker", m.Hello(role=m.WORKER, id="w"), 0.0)
    core.receive("worker", lost, 0.0)
    core.receive("late", m.Hello(role=m.EXECUTOR, id="e", worker="w", queues=["other"]), 0.0)
    actions = core.receive("late", m.Settle([m.Outcome(lease.task.id, lease.token, "SUCCESS")]), 0.0)
    record = core.tasks.records.get(lease.task.id)
    assert record is not None
    assert record.outcome is None
    assert Send("late", m.Acknowledge([lease.token])) in actions


def test_a_priority_that_no_lane_has_is_rejected_and_the_others_are_accepted() -> None:
    core = core_with_executor()
    tasks = [m.Task("fine", "f", "d", b""), m.Task("odd", "f", "d", b"", priority=12)]
    actions = core.receive("client", m.Submit(tasks), 0.0)
    assert Send("client", m.Rejected("odd", "a priority is 0 to 9, not 12")) in actions
    assert Send("client", m.Accepted(["fine"])) in actions


def test_a_runtime_beyond_belief_does_not_upset_the_books() -> None:
    core = core_with_executor()
    core.receive("client", m.Define("slow", b"blob"), 0.0)
    core.receive("client", m.Submit([m.Task("long", "g", "slow", b"")]), 0.0)
    executor = core.dispatch.executors["e"]
    (held,) = executor.held.values()
    settle(core, m.Assignment(held.task, held.token), runtime=1e308)
    (first,) = submit(core, 1)
    settle(core, first, runtime=0.0)
    core.receive("client", m.Submit([m.Task("a", "f", "d", b""), m.Task("again", "g", "slow", b"")]), 0.0)
    assert [record.task.id for record in executor.held.values()] == ["a", "again"]
    again = next(record for record in executor.held.values() if record.task.id == "again")
    settle(core, m.Assignment(again.task, again.token), runtime=0.0)
    assert executor.backlog == pytest.approx(sum(record.estimate for record in executor.held.values()))
