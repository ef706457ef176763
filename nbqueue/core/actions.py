"""What the core asks its driver to do."""

from collections.abc import Hashable, Set
from typing import Final, NamedTuple, TypeAlias

from nbqueue.core.entries import AnyEntry
from nbqueue.messages import (
    Accepted,
    Acknowledge,
    AnyMessage,
    Assign,
    Known,
    Noted,
    NotFound,
    Output,
    Progress,
    Requeued,
    Retrying,
    Settle,
    Started,
    Update,
)

#: whatever the driver names a connection by
Peer: TypeAlias = Hashable


class Send(NamedTuple):
    """Pass a message to a peer, after those sent to it before."""

    peer: Peer
    message: AnyMessage


class Keep(NamedTuple):
    """Write this down.  What others rely on (``PROMISES``) must not be sent before it is written."""

    entries: list[AnyEntry]


class Stop(NamedTuple):
    """End the broker, after everything asked for before this has been done."""

    reason: str


Action: TypeAlias = Keep | Send | Stop

#: Messages that promise something of the broker's memory: that a task is kept, an outcome final, an order
#: taken; and those that tell of a task, since they must not overtake one another.  Others may leave before
#: what they tell of is written down: above all, work, unless it must not be started twice.
PROMISES: Final = (
    Accepted, Acknowledge, Settle, Noted,
    Known, NotFound, Started, Progress, Update, Output, Retrying, Requeued,
)  # fmt: skip


def promises(message: AnyMessage) -> bool:
    """Whether a message must wait until what happened before it is written down."""
    return isinstance(message, PROMISES) or (isinstance(message, Assign) and _is_final(message))


def _is_final(message: Assign) -> bool:
    """Whether one of the tasks must not be handed out again, whatever becomes of the broker."""
    return any(not assignment.task.acks_late for assignment in message.assignments)


def relies_on(message: AnyMessage, unwritten: Set[str | int]) -> bool:
    """Whether a message must wait for entries with these subjects (``entries.subjects``)."""
    match message:
        case Noted():
            return True
        case Accepted(ids) | NotFound(ids):
            return not unwritten.isdisjoint(ids)
        case Acknowledge(tokens):
            return not unwritten.isdisjoint(tokens)
        case Settle(outcomes):
            return any(outcome.id in unwritten for outcome in outcomes)
        case Assign():
            return _is_final(message) and any(a.token in unwritten for a in message.assignments)
        case Known(id) | Started(id) | Progress(id) | Update(id) | Output(id) | Retrying(id) | Requeued(id):
            return id in unwritten
    return False
