"""The states of a task: Celery's names, as plain strings.

Which state may follow which stands in one table, ``nbqueue.core.lifecycle.TRANSITIONS``.  Any other
string set by ``update_state`` is a custom state of a running task.
"""

from typing import Final

#: Waiting to run, or an id that nobody knows: ``result.exists()`` tells, ``result.why()`` explains.
PENDING: Final = "PENDING"
#: A worker runs it.  Reported up to 50 ms late, so a short task may never be seen in this state.
STARTED: Final = "STARTED"
#: It failed or asked for another run, and waits for it.
RETRY: Final = "RETRY"
#: It returned; the value is there.
SUCCESS: Final = "SUCCESS"
#: It raised, was killed past its limit, or lost its worker too often.
FAILURE: Final = "FAILURE"
#: It was cancelled or expired.
REVOKED: Final = "REVOKED"
#: The usual custom state of a task that reports how far it is.
PROGRESS: Final = "PROGRESS"

#: States that nothing follows.
READY_STATES: Final = frozenset({SUCCESS, FAILURE, REVOKED})
UNREADY_STATES: Final = frozenset({PENDING, STARTED, RETRY})
#: States whose result is an exception.
EXCEPTION_STATES: Final = frozenset({RETRY, FAILURE, REVOKED})
PROPAGATE_STATES: Final = frozenset({FAILURE, REVOKED})
ALL_STATES: Final = READY_STATES | UNREADY_STATES

#: What events call a task that a worker was given, and one that was given back; results are PENDING then.
RECEIVED: Final = "RECEIVED"
REJECTED: Final = "REJECTED"
#: Celery's state of a task that raised Ignore; here it ends in SUCCESS, or as it has said by update_state.
IGNORED: Final = "IGNORED"

#: From the end of a task's life to its beginning; any other state is somewhere in the middle, at None.
PRECEDENCE: Final = (
    SUCCESS, FAILURE, None, REVOKED, STARTED, RECEIVED, REJECTED, RETRY, PENDING,
)  # fmt: skip


def precedence(state: str) -> int:
    """How far a task in that state is from its beginning: the lower, the further, as Celery reckons."""
    return PRECEDENCE.index(state if state in PRECEDENCE else None)
