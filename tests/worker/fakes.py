"""A link whose other end is the test."""

import threading
import time
from collections.abc import Sequence
from typing import Any

from nbqueue.exceptions import ConnectionLostError
from nbqueue.messages import AnyMessage
from nbqueue.transports.base import Link, Transport


class FakeLink(Link):
    """What was sent stands in ``sent``; :meth:`deliver` is the broker's answer."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.closed = False
        self._inbox: list[AnyMessage] = []
        self._woken = False
        self._news = threading.Condition()

    def send(self, messages: Sequence[AnyMessage]) -> None:
        if self.closed:
            raise ConnectionLostError("closed")
        with self._news:
            self.sent += messages
            self._news.notify_all()

    def receive(self, timeout: float | None) -> list[AnyMessage]:
        with self._news:
            if not self._inbox and not self._woken:
                self._news.wait_for(lambda: self._inbox or self._woken, timeout)
            self._woken = False
            messages, self._inbox = self._inbox, []
        return messages

    def wake(self) -> None:
        with self._news:
            self._woken = True
            self._news.notify_all()

    def close(self) -> None:
        self.closed = True

    # ── the test's side ──────────────────────────────────────────────────────────────────────

    def deliver(self, *messages: AnyMessage) -> None:
        with self._news:
            self._inbox += messages
            self._news.notify_all()

    def of(self, kind: type) -> list[Any]:
        """What was sent of that kind."""
        return [message for message in self.sent if isinstance(message, kind)]

    def wait_sent(self, kind: type, count: int = 1, timeout: float = 5.0) -> Any:
        """Wait for the count-th message of that kind."""
        deadline = time.monotonic() + timeout
        with self._news:
            while len(self.of(kind)) < count:
                assert time.monotonic() < deadline, f"no {kind.__name__} in {self.sent}"
                self._news.wait(0.1)
        return self.of(kind)[count - 1]


class FakeTransport(Transport):
    """Hands out fake links: for an executor the main one first, then the control one."""

    def __init__(self) -> None:
        self.url = "fake://"
        self.links: list[FakeLink] = []

    def connect(self) -> FakeLink:
        self.links.append(FakeLink())
        return self.links[-1]
