"""A broker inside this process: ``memory://NAME``, for tests.

The same core as the daemon's, driven by a thread instead of sockets; messages are encoded and decoded
as they would be on the wire, so that what works here works there.
"""

import itertools
import os
import threading
import time
from collections import deque
from collections.abc import Sequence

from nbqueue._version import __version__
from nbqueue.core.actions import Action, Send, Stop
from nbqueue.core.broker import BrokerCore, BrokerSettings
from nbqueue.exceptions import ConnectionLostError, ProtocolError
from nbqueue.messages import AnyMessage, Goodbye
from nbqueue.transports.base import Link, Transport
from nbqueue.wire import codec

Frames = list[bytes]


class MemoryTransport(Transport):
    """Links to the broker of that name in this process, which starts with the first link."""

    def __init__(self, url: str) -> None:
        self.url = url

    def connect(self) -> Link:
        return broker(self.url).connect()


_brokers: dict[str, "MemoryBroker"] = {}
_lock = threading.Lock()
_boots = itertools.count(1)


def broker(url: str, settings: BrokerSettings | None = None) -> "MemoryBroker":
    """The broker of a URL, started on first use (``settings`` count then)."""
    with _lock:
        found = _brokers.get(url)
        if found is None or found.stopped:
            found = _brokers[url] = MemoryBroker(url, settings or BrokerSettings())
        return found


class MemoryBroker:
    """The core and the thread that drives it."""

    def __init__(self, url: str, settings: BrokerSettings) -> None:
        self.url = url
        self.stopped = False
        epoch = time.time() - time.monotonic()
        self.core = BrokerCore(settings, boot=next(_boots), epoch=epoch, version=__version__, pid=os.getpid())
        self._links: dict[int, MemoryLink] = {}
        self._numbers = itertools.count(1)
        self._arrived: deque[tuple[int, Frames | None]] = deque()
        self._news = threading.Condition()
        self._thread = threading.Thread(target=self._run, name=f"broker {url}", daemon=True)
        self._thread.start()

    def connect(self) -> "MemoryLink":
        link = MemoryLink(self)
        link.number = self._register(link)
        return link

    def _register(self, link: "MemoryLink") -> int:
        number = next(self._numbers)
        self._links[number] = link
        return number

    def deliver(self, number: int, frames: Frames | None) -> None:
        """A batch from a link; None: the link is gone."""
        with self._news:
            if not self.stopped:
                self._arrived.append((number, frames))
                self._news.notify()

    def disconnect(self, link: "MemoryLink") -> None:
        """Break a link as a network would: it comes back by itself under another number."""
        self.deliver(link.number, None)
        link.number = self._register(link)

    def stop(self) -> None:
        """End at once, as if killed: nobody is told."""
        self.stopped = True
        with self._news:
            self._news.notify()
        self._thread.join(5.0)

    def _run(self) -> None:
        try:
            while not self.stopped:
                deadline = self.core.next_deadline()
                with self._news:
                    if not self._arrived:
                        self._news.wait(None if deadline is None else max(0.0, deadline - time.monotonic()))
                self._turn(time.monotonic())
        finally:
            self.stopped = True
            with _lock:
                if _brokers.get(self.url) is self:
                    del _brokers[self.url]

    def _turn(self, now: float) -> None:
        actions: list[Action] = []
        while self._arrived:
            number, frames = self._arrived.popleft()
            if frames is None:
                self._links.pop(number, None)
                actions += self.core.receive(number, Goodbye(unreachable=True), now)
            else:
                actions += self._take(number, frames, now)
        actions += self.core.tick(now)
        self._perform(actions)

    def _take(self, number: int, frames: Frames, now: float) -> list[Action]:
        try:
            messages = codec.decode(frames)
        except ProtocolError as error:
            self._deliver_to(number, [codec.encode_refusal(str(error))])
            return []
        return [action for message in messages for action in self.core.receive(number, message, now)]

    def _perform(self, actions: Sequence[Action]) -> None:
        batches: dict[object, list[AnyMessage]] = {}
        for action in actions:
            if isinstance(action, Send):
                batches.setdefault(action.peer, []).append(action.message)
            elif isinstance(action, Stop):
                self.stopped = True
        for number, messages in batches.items():
            self._deliver_to(number, codec.encode(messages))

    def _deliver_to(self, number: object, frames: Frames) -> None:
        link = self._links.get(number)  # type: ignore[call-overload]  # our peers are numbers
        if link is not None:
            link.arrive(frames)


class MemoryLink(Link):
    """One end in a thread of this process, the other in the broker's."""

    def __init__(self, broker: MemoryBroker) -> None:
        self.number = 0
        self._broker = broker
        self._arrived: deque[Frames] = deque()
        self._news = threading.Condition()
        self._woken = False
        self._closed = False

    def send(self, messages: Sequence[AnyMessage]) -> None:
        if self._closed:
            raise ConnectionLostError("this link is closed")
        if messages:
            self._broker.deliver(self.number, codec.encode(messages))

    def receive(self, timeout: float | None) -> list[AnyMessage]:
        with self._news:
            if not self._arrived and not self._woken:
                self._news.wait(timeout)
            self._woken = False
        if self._broker.stopped:
            self.trouble = ConnectionLostError(f"the broker {self._broker.url} has ended")
        messages: list[AnyMessage] = []
        while self._arrived:
            try:
                messages += codec.decode(self._arrived.popleft())
            except ProtocolError as error:
                self.trouble = error
        return messages

    def arrive(self, frames: Frames) -> None:
        """A batch from the broker."""
        with self._news:
            self._arrived.append(frames)
            self._news.notify()

    def wake(self) -> None:
        with self._news:
            self._woken = True
            self._news.notify()

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._broker.deliver(self.number, None)
