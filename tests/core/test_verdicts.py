"""What becomes of a task, without anything around it."""

import pytest

from nbqueue import messages as m
from nbqueue.core import verdicts
from nbqueue.core.records import LEASED, Record, Sender
from nbqueue.states import FAILURE, PENDING, RETRY, REVOKED, STARTED, SUCCESS

NOW = 100.0


def running(**task: object) -> Record:
    record = Record(m.Task("1", "f", "d", b"", **task), 90.0, 1, Sender("c"), LEASED, STARTED, 7)
    record.started_at = 95.0
    return record


def test_an_outcome_counts_as_its_worker_gave_it() -> None:
    outcome = verdicts.outcome_of(running(), m.Outcome("1", 7, SUCCESS, b"v", runtime=2.0), "w@h", NOW, 10)
    assert outcome == m.Outcome("1", 7, SUCCESS, b"v", None, 2.0, "w@h", NOW, 0)


def test_a_value_that_is_too_large_fails_the_task() -> None:
    outcome = verdicts.outcome_of(running(), m.Outcome("1", 7, SUCCESS, b"12345"), "w@h", NOW, 4)
    assert outcome.state == FAILURE
    assert outcome.failure is not None
    assert outcome.failure.type == "SerializationError"


def test_a_value_that_nobody_wants_is_dropped() -> None:
    record = running(ignore_result=True)
    assert verdicts.outcome_of(record, m.Outcome("1", 7, SUCCESS, b"12345"), "w", NOW, 4).value == b""


def test_a_worker_cannot_end_a_task_in_a_state_that_is_no_end() -> None:
    outcome = verdicts.outcome_of(running(), m.Outcome("1", 7, "PROGRESS"), "w@h", NOW, 10)
    assert outcome.failure is not None
    assert outcome.failure.type == "WorkerLostError"


@pytest.mark.parametrize(("countdown", "due"), [(5.0, 105.0), (-5.0, NOW), (float("nan"), NOW)])
def test_a_retry_is_due_after_its_countdown(countdown: float, due: float) -> None:
    record = running()
    assert verdicts.retried(record, m.Retry("1", 7, countdown), NOW) is None
    assert (record.state, record.retries, record.due, record.started_at) == (RETRY, 1, due, None)


def test_a_task_that_was_revoked_runs_no_more() -> None:
    record = running()
    record.revoked = True
    assert verdicts.retried(record, m.Retry("1", 7, 0.0), NOW) == verdicts.CANCELLED
    assert verdicts.requeued(record, NOW) == verdicts.CANCELLED


def test_a_task_may_kill_its_executor_so_many_times() -> None:
    record, death = running(), m.ExecutorLost("e", 7, -11)
    assert verdicts.died(record, death, 2) is None
    ending = verdicts.died(record, death, 2)
    assert ending is not None
    assert (ending.state, ending.error) == (FAILURE, "WorkerLostError")
    assert "SIGSEGV" in ending.text


def test_a_lost_worker_is_charged_to_what_ran_only() -> None:
    record = running()
    record.started_at = None
    assert verdicts.lost(record, "gone", 1, charge=True) is None
    assert record.losses == 0
    record.started_at = 95.0
    ending = verdicts.lost(record, "gone", 1, charge=True)
    assert ending is not None
    assert "gone" in ending.text


@pytest.mark.parametrize("charge", [True, False])
def test_a_task_that_is_started_at_most_once_is_lost_with_its_executor(charge: bool) -> None:
    for ending in (
        verdicts.lost(running(acks_late=False), "gone", 9, charge=charge),
        verdicts.died(running(acks_late=False), m.ExecutorLost("e", 7, 1), 9),
    ):
        assert ending is not None
        assert "acks_late=False" in ending.text


def test_the_next_run_may_be_another_call() -> None:
    task = running().task
    new = verdicts.changed(task, m.Changes(payload=b"x", queue="other"), 10)
    assert new == m.Task("1", "f", "d", b"x", queue="other")
    assert isinstance(verdicts.changed(task, m.Changes(payload=b"x" * 11), 10), verdicts.Ending)
    assert isinstance(verdicts.changed(task, m.Changes(priority=11), 10), verdicts.Ending)


def test_what_was_not_started_in_time_is_not_put_back() -> None:
    record = running(expires=5.0)
    record.started_at = None
    assert verdicts.requeued(record, NOW) == verdicts.EXPIRED
    record.retries = 1
    assert verdicts.requeued(record, NOW) is None
    assert record.state == PENDING


def test_an_ending_tells_when_and_why() -> None:
    outcome = verdicts.EXPIRED.outcome(running(), NOW)
    assert (outcome.state, outcome.runtime, outcome.at, outcome.token) == (REVOKED, 5.0, NOW, 7)
    assert outcome.failure is not None
    assert "expired" in outcome.failure.traceback
