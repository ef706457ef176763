"""Items of generator tasks, to those who read them as they are yielded.

::

    Stream ─▶ stream.lua keeps the wish ─▶ Pull, on "k:EXECUTOR"    as far as the slowest of those who read
    Item ──▶ items.lua ──────────────────▶ "c:CLIENT"               to whoever has a wish, and has not had it

No item is kept in Redis.  A wish is good for a lease, and renewed with each heartbeat of its client; to a run
that begins later it is told when the client hears of that.
"""

from collections.abc import Iterable
from functools import partial
from typing import Any, Final

import hiredis
import msgspec

from nbqueue import messages as m
from nbqueue.transports.redis.desk import Desk, said

#: bytes of items that are published as one
_PIECE: Final = 4 * 2**20


class Readings:
    """What a client reads."""

    def __init__(self, desk: Desk, client: str) -> None:
        self._desk = desk
        self._client = client
        #: its last wishes, by the task
        self._wishes: dict[str, m.Stream] = {}

    def say(self, wish: m.Stream) -> None:
        """The client wants items, or no more of them."""
        if wish.upto < 0:
            self._wishes.pop(wish.id, None)
        else:
            self._wishes[wish.id] = wish
        desk = self._desk
        head = {
            "id": wish.id,
            "client": self._client,
            "position": wish.position,
            "upto": wish.upto,
            "lease": desk.settings.worker_lease,
        }
        desk.tell("stream", said(head), then=partial(self._pull, wish))

    def started(self, id: str) -> None:
        """A run of the task has begun."""
        if (wish := self._wishes.get(id)) is not None:
            self.say(msgspec.structs.replace(wish, again=True))

    def _pull(self, wish: m.Stream, reply: Any) -> None:
        """Tell the run how far it may go."""
        if isinstance(reply, hiredis.ReplyError):
            self._desk.fault(reply)
            return
        if reply:
            executor, token, start, upto = reply
            pull = m.Pull(wish.id, int(token), start, upto, wish.again)
            channel = self._desk.names(f"k:{executor.decode(errors='surrogateescape')}")
            told = self._desk.sealed.events([pull])
            self._desk.wire.call(b"PUBLISH", channel, told, then=_nothing)


def pass_on(desk: Desk, executor: str, items: Iterable[m.Item]) -> None:
    """An executor's runs have yielded these."""
    piece: list[m.Item] = []
    size = 0
    for item in items:
        if piece and ((item.id, item.token) != (piece[0].id, piece[0].token) or size > _PIECE):
            _publish(desk, executor, piece)
            piece, size = [], 0
        piece.append(item)
        size += len(item.value)
    if piece:
        _publish(desk, executor, piece)


def _publish(desk: Desk, executor: str, piece: list[m.Item]) -> None:
    last = piece[-1]
    told = desk.sealed.events(piece)
    desk.tell("items", executor, last.id, str(last.token), last.position, told, then=_nothing)


def _nothing(reply: object) -> None:
    """For commands whose reply tells nothing."""
