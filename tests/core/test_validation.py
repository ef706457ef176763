"""Messages of the right types that cannot be meant: the core answers or passes over them, and goes on."""

import math
from typing import Any

import pytest

from nbqueue import messages as m
from nbqueue.core.actions import Send
from nbqueue.core.broker import BrokerCore, BrokerSettings
from nbqueue.core.validation import flaw
from nbqueue.testing.invariants import check


@pytest.fixture
def core() -> BrokerCore:
    made = BrokerCore(BrokerSettings(), boot=1)
    made.receive("client", m.Hello(m.CLIENT, "client"), 0.0)
    made.receive("worker", m.Hello(m.WORKER, "w"), 0.0)
    made.receive("executor", m.Hello(m.EXECUTOR, "e", worker="w", queues=["default"]), 0.0)
    made.receive("client", m.Define("d", b"blob"), 0.0)
    return made


def told(
    core: BrokerCore, peer: str, message: m.AnyMessage, now: float = 0.0
) -> list[tuple[Any, m.AnyMessage]]:
    actions = core.receive(peer, message, now)
    check(core)
    return [(action.peer, action.message) for action in actions if isinstance(action, Send)]


def lease_of(core: BrokerCore, id: str = "t", **fields: Any) -> m.Assignment:
    for _, message in told(core, "client", m.Submit([m.Task(id, "f", "d", b"", **fields)])):
        if isinstance(message, m.Assign):
            return message.assignments[0]
    raise AssertionError("it was not assigned")


@pytest.mark.parametrize("name", ["countdown", "expires", "time_limit", "soft_time_limit"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_duration_that_is_none_is_rejected(core: BrokerCore, name: str, value: float) -> None:
    ((_, answer),) = told(core, "client", m.Submit([m.Task("t", "f", "d", b"", **{name: value})]))
    assert answer == m.Rejected("t", f"{name} is a number of seconds, not {value}")
    deadline = core.next_deadline()
    assert deadline is not None
    assert math.isfinite(deadline)


@pytest.mark.parametrize("value", [-1e308, -1.0, 0.0, 1e308])
def test_durations_that_are_numbers_are_taken(value: float) -> None:
    assert flaw(m.Task("t", "f", "d", b"", countdown=value, expires=value, time_limit=value)) == ""


def test_an_end_that_is_none_ends_in_failure(core: BrokerCore) -> None:
    lease = lease_of(core)
    answers = told(core, "executor", m.Settle([m.Outcome("t", lease.token, "PENDING")]))
    (outcome,) = (o for to, a in answers if to == "client" and isinstance(a, m.Settle) for o in a.outcomes)
    assert outcome.state == "FAILURE"
    assert outcome.failure is not None
    assert "'PENDING', which is no end" in outcome.failure.message


@pytest.mark.parametrize("runtime", [math.nan, math.inf, -1.0])
def test_a_run_of_an_impossible_length_does_not_stop_its_executor(core: BrokerCore, runtime: float) -> None:
    for number in range(3):
        lease = lease_of(core, str(number))
        told(core, "executor", m.Settle([m.Outcome(str(number), lease.token, "SUCCESS", runtime=runtime)]))


@pytest.mark.parametrize("limit", ["x", None, [], -1, 2**63 - 1, math.inf, math.nan])
def test_a_question_that_makes_no_sense_is_answered(core: BrokerCore, limit: object) -> None:
    ((_, answer),) = told(core, "client", m.Ask(7, "tasks", {"limit": limit}))
    assert isinstance(answer, m.Answer)
    assert answer.number == 7
    assert (answer.error != "") == (limit != 2**63 - 1)


def test_a_worker_buries_its_own_executors_only(core: BrokerCore) -> None:
    lease = lease_of(core)
    core.receive("stranger", m.Hello(m.WORKER, "stranger"), 0.0)
    told(core, "stranger", m.ExecutorLost("e", lease.token, -9))
    assert "e" in core.dispatch.executors
    told(core, "worker", m.ExecutorLost("e", lease.token, -9))
    assert "e" not in core.dispatch.executors
