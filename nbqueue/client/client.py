"""One connection to a broker, and the thread that tends it.

``delay()`` puts a submission into a deque and goes on; the I/O thread sends whatever has gathered
there as one batch, takes in what the broker says, and keeps the records up to date.  Callers only
wait in ``get()``, never for the network.
"""

import atexit
import builtins
import logging
import os
import socket
import sys
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from nbqueue import messages as m
from nbqueue.client.records import TaskRecord
from nbqueue.client.session import Session, Submission
from nbqueue.client.subscription import Subscription
from nbqueue.exceptions import ConnectionLostError, NBQueueError, TimeoutError
from nbqueue.settings import Settings
from nbqueue.transports.base import Link, Transport

logger = logging.getLogger(__name__)

#: seconds without a word from the broker, in heartbeats, after which it counts as away
_SILENCE = 2.5
#: seconds between two attempts to be welcomed
_IMPATIENCE = 0.5


class Client:
    """A connected client.  ``version`` is nbqueue's.

    Raises
    ------
    ConnectionLostError
        The broker did not answer within ``connect_timeout``; its subclasses say why.
    """

    def __init__(self, transport: Transport, settings: Settings, *, version: str) -> None:
        self.url = transport.url
        self.settings = settings
        self.pid = os.getpid()
        self._transport = transport
        self._link: Link = transport.connect()
        self._session = Session(_hello(version), settings.max_output_bytes)
        #: submissions, and calls to make on the I/O thread, in order
        self._orders: deque[Submission | Callable[[], object]] = deque()
        self._welcomed = threading.Event()
        self._room = threading.Condition()
        self._closing = False
        self._ping_at = 0.0
        self._heard_at = time.monotonic()
        self._subscriptions: set[Subscription] = set()
        self._max_unacknowledged: int = settings.max_unacknowledged
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
        while not self._welcomed.wait(0.05):
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

    # ── for callers, from any thread ─────────────────────────────────────────────────────────

    def submit(self, task: m.Task, blobs: tuple[Any, ...]) -> TaskRecord:
        """Send a task; blocks (interruptibly) only while ``max_unacknowledged`` submissions are under way.

        Raises
        ------
        ConnectionLostError
            The client is closed, or the broker is gone for good.
        """
        if self._closing or self._session.fatal is not None:
            raise self._session.fatal or ConnectionLostError("this client is closed")
        record = TaskRecord(task.id, task.name, task.queue, task.group)
        record.known = True
        record.submitted_at = time.time()
        self._session.records[task.id] = record
        self._orders.append(Submission(task, blobs))
        self._link.wake()
        if self.unacknowledged > self._max_unacknowledged:
            self._wait_for_room()
        return record

    def _wait_for_room(self) -> None:
        with self._room:
            while self.unacknowledged > self._max_unacknowledged:
                self.check()
                self._room.wait(0.2)

    def record(self, id: str) -> TaskRecord:
        """The record of an id, one object for all who ask."""
        record = self._session.records.get(id)
        if record is None:
            record = self._session.records.setdefault(id, TaskRecord(id))
        return record

    def look_up(self, record: TaskRecord, timeout: float | None = None) -> None:
        """Make sure that a record that was not submitted here is what the broker knows of it."""
        if record.known:
            return
        record.ask_again()
        answered = threading.Event()
        self._do(lambda: self._look_up(record, answered))
        if not answered.wait(self.settings.connect_timeout if timeout is None else timeout):
            self.check()
            raise TimeoutError(f"{self.url} did not tell of {record.id} in time")

    def _look_up(self, record: TaskRecord, answered: threading.Event) -> None:
        # answers come in order: when this question is answered, the record's story has been told
        self._session.say(m.Watch([record.id]))
        self._session.ask("why", {"id": record.id}, lambda _: answered.set())

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
        try:
            answer = future.result(self.settings.connect_timeout if timeout is None else timeout)
        except builtins.TimeoutError:
            self.check()
            raise TimeoutError(f"no answer from {self.url} about {topic!r}") from None
        if answer.error:
            raise NBQueueError(answer.error)
        return answer.data

    def cancel(self, ids: list[str], terminate: bool) -> None:
        """Ask the broker to revoke; returns at once."""
        self._do(lambda: self._session.say(m.Cancel(ids, terminate)))

    def forget(self, ids: list[str]) -> None:
        """Ask the broker to delete records; returns at once."""
        for id in ids:
            self._session.records.pop(id, None)
        self._do(lambda: self._session.say(m.Forget(ids)))

    def subscribe(self, record: TaskRecord, subscription: Subscription, index: int) -> None:
        """Tell ``subscription`` of each change of a record."""
        self._subscriptions.add(subscription)
        record.subscriptions += ((subscription, index),)
        if not record.known:
            self._do(lambda: self._session.say(m.Watch([record.id])))

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until the broker has accepted (or refused) every submission; False when time is over."""
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._room:
            while self.unacknowledged:
                self.check()
                left = 0.2 if deadline is None else min(0.2, deadline - time.monotonic())
                if left <= 0:
                    return False
                self._room.wait(left)
        return True

    def drain(self) -> bool:
        """:meth:`flush` for at most ``drain_timeout`` seconds."""
        return self.flush(self.settings.drain_timeout)

    @property
    def unacknowledged(self) -> int:
        """Submissions that the broker has not accepted yet (and orders on their way to the I/O thread)."""
        return len(self._orders) + len(self._session.pending)

    @property
    def trouble(self) -> NBQueueError | None:
        """Why nothing comes from the broker just now, None if all is well."""
        if self._session.fatal is not None:
            return self._session.fatal
        if self._session.ended:
            return ConnectionLostError(f"the broker at {self.url} has ended: {self._session.ended}")
        welcome = self._session.welcome
        silence = time.monotonic() - self._heard_at
        if welcome is None or silence < _SILENCE * welcome.heartbeat:
            return None
        return self._link.trouble or ConnectionLostError(f"no word from {self.url} for {silence:.0f} s")

    def check(self) -> None:
        """Raise what makes waiting useless: a fatal refusal, a broker that ended or is silent for a lease."""
        trouble = self.trouble
        if trouble is None:
            return
        welcome, silence = self._session.welcome, time.monotonic() - self._heard_at
        if welcome is None or trouble is self._session.fatal or silence > welcome.lease:
            raise trouble

    @property
    def usable(self) -> bool:
        """Whether this process may go on using it: not closed, not inherited by a fork, not refused."""
        alive = self.pid == os.getpid() and not self._closing
        return alive and self._session.fatal is None and not self._session.ended

    def close(self, drain: bool = True) -> None:
        """Wait up to ``drain_timeout`` until all is accepted, then leave; says on stderr what was not."""
        if self._closing or self.pid != os.getpid():
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
        self._thread.join(2.0)
        atexit.unregister(self.close)

    # ── the I/O thread ───────────────────────────────────────────────────────────────────────

    def _do(self, request: Callable[[], object]) -> None:
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
            self._leave()

    def _turn(self) -> None:
        self._take_orders()
        now = time.monotonic()
        self._say_something(now)
        self._link.send(self._session.take())
        messages = self._link.receive(self._patience(now))
        if messages:
            self._heard_at = time.monotonic()
            for message in messages:
                self._session.receive(message)
            self._after_messages()
        self._tell_subscribers()

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
        return max(0.0, min([self._ping_at, *due]) - now)

    def _say_something(self, now: float) -> None:
        if now >= self._ping_at:
            welcome = self._session.welcome
            self._session.say(m.Ping())
            self._ping_at = now + (welcome.heartbeat if welcome is not None else _IMPATIENCE)

    def _after_messages(self) -> None:
        if self._session.welcome is not None and not self._welcomed.is_set():
            self._welcomed.set()
        with self._room:
            self._room.notify_all()
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


def _hello(version: str) -> m.Hello:
    return m.Hello(
        role=m.CLIENT,
        id=uuid.uuid4().hex,
        version=version,
        host=socket.gethostname(),
        pid=os.getpid(),
        python=f"{sys.version_info.major}.{sys.version_info.minor}",
    )
