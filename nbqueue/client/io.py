"""The thread that tends a connection to a broker.

It sends whatever has gathered in a deque as one batch, takes in what the broker says, keeps the records up to
date, and looks after the broker itself, if that is ours to start again.  Callers only put something into the
deque and wait for news, never for the network.
"""

import logging
import os
import socket
import sys
import threading
import time
import uuid
import weakref
from collections import deque
from collections.abc import Callable

from nbqueue import current, platform
from nbqueue import messages as m
from nbqueue._version import __version__
from nbqueue.client.revival import LOOK, Revival
from nbqueue.client.session import Session, Submission, singly
from nbqueue.client.subscription import Subscription
from nbqueue.exceptions import AuthenticationError, ConnectionLostError, NBQueueError
from nbqueue.settings import Settings
from nbqueue.transports.base import Link, Transport

logger = logging.getLogger(__name__)

#: seconds without a word from the broker, in heartbeats, after which it counts as away
_SILENCE = 2.5
#: seconds between two attempts to be welcomed
_IMPATIENCE = 0.5
#: what a message that no frame can hold raises: of a type that does not travel, or too large
_UNWRITABLE = (TypeError, ValueError, OverflowError, NotImplementedError)

#: all of this process
_connections: "weakref.WeakSet[Connection]" = weakref.WeakSet()


class Connection:
    """A broker, as far as it is there.  ``revival``: starts it again when it dies."""

    def __init__(self, transport: Transport, settings: Settings, revival: Revival | None) -> None:
        self.url = transport.url
        self.settings = settings
        self.pid = os.getpid()
        #: this process was forked from the one that made it, and has nothing but a copy
        self._inherited = False
        _connections.add(self)
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
        self._thread = threading.Thread(target=self._run, name="nbqueue I/O", daemon=True)

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

    # ── how it is, for any thread ────────────────────────────────────────────────────────────

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
    def _parted(self) -> ConnectionLostError | None:
        """Why this process cannot use it any more, whatever the broker does."""
        if self._inherited:
            return ConnectionLostError(
                f"this client belongs to process {self.pid}, from which this one was forked"
            )
        return ConnectionLostError("this client is closed") if self._closing else None

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


def _after_fork() -> None:
    for connection in _connections:
        connection._inherited = True


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
