"""What the core asks its driver to do."""

from collections.abc import Hashable
from typing import Final, NamedTuple, TypeAlias

from nbqueue.core.entries import AnyEntry
from nbqueue.messages import Accepted, Acknowledge, Answer, AnyMessage, Settle

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
#: taken.  Others may leave before what they tell of is written down.
PROMISES: Final = (Accepted, Settle, Acknowledge, Answer)
