"""What becomes of a task when something happens to it: decisions, without where it is kept or who is told.

Each takes the record, brings it to how it stands afterwards, and returns an :class:`Ending` if the task ends
with this.  The ZeroMQ broker's core decides by them, and so does whoever acts for a broker that is Redis.
"""

import math
from typing import Final, NamedTuple

import msgspec

from nbqueue import messages as m
from nbqueue.core import deaths, lifecycle
from nbqueue.core.records import Record
from nbqueue.core.settings import too_large
from nbqueue.core.validation import flaw
from nbqueue.core.workflow import broker_outcome
from nbqueue.states import FAILURE, REVOKED, SUCCESS

EVENT_OF: Final = {SUCCESS: lifecycle.SUCCEED, FAILURE: lifecycle.FAIL, REVOKED: lifecycle.REVOKE}


class Ending(NamedTuple):
    """How a task ends without an outcome of its own."""

    state: str
    #: name of the exception, in ``nbqueue.exceptions``
    error: str
    text: str

    def outcome(self, record: Record, now: float) -> m.Outcome:
        """As an outcome that no run produced."""
        return broker_outcome(record, self.state, self.error, self.text, now)


CANCELLED: Final = Ending(REVOKED, "TaskRevokedError", "cancelled")
PURGED: Final = Ending(REVOKED, "TaskRevokedError", "purged")
EXPIRED: Final = Ending(REVOKED, "TaskRevokedError", "expired: not started in time")


def outcome_of(record: Record, outcome: m.Outcome, worker: str, now: float, limit: int) -> m.Outcome:
    """The outcome that counts when a run has ended, as ``worker`` says, in ``outcome``.

    ``limit``: bytes that a value may have.
    """
    if (ending := flaw_of(outcome, record.task, limit)) is not None:
        return ending.outcome(record, now)
    return accepted(outcome, record.task, record.retries, worker, now)


def flaw_of(outcome: m.Outcome, task: m.Task, limit: int) -> Ending | None:
    """How the task ends instead, if its worker cannot be followed."""
    if outcome.state not in EVENT_OF:
        text = f"its worker says that it ended in {outcome.state!r}, which is no end"
        return Ending(FAILURE, "WorkerLostError", text)
    if len(outcome.value) > limit and not task.ignore_result:
        text = too_large(f"the return value of {task.name}()", len(outcome.value), limit)
        return Ending(FAILURE, "SerializationError", text)
    return None


def accepted(outcome: m.Outcome, task: m.Task, retries: int, worker: str, now: float) -> m.Outcome:
    """What is kept of an outcome that nothing is wrong with."""
    return m.Outcome(
        task.id, outcome.token, outcome.state, b"" if task.ignore_result else outcome.value, outcome.failure,
        outcome.runtime, worker, now, retries, outcome.stored,
    )  # fmt: skip


def retried(record: Record, message: m.Retry, now: float) -> Ending | None:
    """A run asks for another one; ``record.due`` says when that will be."""
    if record.revoked:
        return CANCELLED
    record.retries += 1
    record.forget_run()
    record.failure = message.failure
    record.state = lifecycle.follow(record.state, lifecycle.AGAIN, record)
    record.due = now + max(0.0, message.countdown if math.isfinite(message.countdown) else 0.0)
    return None


def changed(task: m.Task, changes: m.Changes, limit: int) -> m.Task | Ending:
    """The call that the next run is to be; how the task ends if there is something wrong with it.

    ``limit``: bytes that arguments may have.
    """
    said = {k: v for k, v in msgspec.structs.asdict(changes).items() if v is not None}
    if changes.payload is not None:
        said["payload_key"] = ""
    new: m.Task = msgspec.structs.replace(task, **said)
    if changes.payload is not None and new.step is not None:
        # the arguments are all there: nothing comes before them
        new = msgspec.structs.replace(new, step=msgspec.structs.replace(new.step, takes=None))
    wrong, size = flaw(new), len(new.payload) + len(new.captured)
    if not wrong and size > limit:
        wrong = too_large(f"the arguments of {new.name}()", size, limit)
    return Ending(FAILURE, "SubmissionRefused", wrong) if wrong else new


def died(record: Record, death: m.ExecutorLost, max_deaths: int) -> Ending | None:
    """Its executor died while it ran, and it is charged for that."""
    record.deaths += 1
    if not record.task.acks_late:
        return lost_for_good(deaths.obituary(death, 1))
    if record.deaths < max_deaths:
        return None
    return Ending(FAILURE, "WorkerLostError", deaths.obituary(death, record.deaths))


def lost(record: Record, reason: str, max_losses: int, *, charge: bool) -> Ending | None:
    """Its executor is gone for that reason; ``charge`` it, if it ran there, for a whole lost worker."""
    if not record.task.acks_late and not record.revoked:
        return lost_for_good(reason)
    if not charge or record.started_at is None:
        return None
    record.losses += 1
    if record.losses < max_losses:
        return None
    return Ending(FAILURE, "WorkerLostError", f"lost {record.losses} workers; the last: {reason}")


def lost_for_good(reason: str) -> Ending:
    """It is started at most once, and may have been."""
    return Ending(FAILURE, "WorkerLostError", deaths.last_words(reason))


def requeued(record: Record, now: float) -> Ending | None:
    """Its lease has ended without an outcome: it waits again, unless nobody wants it any more."""
    if record.revoked:
        return CANCELLED
    if record.task.expires is not None and is_fresh(record, record.started_at) and expires_at(record) <= now:
        return EXPIRED
    record.state = lifecycle.follow(record.state, lifecycle.REQUEUE, record)
    record.forget_run()
    return None


def expires_at(record: Record) -> float:
    """When it expires if it has not begun, never for most; a step's time counts from its turn."""
    task = record.task
    since = record.at if task.step is None else record.due - task.countdown
    return since + (task.expires if task.expires is not None else math.inf)


def is_fresh(record: Record, began: float | None) -> bool:
    """Whether it has never begun, so that it may expire; ``began`` is when its present run did."""
    return began is None and not record.retries


def overran(limit: float) -> Ending:
    """It ran past its hard limit, in seconds."""
    return Ending(FAILURE, "TimeLimitExceeded", f"ran past its time limit of {limit:g} s")
