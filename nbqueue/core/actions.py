"""What the core asks its driver to do."""

from collections.abc import Hashable
from typing import NamedTuple, TypeAlias

from nbqueue.messages import AnyMessage

#: whatever the driver names a connection by
Peer: TypeAlias = Hashable


class Send(NamedTuple):
    """Pass a message to a peer, after those sent to it before."""

    peer: Peer
    message: AnyMessage


class Stop(NamedTuple):
    """End the broker, after everything asked for before this has been done."""

    reason: str


Action: TypeAlias = Send | Stop
