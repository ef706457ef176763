"""A peer's link to Redis: the connection, and the part that the peer plays.

Which part that is, its Hello says; before it, and after each new connection, whatever else it says is
answered by Unknown, as a broker does that does not know it.  So everything is said again that may have been
lost, and everything is read again that may have been missed.
"""

import logging
import os
import select
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from nbqueue import messages as m
from nbqueue import platform
from nbqueue._version import __version__
from nbqueue.core.settings import BrokerSettings
from nbqueue.exceptions import ConnectionLostError
from nbqueue.messages import AnyMessage
from nbqueue.settings import Settings
from nbqueue.transports.base import Link, Transport
from nbqueue.transports.redis import steps
from nbqueue.transports.redis.address import Address
from nbqueue.transports.redis.client import ClientPart
from nbqueue.transports.redis.desk import Desk, Part
from nbqueue.transports.redis.executor import ExecutorPart
from nbqueue.transports.redis.names import Names
from nbqueue.transports.redis.pieces import LARGE
from nbqueue.transports.redis.reach import Broken
from nbqueue.transports.redis.records import Sealed
from nbqueue.transports.redis.wire import Wire
from nbqueue.transports.redis.worker import WorkerPart
from nbqueue.wire.signing import Signer, signing_key

logger = logging.getLogger(__name__)

#: seconds until the next try to connect: the first, and at most
_SOON: Final = 0.02
_LATEST: Final = 1.0

_PARTS: Final[dict[str, type[Part]]] = {
    m.CLIENT: ClientPart,
    m.WORKER: WorkerPart,
    m.EXECUTOR: ExecutorPart,
    m.CONTROL: ExecutorPart,
}


class RedisTransport(Transport):
    """Links to the application of a ``redis://`` URL.

    ``settings``: those that a broker has, which here each peer brings along; None: those of the environment.
    """

    def __init__(self, url: str, settings: Settings | None = None) -> None:
        self._address = Address(url)
        self.url = self._address.url
        self.values_url, self.values_above = url, LARGE
        self._settings = BrokerSettings.of(settings or Settings())
        self._sealed = Sealed(Signer(signing_key().encode(), self._address.app))

    def connect(self) -> Link:
        return RedisLink(self._address, self._settings, self._sealed)


class RedisLink(Link):
    """See the module's docstring.  A forked child cannot use it, and has to connect for itself."""

    def __init__(self, address: Address, settings: BrokerSettings, sealed: Sealed) -> None:
        self._pid = os.getpid()
        self._address = address
        self._settings = settings
        self._sealed = sealed
        self._names = Names(address.app)
        self._wire: Wire | None = None
        self._part: Part | None = None
        self._inbox: list[AnyMessage] = []
        #: said before the first connection
        self._kept: list[AnyMessage] = []
        self._was_connected = False
        self._node: tuple[str, int] | None = None
        self._connect_at = 0.0
        self._pause = _SOON
        self._closed = False
        self._memory: dict[str, Any] = {}
        self._waker = platform.Waker()

    # ── Link ─────────────────────────────────────────────────────────────────────────────────

    def send(self, messages: Sequence[AnyMessage]) -> None:
        self._check_usable()
        if self._wire is None and not self._was_connected:
            self._kept += messages
            self._connect_if_due()
            return
        if self._wire is not None:
            self._guarded(lambda wire: self._say(wire, messages))

    def receive(self, timeout: float | None) -> list[AnyMessage]:
        self._check_usable()
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            self._connect_if_due()
            if self._wire is not None:
                self._guarded(self._turn)
            if self._inbox or not self._sleep(deadline):
                break
        self._waker.disarm()
        inbox = self._inbox.copy()
        self._inbox.clear()  # the same list: the desk delivers into it
        return inbox

    def wake(self) -> None:
        self._waker.wake()

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if os.getpid() != self._pid:
            return
        if self._wire is not None:
            self._guarded(self._part_for_good)
        if self._wire is not None:
            self._wire.close()
        self._waker.close()

    def _part_for_good(self, wire: Wire) -> None:
        """What was said last gets there: a goodbye, an outcome."""
        if wire.waits or wire.wants_to_write:
            wire.ask(b"PING")

    def _check_usable(self) -> None:
        if self._closed:
            raise ConnectionLostError("this link is closed")
        if os.getpid() != self._pid:
            raise ConnectionLostError(
                f"this link belongs to process {self._pid}, from which this one was forked"
            )

    # ── what goes through ────────────────────────────────────────────────────────────────────

    def _guarded(self, use: Callable[[Wire], None]) -> None:
        """Use the connection, and see to it if it breaks."""
        wire = self._wire
        assert wire is not None
        try:
            use(wire)
        except Broken as broken:
            self._lose(broken)

    def _say(self, wire: Wire, messages: Sequence[AnyMessage]) -> None:
        for message in messages:
            if isinstance(message, m.Hello):
                self._greet(wire, message)
            elif self._part is None:
                if not isinstance(message, m.Goodbye):
                    self._inbox.append(m.Unknown())
            else:
                self._part.say(message)
        if self._part is not None:
            self._part.said()
            if self._part.desk.events_of.waiting:
                self._part.desk.events_of.flush()
        wire.flush()

    def _greet(self, wire: Wire, hello: m.Hello) -> None:
        if hello.protocol != m.PROTOCOL:
            self._inbox.append(m.Refused(f"nbqueue {__version__} speaks protocol {m.PROTOCOL}"))
            return
        desk = Desk(
            wire, self._names, self._sealed, self._settings, self._inbox.append, self._address.url,
            self._memory,
        )  # fmt: skip
        before, self._part = self._part, _PARTS[hello.role](desk, hello)
        self._part.again = before is not None and before.hello.id == hello.id
        desk.events_of.begin()
        self._part.greet()
        self.trouble = None  # only now: a replica lets us in, too
        self._pause = _SOON

    def _turn(self, wire: Wire) -> None:
        """Take in what is there, and do what is due."""
        wire.flush()
        wire.take()
        part = self._part
        if part is None:
            wire.pushes.clear()
            return
        while wire.pushes:
            channel, message = wire.pushes.popleft()
            part.heard(channel, message)
        part.turn(time.monotonic())
        if part.desk.events_of.waiting:
            part.desk.events_of.flush()
        if part.desk.to_look:
            steps.attend(part.desk)
        wire.flush()

    def _sleep(self, deadline: float | None) -> bool:
        """Wait until there may be something; False if the time is over or :meth:`wake` was called."""
        if not self._waker.arm():
            return False
        now = time.monotonic()
        if deadline is not None and now >= deadline:
            return False
        due = [deadline] if deadline is not None else []
        poller = select.poll()
        poller.register(self._waker.fileno(), select.POLLIN)
        if (wire := self._wire) is None:
            due.append(self._connect_at)
        else:
            if self._part is not None:
                due.append(now if self._part.desk.to_look else self._part.due())
            if wire.waits:
                due.append(now + 1.0)  # to notice that nothing comes
            poller.register(wire, select.POLLIN | (select.POLLOUT if wire.wants_to_write else 0))
        pause = None if not due else max(0.0, min(due) - now) * 1000
        ready = poller.poll(None if pause is None else int(pause + 0.999))
        if any(fd == self._waker.fileno() for fd, _ in ready):
            self._waker.drain()
            return False
        return True

    # ── the connection ───────────────────────────────────────────────────────────────────────

    def _connect_if_due(self) -> None:
        if self._wire is not None or time.monotonic() < self._connect_at:
            return
        try:
            self._wire = Wire(self._address, self._node)
        except Broken as broken:
            self._lose(broken)
            return
        if self._was_connected:
            self._inbox.append(m.Unknown())
            return
        self._was_connected = True
        kept, self._kept = self._kept, []
        self._guarded(lambda wire: self._say(wire, kept))

    def _lose(self, broken: Broken) -> None:
        if self._wire is not None:
            self._wire.close()
            self._wire = None
            logger.debug("%s", broken)
            if broken.final:  # we are let in, but may not do what we have to: see `rights`
                self._inbox.append(m.Refused(f"{broken}: `nbqueue doctor` names the rights that are missing"))
        if self._part is not None:
            self._part.gone()
            self._part = None
        self._node = broken.moved
        self.trouble = self.trouble if broken.moved else broken.trouble
        self._connect_at = time.monotonic() + (0.0 if broken.moved else self._pause)
        self._pause = min(_LATEST, 2 * self._pause)
