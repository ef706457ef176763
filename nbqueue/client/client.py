"""A client of a broker: what callers may do.

``delay()`` puts a submission into a deque and goes on; the I/O thread (``client.io``) does the rest.
"""

import atexit
import builtins
import logging
import math
import socket
import sys
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

from nbqueue import messages as m
from nbqueue import results
from nbqueue.client import backends
from nbqueue.client.io import Connection
from nbqueue.client.records import TaskRecord
from nbqueue.client.revival import Revival
from nbqueue.client.session import Listener, Submission
from nbqueue.client.stream import ItemStream
from nbqueue.client.subscription import Subscription
from nbqueue.conversions import SERIALIZERS
from nbqueue.exceptions import (
    ConnectionLostError,
    NBQueueError,
    TimeoutError,
)
from nbqueue.settings import Settings, shown_url
from nbqueue.transports.base import Transport
from nbqueue.wire.shipment import Blob

logger = logging.getLogger(__name__)


class Client(Connection):
    """A connected client.  ``revival``: starts the broker again when it dies.

    Raises
    ------
    ConnectionLostError
        The broker did not answer within ``connect_timeout``; its subclasses say why.
    """

    def __init__(self, transport: Transport, settings: Settings, revival: Revival | None = None) -> None:
        super().__init__(transport, settings, revival)
        #: what tasks say of who sent them
        self.origin = f"gen{self.pid}@{socket.gethostname()}"
        self._max_unacknowledged: int = settings.max_unacknowledged
        #: serializers whose content may be loaded, None for all: what all applications that use it accept
        self.accepted: frozenset[str] | None = None
        #: result backends of these applications: full URLs by those without passwords
        self.backends: dict[str, str] = {}
        #: the one to which the broker leaves large values, likewise
        self.own_backend = {shown_url(transport.values_url): transport.values_url}
        self._accepted_by: weakref.WeakKeyDictionary[Settings, frozenset[str]] = weakref.WeakKeyDictionary()
        self._thread.start()
        atexit.register(self.close)
        try:
            self._await_welcome()
        except BaseException:
            self.close(drain=False)
            raise

    # ── tasks ────────────────────────────────────────────────────────────────────────────────

    def accept_as(self, settings: Settings) -> None:
        """Load of results what these settings (of one of the applications that use it) allow, too."""
        own = settings.result_accept_content
        self._accepted_by[settings] = frozenset(settings.accept_content if own is None else own)
        url = settings.backend
        if not results.is_with_broker(url, settings.broker) and url != results.DISABLED:
            self.backends[shown_url(url)] = url
        accepted = frozenset(SERIALIZERS.values()).intersection(*self._accepted_by.values())
        self.accepted = None if accepted == frozenset(SERIALIZERS.values()) else accepted

    def submit(self, task: m.Task, blobs: tuple[Blob, ...], *, fresh: bool = False) -> TaskRecord:
        """Send a task; blocks (interruptibly) only while ``max_unacknowledged`` submissions are under way.

        ``fresh``: nobody else can know its id.

        Raises
        ------
        ConnectionLostError
            The client is closed, or the broker is gone for good.
        """
        if self._closing or self._session.fatal is not None:
            raise self._session.fatal or ConnectionLostError("this client is closed")
        if fresh:
            record = TaskRecord(task.id, task.name, task.queue, task.group)
            self._session.records.add(record)
        else:
            record = self._named_again(task)
        record.known = True
        record.submitted_at = time.time()
        self._orders.append(Submission(task, blobs))
        self._link.wake()
        if self.unacknowledged > self._max_unacknowledged:
            self._wait(lambda: self.unacknowledged <= self._max_unacknowledged)
        return record

    def _named_again(self, task: m.Task) -> TaskRecord:
        record = self.record(task.id)
        record.ask_again()
        record.name, record.queue, record.group = task.name, task.queue, task.group
        return record

    def record(self, id: str) -> TaskRecord:
        """The record of an id, one object for all who ask."""
        return self._session.records.named(id)

    def look_up(self, record: TaskRecord, timeout: float | None = None) -> None:
        """Make sure that a record that was not submitted here is what the broker knows of it.

        Raises
        ------
        TimeoutError
            No answer within ``timeout`` seconds, nor within ``connect_timeout``.
        """
        self.look_up_all([record], timeout)

    def look_up_all(self, records: Sequence[TaskRecord], timeout: float | None = None) -> None:
        """The same for several, in one question."""
        unknown = [record for record in records if not record.known]
        if not unknown:
            return
        for record in unknown:
            record.ask_again()
        ids = [record.id for record in unknown]
        answered = threading.Event()
        self._do(lambda: self._session.make_sure(m.Watch(ids), answered.set))
        patience = self.settings.connect_timeout
        if not answered.wait(patience if timeout is None else min(timeout, patience)):
            self.check()
            raise TimeoutError(f"{self.url} did not tell of {', '.join(ids[:3])} in time")

    def cancel(self, ids: list[str], terminate: bool) -> None:
        """Ask the broker to revoke; returns at once."""
        self._do(lambda: self._session.cancel(ids, terminate))

    def forget(self, ids: list[str]) -> None:
        """Ask the broker to delete records; returns at once."""
        if self.backends:
            backends.forget(self.backends, ids)
        gone = [record for id in ids if (record := self._session.records.pop(id)) is not None]
        self._do(lambda: self._session.forget(ids, gone))

    # ── questions and orders ─────────────────────────────────────────────────────────────────

    def ask(self, topic: str, *, timeout: float | None = None, **args: Any) -> Any:
        """Put a question to the broker and wait for the answer; topics stand in ``core.inspect``.

        Raises
        ------
        TimeoutError
            No answer within ``timeout`` (``connect_timeout``) seconds.
        NBQueueError
            The question was wrong.
        """
        future: Future[m.Answer] = Future()
        self._do(lambda: self._session.ask(topic, args, future.set_result))
        return self._answer(future, repr(topic), timeout)

    def order(
        self,
        message: Callable[[int], m.AnyMessage],
        blobs: Sequence[Blob] = (),
        *,
        timeout: float | None = None,
    ) -> None:
        """Say a message that has a number, after the blobs that it refers to, and wait until it is done.

        Raises
        ------
        TimeoutError
            Not within ``timeout`` (``connect_timeout``) seconds.
        NBQueueError
            The broker will not do it; the message says why.
        """
        future: Future[m.Answer] = Future()
        self._do(lambda: self._session.order(message, blobs, future.set_result))
        self._answer(future, "what it was told", timeout)

    def _answer(self, future: "Future[m.Answer]", about: str, timeout: float | None) -> Any:
        try:
            answer = future.result(self.settings.connect_timeout if timeout is None else timeout)
        except builtins.TimeoutError:
            self._do(lambda: self._session.withdraw(future.set_result))
            self.check()
            raise TimeoutError(f"no answer from {self.url} about {about}") from None
        if answer.error:
            raise NBQueueError(answer.error)
        return answer.data

    def tell(self, topic: str, **args: Any) -> None:
        """The same without waiting: what is wrong with it is written to the log."""
        self._do(lambda: self._session.ask(topic, args, lambda answer: _complain(topic, answer)))

    # ── what is told of ──────────────────────────────────────────────────────────────────────

    def listen(self, listener: Listener) -> None:
        """Tell it of events; a reference to it is not kept."""
        self._do(lambda: self._session.listen(listener))

    def unlisten(self, listener: Listener) -> None:
        """Tell it of no more; of a closed client there are none anyway."""
        if self._parted is None:
            self._do(lambda: self._session.unlisten(listener))

    def subscribe(self, record: TaskRecord, subscription: Subscription, index: int) -> None:
        """Tell ``subscription`` of each change of a record; of a closed client there are none."""
        if self._parted is None:
            self._do(lambda: self._subscribe(record, subscription, index))

    def _subscribe(self, record: TaskRecord, subscription: Subscription, index: int) -> None:
        self._subscriptions.add(subscription)
        record.subscriptions += ((subscription, index),)
        if not record.known:
            self._session.make_sure(m.Watch([record.id]))
        elif record.accepted or record.settled:  # it may have changed since it was first looked at
            subscription.note(index)

    def open_stream(self, id: str, stream: ItemStream) -> None:
        """Somebody reads the items of a task from now on."""
        held = weakref.ref(stream)

        def open() -> None:
            self._session.streams.setdefault(id, []).append(held)
            self._session.pull(id)

        self._do(open)

    def pull(self, id: str) -> None:
        """Who reads the items of a task can take more."""
        self._do(lambda: self._session.pull(id))

    def close_stream(self, id: str) -> None:
        """Somebody reads no more: he is closed, or nobody holds him any more."""

        def close() -> None:
            readers = self._session.streams.pop(id, [])
            left = [held for held in readers if (stream := held()) is not None and stream.is_open]
            if left:
                self._session.streams[id] = left
                self._session.pull(id)
            else:
                self._session.say(m.Stream(id, 0, -1))

        self._do(close)

    # ── waiting, and leaving ─────────────────────────────────────────────────────────────────

    def wait_accepted(self, record: TaskRecord, timeout: float | None = None) -> bool:
        """Wait until the broker has accepted or refused a task; False when time is over."""
        return self._wait(lambda: record.accepted or record.settled, timeout)

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until the broker has accepted (or refused) all that was submitted before; False when time
        is over."""
        if not self.unacknowledged:
            return True
        sent: set[str] = set()
        taken = threading.Event()

        def take() -> None:
            sent.update(self._session.pending)
            taken.set()

        self._do(take)
        return self._wait(lambda: taken.is_set() and sent.isdisjoint(self._session.pending), timeout)

    def _wait(self, done: Callable[[], bool], timeout: float | None = None) -> bool:
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        with self._news:
            while not done():
                left = min(0.2, deadline - time.monotonic())
                if left <= 0:
                    return False
                if not self._news.wait(left) and not done():
                    self.check()
        return True

    def drain(self) -> bool:
        """:meth:`flush` for at most ``drain_timeout`` seconds."""
        return self.flush(self.settings.drain_timeout)

    @property
    def unacknowledged(self) -> int:
        """Submissions that the broker has not accepted yet (and orders on their way to the I/O thread)."""
        return len(self._orders) + len(self._session.pending)

    @property
    def max_payload_bytes(self) -> int:
        """What the broker takes; 0 if it has not said yet."""
        welcome = self._session.welcome
        return welcome.max_payload_bytes if welcome is not None else 0

    def close(self, drain: bool = True) -> None:
        """Wait up to ``drain_timeout`` until all is accepted, then leave; says on stderr what was not."""
        if self._closing or self._inherited:
            return
        try:
            if drain and self.unacknowledged:
                self.drain()
        except NBQueueError as error:
            print(f"nbqueue: {error}", file=sys.stderr)
        left = self.unacknowledged
        if drain and left:
            print(f"nbqueue: {left} tasks were not accepted by {self.url}, and are lost", file=sys.stderr)
        self._closing = True
        self._link.wake()
        if threading.current_thread() is not self._thread:
            self._thread.join(2.0)
        atexit.unregister(self.close)


def _complain(topic: str, answer: m.Answer) -> None:
    if answer.error:
        logger.warning("%s was not done: %s", topic, answer.error)
