"""Which state follows which: the one table.

``TRANSITIONS[state][event]`` is the next state.  An event that is not there is a fault of ours, and
:func:`follow` says so with the story of the task.  The diagram in the docs is drawn from this table.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from nbqueue.states import FAILURE, PENDING, PROGRESS, RETRY, REVOKED, STARTED, SUCCESS

# Events
START: Final = "start"  # a worker reports that the function runs
REPORT: Final = "report"  # update_state with a custom state
SUCCEED: Final = "succeed"  # the function returned
FAIL: Final = "fail"  # it raised, ran past its limit, killed too many workers, or what it waited for failed
AGAIN: Final = "retry"  # it asked for another run
REQUEUE: Final = "requeue"  # its worker was lost or gave it back
REPLACE: Final = "replace"  # it will end as another task does
REVOKE: Final = "revoke"  # it was cancelled or expired, or is not called for

_RUNNING: Mapping[str, str] = {
    START: STARTED,
    REPORT: PROGRESS,
    SUCCEED: SUCCESS,
    FAIL: FAILURE,
    AGAIN: RETRY,
    REQUEUE: PENDING,
    REPLACE: PENDING,
    REVOKE: REVOKED,
}

#: A task that waits may succeed at once: a run shorter than 50 ms is never reported as STARTED.
#: PROGRESS stands for every custom state.
TRANSITIONS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        PENDING: _RUNNING,
        STARTED: _RUNNING,
        PROGRESS: _RUNNING,
        RETRY: _RUNNING,
        SUCCESS: {},
        FAILURE: {},
        REVOKED: {},
    }
)


class InvalidTransition(AssertionError):
    """The core broke its own table: a fault of nbqueue, please report it."""


def follow(state: str, event: str, story: object = "") -> str:
    """The state after ``event``.

    Raises
    ------
    InvalidTransition
        The table has no such step; ``story`` is what is shown of the task.
    """
    try:
        return TRANSITIONS.get(state, _RUNNING)[event]
    except KeyError:
        raise InvalidTransition(f"{event!r} in state {state}: {story}") from None
