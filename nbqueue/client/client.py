"""One connection to a broker, and the thread that tends it.

``delay()`` puts a submission into a deque and goes on; the I/O thread sends whatever has gathered
there as one batch, takes in what the broker says, and keeps the records up to date.  Callers only
wait in ``get()``, never for the network.
"""

import atexit
import builtins
import logging
import math
import os
import socket
import sys
import threading
import time
import uuid
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

from nbqueue import current, platform, results
from nbqueue import messages as m
from nbqueue._version import __version__
from nbqueue.client import backends
from nbqueue.client.records import TaskRecord
from nbqueue.client.revival import LOOK, Revival
from nbqueue.client.session import Listener, Session, Submission, singly
from nbqueue.client.stream import ItemStream
from nbqueue.client.subscription import Subscription
from nbqueue.conversions import SERIALIZERS
from nbqueue.exceptions import (
    AuthenticationError,
    ConfigurationError,
    ConnectionLostError,
    NBQueueError,
    TimeoutError,
)
from nbqueue.settings import Settings, shown_url
from nbqueue.transports.base import Link, Transport
from nbqueue.wire.shipment import Blob

logger = logging.getLogger(__name__)

#: seconds without a word from the broker, in heartbeats, after which it counts as away
_SILENCE = 2.5
#: seconds between two attempts to be welcomed
_IMPATIENCE = 0.5
#: what a message that no frame can hold raises: of a type that does not travel, or too large
_UNWRITABLE = (TypeError, ValueError, OverflowError, NotImplementedError)

#: all of this process
_clients: "weakref.WeakSet[Client]" = weakref.WeakSet()


class Client:
    """A connected client.  ``revival``: starts the broker again when it dies.

    Raises
    ------
    ConnectionLostError
        The broker did not answer within ``connect_timeout``; its subclasses say why.
    """

    def __init__(self, transport: Transport, settings: Settings, revival: Revival | None = None) -> None:
        self.url = transport.url
        self.settings = settings
        self.pid = os.getpid()
        #: what tasks say of who sent them
        self.origin = f"gen{self.pid}@{socket.gethostname()}"
        #: this process was forked from the one that made it, and has nothing but a copy
        self._inherited = False
        _clients.add(self)
        self._transport = transport
        #: for the local cluster, if it is ours to start again
        self._revival = revival
        self._link: Link = transport.connect()
        self._session = Session(_hello(), settings.max_output_bytes)
        #: submissions, and calls to make on the I/O thread, in order
        self._orders: deque[Submission | Callable[[], object]] = deque()
        #: notified after each batch from the broker
        self._news = threading.Condition()
        self._closing = False
        self._ping_at = 0.0
        #: there was no way to the broker when we looked last
        self._away = False
        #: seconds that we have listened in vain; not those for which we ourselves were held up or stopped
        self._silence = 0.0
        self._subscriptions: set[Subscription] = set()
        self._max_unacknowledged: int = settings.max_unacknowledged
        #: serializers whose content may be loaded, None for all: what all applications that use it accept
        self.accepted: frozenset[str] | None = None
        #: result backends of these applications: full URLs by those without passwords
        self.backends: dict[str, str] = {}
        #: the one to which the broker leaves large values, likewise
        self.own_backend = {shown_url(transport.values_url): transport.values_url}
        self._accepted_by: weakref.WeakKeyDictionary[Settings, frozenset[str]] = weakref.WeakKeyDictionary()
        self._thread = threading.Thread(target=self._run, name="nbqueue I/O", daemon=True)
        self._thread.start()
        atexit.register(self.close)
        try:
            self._await_welcome()
        except BaseException:
            self.close(drain=False)
            raise

    def _await_welcome(self) -> None:
        deadline = time.monotonic() + self.settings.connect_timeout
        while not self._wait_welcomed(0.05):
            if self._session.fatal is not None:
                raise self._session.fatal
            trouble = self._link.trouble
            if trouble is not None and (
                type(trouble) is not ConnectionLostError or time.monotonic() > deadline
            ):
                raise trouble
            if time.monotonic() > deadline:
                raise ConnectionLostError(
                    f"no answer from {self.url} for {self.settings.connect_timeout:g} s:"
                    " `nbqueue doctor` looks for the cause"
                )

    def _wait_welcomed(self, seconds: float) -> bool:
        with self._news:
            return self._news.wait_for(lambda: self._session.welcome is not None and self.connected, seconds)

    # ── for callers, from any thread ─────────────────────────────────────────────────────────

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

    def listen(self, listener: Listener) -> None:
        """Tell it of events; a reference to it is not kept."""
        self._check_understood(m.Listen)
        self._do(lambda: self._session.listen(listener))

    def unlisten(self, listener: Listener) -> None:
        """Tell it of no more; of a closed client there are none anyway."""
        if self._parted is None:
            self._do(lambda: self._session.unlisten(listener))

    def cancel(self, ids: list[str], terminate: bool) -> None:
        """Ask the broker to revoke; returns at once."""
        self._do(lambda: self._session.cancel(ids, terminate))

    def forget(self, ids: list[str]) -> None:
        """Ask the broker to delete records; returns at once."""
        if self.backends:
            backends.forget(self.backends, ids)
        gone = [record for id in ids if (record := self._session.records.pop(id)) is not None]
        self._do(lambda: self._session.forget(ids, gone))

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

    def _check_understood(self, message: type) -> None:
        """Raise ConfigurationError if its broker does not understand messages of that type."""
        what = self._transport.lacks.get(message)
        if what is not None:
            raise ConfigurationError(f"{what} need nbqueue's own broker: {self.url} does not have them yet")

    def open_stream(self, id: str, stream: ItemStream) -> None:
        """Somebody reads the items of a task from now on."""
        self._check_understood(m.Stream)
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

    @property
    def _parted(self) -> ConnectionLostError | None:
        """Why this process cannot use it any more, whatever the broker does."""
        if self._inherited:
            return ConnectionLostError(
                f"this client belongs to process {self.pid}, from which this one was forked"
            )
        return ConnectionLostError("this client is closed") if self._closing else None

    @property
    def trouble(self) -> NBQueueError | None:
        """Why nothing comes from the broker just now, None if all is well."""
        final = self._session.fatal or self._parted
        if final is not None:
            return final
        if self._session.ended:
            return ConnectionLostError(f"the broker at {self.url} has ended: {self._session.ended}")
        if self._reviving:
            return ConnectionLostError(f"the broker at {self.url} died: it is being started again")
        welcome = self._session.welcome
        if welcome is None or self._silence < _SILENCE * welcome.heartbeat:
            return None
        return self._link.trouble or ConnectionLostError(f"no word from {self.url} for {self._silence:.0f} s")

    def check(self) -> None:
        """Raise what makes waiting useless: the client is closed, the broker refuses it, or ended, or is
        silent for a lease."""
        if (verdict := self.verdict) is not None:
            raise verdict

    @property
    def verdict(self) -> NBQueueError | None:
        """What :meth:`check` raises; each time anew, or its traceback would grow with each raise."""
        trouble, welcome = self.trouble, self._session.welcome
        if trouble is None or self._reviving:
            return None
        if self.usable and not self.ended and welcome is not None and self._silence <= welcome.lease:
            return None
        return type(trouble)(*trouble.args)

    @property
    def connected(self) -> bool:
        """Whether it may be used just now: its broker is there, as far as is known."""
        session = self._session
        return not (self._closing or self._inherited or session.fatal or session.ended or self._link.trouble)

    @property
    def usable(self) -> bool:
        """Whether it may be used now, or once its broker is back: it is not closed, not inherited by a fork,
        not refused."""
        refused = self._session.fatal or isinstance(self._link.trouble, AuthenticationError)
        return not (self._closing or self._inherited or refused)

    @property
    def ended(self) -> str:
        """Why its broker has ended, "" if it has not; a client is connected again when there is another."""
        return self._session.ended

    @property
    def revives(self) -> bool:
        """Whether it starts its broker again when that dies."""
        return self._revival is not None

    @property
    def _reviving(self) -> bool:
        """The broker died, and is about to be back."""
        revival = self._revival
        return revival is not None and revival.under_way and self.usable and not self.ended

    @property
    def is_awaited(self) -> bool:
        """Whether somebody has results of it for which something may still come."""
        return bool(self._session.unsettled())

    def rejoin(self, revival: Revival | None) -> None:
        """Its broker was gone, and there is another, or about to be: wait until that has welcomed us.
        ``revival`` takes the place of the old one.

        Raises
        ------
        ConnectionLostError
            It did not answer within ``connect_timeout``; its subclasses say why.
        """
        self._do(lambda: self._revive_by(revival))
        if threading.current_thread() is not self._thread:  # which would wait for itself
            self._await_welcome()

    def _revive_by(self, revival: Revival | None) -> None:
        self._revival = revival

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

    # ── the I/O thread ───────────────────────────────────────────────────────────────────────

    def _do(self, request: Callable[[], object]) -> None:
        if (parted := self._parted) is not None:
            raise parted
        self._orders.append(request)
        self._link.wake()

    def _run(self) -> None:
        try:
            while not self._closing:
                self._turn()
        except Exception as error:
            logger.exception("the I/O thread ended")
            self._session.fatal = NBQueueError(
                f"the client's I/O thread ended by {error!r}; please report this"
            )
        finally:
            self._give_up_if_gone()
            self._leave()

    def _turn(self) -> None:
        self._take_orders()
        now = time.monotonic()
        self._say_something(now)
        self._send(self._session.take())
        patience = self._patience(now)
        messages = self._link.receive(patience)
        self._look_at_link()
        if not messages:
            self._silence += min(patience, time.monotonic() - now)
            self._give_up_if_gone()
        else:
            self._silence = 0.0
            for message in messages:
                self._session.receive(message)
            self._after_messages()
            if self._session.ended:
                self._give_up_if_gone()
        self._tell_subscribers()

    def _look_at_link(self) -> None:
        """When the broker is away, look where it is; when it is back, say so that it knows us again."""
        was_away, self._away = self._away, self._link.trouble is not None
        if self._away and self._revival is not None and not self._session.ended:
            self._session.ended = self._revival.look_for_broker()
            if self._revival.under_way:
                self._silence = 0.0
        elif was_away and not self._away:
            self._ping_at = 0.0
            if self._revival is not None:
                self._revival.back()

    def _give_up_if_gone(self) -> None:
        """Futures and awaits, which cannot look for themselves, learn that the broker is gone."""
        if (verdict := self.verdict) is not None:
            for record in self._session.unsettled():
                record.give_up(verdict)

    def _send(self, messages: list[m.AnyMessage]) -> None:
        try:
            self._link.send(messages)
        except _UNWRITABLE:  # nothing was sent: a batch is written as a whole
            for message in singly(messages):
                try:
                    self._link.send([message])
                except _UNWRITABLE as error:
                    self._session.take_back(message, error)
            self._after_messages()

    def _take_orders(self) -> None:
        for _ in range(len(self._orders)):
            order = self._orders[0]
            if isinstance(order, Submission):
                self._session.submit(order)
            else:
                order()
            self._orders.popleft()  # only now, so that what is under way is counted all the time

    def _patience(self, now: float) -> float:
        """Seconds until something else is to be done."""
        due = [s.due for s in list(self._subscriptions) if s.due is not None]
        if self._away and self._revival is not None and not self._session.ended:
            due.append(now + LOOK)
        return max(0.0, min([self._ping_at, *due]) - now)

    def _say_something(self, now: float) -> None:
        if now >= self._ping_at:
            welcome = self._session.welcome
            if not (self._away and self.ended):  # the next broker may come in days, and would hear them all
                self._session.say(m.Ping())
                for id in list(self._session.streams):
                    self._session.pull(id, renewed=True)
            self._ping_at = now + (welcome.heartbeat if welcome is not None else _IMPATIENCE)
            if self._revival is not None and not self._away:
                self._revival.look_for_worker(lambda: self.is_awaited)

    def _after_messages(self) -> None:
        with self._news:
            self._news.notify_all()
        for record in self._session.changed:
            for subscription, index in record.subscriptions:
                subscription.note(index)
            record.subscriptions = tuple(s for s in record.subscriptions if not s[0].closed)
        self._session.changed.clear()

    def _tell_subscribers(self) -> None:
        now = time.monotonic()
        for subscription in list(self._subscriptions):
            if subscription.due is not None and subscription.due <= now:
                try:
                    subscription.call()
                except Exception:
                    logger.exception("a view of results failed; it is closed")
                    subscription.close()
            if subscription.closed:
                self._subscriptions.discard(subscription)

    def _leave(self) -> None:
        try:
            self._link.send([*self._session.take(), m.Goodbye()])
        except NBQueueError as error:
            logger.debug("no goodbye: %s", error)
        self._link.close()
        self._transport.close()


def _complain(topic: str, answer: m.Answer) -> None:
    if answer.error:
        logger.warning("%s was not done: %s", topic, answer.error)


def _after_fork() -> None:
    for client in _clients:
        client._inherited = True


# each call asks, and a flag costs less than os.getpid()
platform.in_forked_children(_after_fork)


def _hello() -> m.Hello:
    return m.Hello(
        role=m.CLIENT,
        id=uuid.uuid4().hex,
        version=__version__,
        host=socket.gethostname(),
        pid=os.getpid(),
        python=f"{sys.version_info.major}.{sys.version_info.minor}",
        notebook=current.notebook,
    )
