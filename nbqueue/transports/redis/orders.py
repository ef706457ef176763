"""Remote control, a worker's side: orders that its supervisor is to carry out, each once.

An order is signed for one worker and one moment, so that nobody can have it obeyed elsewhere or later, who
has seen it in Redis; and it has a name, so that it is not obeyed twice.
"""

from itertools import count
from typing import Final

import msgspec

from nbqueue import messages as m
from nbqueue.exceptions import ProtocolError
from nbqueue.transports.redis.desk import Desk, framed
from nbqueue.transports.redis.records import Said, Summons
from nbqueue.wire.signing import ForgedError

#: seconds for which an order may be on its way, and for which its name is remembered
FRESH: Final = 60.0

#: of this process: the supervisor counts on it that no two are the same
_numbers = count(1)


class Memory:
    """Orders of a worker, as long as its link lives: it says Hello again when its queues change."""

    def __init__(self) -> None:
        #: name → when it came, and its answer
        self.orders: dict[str, tuple[float, m.Reply | None]] = {}
        #: by the number under which the supervisor knows them
        self.asked: dict[int, Summons] = {}

    def forget(self, now: float) -> None:
        """Drop those that are refused for their age by now."""
        old = [order for order, (at, _) in self.orders.items() if at < now - 2 * FRESH]
        for order in old:
            del self.orders[order]


class Orders:
    """See the module's docstring."""

    def __init__(self, desk: Desk, worker: str) -> None:
        self._desk = desk
        self._worker = worker
        self._memory = desk.memory.setdefault("orders", Memory())

    def heard(self, sealed: bytes) -> None:
        """Somebody wants something of this worker."""
        desk, now = self._desk, self._desk.now
        try:
            summons = desk.sealed.open_summons(sealed)
        except (ForgedError, ProtocolError) as error:
            desk.report_forgery(str(error))
            return
        if summons.worker != self._worker or abs(now - summons.at) > FRESH:
            desk.report_forgery(f"an order to {summons.command} that was meant for another worker or time")
            return
        orders = self._memory.orders
        if summons.order in orders:
            if (reply := orders[summons.order][1]) is not None:
                self._answer(summons, reply)
            return
        self._memory.forget(now)
        orders[summons.order] = (now, None)
        number = next(_numbers)
        self._memory.asked[number] = summons
        desk.deliver(m.Order(number, summons.command, summons.args))

    def replied(self, reply: m.Reply) -> None:
        """The supervisor has done it, or says why not."""
        summons = self._memory.asked.pop(reply.number, None)
        if summons is not None:
            self._memory.orders[summons.order] = (self._desk.now, reply)
            self._answer(summons, reply)

    def _answer(self, summons: Summons, reply: m.Reply) -> None:
        said = Said(summons.order, self._worker, reply.data, reply.error)
        try:
            sealed = self._desk.sealed.said(said)
        except (TypeError, ValueError, OverflowError, msgspec.MsgspecError) as error:
            sealed = self._desk.sealed.said(Said(summons.order, self._worker, None, str(error)))
        self._desk.publish(f"c:{summons.client}", framed(b"a", sealed))
