"""An executor's main link, and what passes over it, for its two threads.

The link has one owner at a time.  That is the main thread, except that the control thread takes the
link over for a moment, again and again, while a task runs (:meth:`Exchange.attend`): so everything an
executor says goes one way in one order, no outcome waits behind a long task, and what was assigned
behind it can be given back.

A broker that does not know this executor (it was restarted, or the connection broke) is told again what
it may not have heard: the leases, the output, that the run began, how far it is, and endings.
"""

import threading
from collections.abc import Callable, Iterable
from time import monotonic
from typing import Final

from nbqueue.core.worker import ExecutorCore, Leave, Raise, RunEnd
from nbqueue.exceptions import ProtocolError, SerializationError
from nbqueue.messages import (
    CONTROL,
    EXECUTOR,
    AnyMessage,
    Assignment,
    Define,
    Goodbye,
    Hello,
    Need,
    Ping,
    Pong,
    Pull,
    Returned,
    Started,
    Welcome,
)
from nbqueue.transports.base import Link
from nbqueue.worker.executor.runner import Unready
from nbqueue.worker.executor.unheard import Unheard
from nbqueue.worker.interrupts import Gate
from nbqueue.worker.options import HEARTBEAT, LEASE
from nbqueue.worker.reports import Reports

#: seconds after which a run counts as started, for those who watch
SHORT: Final = 0.025
#: seconds between two requests for the same blob
ASK_AGAIN: Final = 2.0
#: seconds between two looks at the main link while the last acknowledgements are awaited
DEPART_TICK: Final = 0.02


class Run:
    """The run that is going on."""

    __slots__ = ("assignment", "began", "reported", "reports")

    def __init__(self, assignment: Assignment, welcome: Welcome | None) -> None:
        self.assignment = assignment
        kept = welcome.max_output_bytes if welcome is not None else 2**20
        self.reports = Reports(assignment.task.id, assignment.token, kept)
        self.began = monotonic()
        self.reported = False


class Exchange:
    """See the module's docstring.  ``on_welcome`` is called whenever the broker welcomes the main link."""

    def __init__(self, link: Link, core: ExecutorCore, gate: Gate, on_welcome: Callable[[], None]) -> None:
        #: those that are going on, by token; an executor of one slot has one at most
        self.runs: dict[int, Run] = {}
        #: the one that began last, None when none is going on
        self.run: Run | None = None
        #: why this executor has to end although nobody stopped it, "" as long as it has not
        self.refused = ""
        self._link = link
        self._link_lock = threading.Lock()
        self._core = core
        self._core_lock = threading.Lock()  # taken last
        self._gate = gate
        self._on_welcome = on_welcome
        #: what runs reported, waiting to be sent
        self._events: list[AnyMessage] = []
        #: by other threads, likewise
        self._said: list[AnyMessage] = []
        self._wanted = ""
        self._blob: bytes | None = None
        self._left = False
        self._unheard = Unheard()
        #: since when there is no way to the broker, None when there is one
        self._away_since: float | None = None

    @property
    def heartbeat(self) -> float:
        """Seconds between two signs of life."""
        welcome = self._core.welcome
        return HEARTBEAT if welcome is None else welcome.heartbeat

    @property
    def payload_limit(self) -> int:
        """Bytes of the largest value that the broker takes; 0 if it has not said yet."""
        welcome = self._core.welcome
        return 0 if welcome is None else welcome.max_payload_bytes

    @property
    def event_limit(self) -> int:
        """The same of a meta or an item."""
        welcome = self._core.welcome
        return 0 if welcome is None else welcome.max_event_bytes or welcome.max_payload_bytes

    @property
    def draining(self) -> bool:
        return self._core.draining

    # ── the main thread's side ───────────────────────────────────────────────────────────────

    def introduce(self) -> None:
        with self._link_lock, self._core_lock:
            self._link.send(self._core.introduce(EXECUTOR))

    def listen(self) -> None:
        """Take in what is there; when nothing waits to be run, wait for it, and give a sign of life if
        there is none in time."""
        timeout = 0.0 if self._core.can_take else self.heartbeat
        with self._link_lock:
            messages = self._receive(timeout)
            self._handle(EXECUTOR, messages, self._link)
            if timeout and not messages and not self._left:
                self._beat()

    def begin(self) -> Run | None:
        """The next task, which runs from now on; None if none waits."""
        with self._core_lock:
            assignment = self._core.take()
            if assignment is None:
                return None
            self.run = run = Run(assignment, self._core.welcome)
            self.runs[assignment.token] = run
        return run

    def end(self, run: Run, ending: RunEnd) -> None:
        """The run has ended; what it reported last goes out before its ending.  Returned: it has not, and
        its lease goes back."""
        with self._link_lock:
            self._events += run.reports.collect(last=True)
            self._forget(run, ending)

    def _forget(self, run: Run, ending: RunEnd) -> None:
        token = run.assignment.token
        with self._core_lock:
            self.runs.pop(token, None)
            if self.run is run:
                self.run = None
            if isinstance(ending, Returned):
                self._core.give_back(token)
                self._events.append(ending)
            else:
                self._core.finish(ending)

    def flush(self) -> None:
        """Send what waits to be sent."""
        with self._link_lock:
            if not self._left:
                self._send_waiting(self._link)

    @property
    def lease(self) -> float:
        """Seconds that what is asked of an executor is good for."""
        welcome = self._core.welcome
        return LEASE if welcome is None else welcome.lease

    def fetch_definition(self, key: str) -> bytes:
        """:meth:`fetch` what a task cannot do without.

        Raises
        ------
        SerializationError
            The broker has no such blob.
        """
        if not (blob := self.fetch(key)):
            raise SerializationError("the broker no longer has the task's definition: submit the task again")
        return blob

    def fetch(self, key: str) -> bytes:
        """A blob of the broker's, b"" if it has none; waits for it.

        Raises
        ------
        Unready
            It is not worth waiting for: this executor is to end, or has had no broker for a lease.
        KeyboardInterrupt
            The run was cancelled meanwhile.
        """
        self._wanted, self._blob = key, None
        try:
            while (blob := self._asked(key)) is None:
                pass
        finally:
            self._wanted = ""
        return blob

    def _asked(self, key: str) -> bytes | None:
        """Ask for the wanted blob, and wait a while for it."""
        deadline = monotonic() + ASK_AGAIN
        with self._link_lock:
            self._check_worth_waiting()
            self._link.send([Need(key)])
            while self._blob is None and monotonic() < deadline:
                self._handle(EXECUTOR, self._receive(ASK_AGAIN), self._link)
                if self._blob is None:
                    self._check_worth_waiting()
            return self._blob

    def _check_worth_waiting(self) -> None:
        if self.run is not None and self._gate.cancelled(self.run.assignment.token):
            raise KeyboardInterrupt
        self._check_way()

    def _check_way(self) -> None:
        if self.refused or self.draining:
            raise Unready
        welcome, since = self._core.welcome, self._away_since
        if welcome is not None and since is not None and monotonic() - since > welcome.lease:
            raise Unready

    def depart(self, link: Link, timeout: float) -> None:
        """After :meth:`leave`, when nothing runs any more: send what is left over the control link, until
        all endings are acknowledged or the time (in seconds) is over."""
        deadline = monotonic() + timeout
        with self._link_lock:
            while True:
                self._handle(EXECUTOR, self._receive(0), link)
                self._send_waiting(link)
                if self._core.settled or self.refused or monotonic() >= deadline:
                    break
                self._handle(CONTROL, link.receive(DEPART_TICK), link)
            link.send([Goodbye()])
            self._link.close()

    # ── the control thread's side ────────────────────────────────────────────────────────────

    def introduce_control(self, link: Link) -> None:
        with self._core_lock:
            link.send(self._core.introduce(CONTROL))

    def listen_control(self, link: Link, timeout: float) -> None:
        """Take in what is there on the control link, waiting up to ``timeout`` seconds for it."""
        self._handle(CONTROL, link.receive(timeout), link)

    def attend(self, link: Link) -> None:
        """Report the run that is going on, and take in what came on the main link meanwhile.
        ``link`` is the control link, which stands in for the main one after :meth:`leave`."""
        if not self.runs or not self._link_lock.acquire(blocking=False):
            return
        try:
            outlet = link if self._left else self._link
            if self.runs:
                self._report()
                self._send_waiting(outlet)
                self._handle(EXECUTOR, self._receive(0), outlet)
        finally:
            self._link_lock.release()

    def _report(self) -> None:
        for run in list(self.runs.values()):
            news = run.reports.collect()
            if not run.reported and (news or monotonic() - run.began >= SHORT):
                run.reported = True
                self._events.append(Started(run.assignment.task.id, run.assignment.token))
            self._events += news

    def beat(self, link: Link) -> None:
        """The control link's sign of life, and the main link's while a task runs."""
        with self._core_lock:
            link.send(self._core.heartbeat(CONTROL))
        if self.runs and not self._left and self._link_lock.acquire(blocking=False):
            try:
                self._beat()
            finally:
                self._link_lock.release()

    def leave(self, link: Link) -> None:
        """Once draining: say goodbye on the main link, so that the broker assigns no more, and give back
        what waits."""
        if self._left:
            return
        with self._link_lock:
            self._left = True
            self._send_waiting(self._link)
            self._link.send([Goodbye()])
        with self._core_lock:
            returned = self._core.drain()
        if returned:
            link.send(returned)

    # ── any thread ───────────────────────────────────────────────────────────────────────────

    def drain(self) -> None:
        """Begin no more runs."""
        with self._core_lock:
            self._core.draining = True
        self._link.wake()

    def consume(self, queues: list[str]) -> None:
        """Serve these queues from now on.  Said by whoever sends next; the link is woken for it."""
        with self._core_lock:
            self._said += self._core.consume(queues)
        self._link.wake()

    def fail(self, reason: str) -> None:
        """End the executor after what runs."""
        self.refused = reason
        self._link.wake()

    # ── with the link's lock held ────────────────────────────────────────────────────────────

    def _beat(self) -> None:
        """The main link's sign of life."""
        with self._core_lock:
            messages = self._core.heartbeat(EXECUTOR)
        self._link.send(self._with_unheard(messages))
        if isinstance(messages[0], Ping):
            self._unheard.pinged()

    def _with_unheard(self, messages: list[AnyMessage]) -> list[AnyMessage]:
        """Output goes between Hello and the endings, as it did the first time."""
        if not messages or not isinstance(messages[0], Hello):
            return messages
        self._unheard.start_over()
        return [messages[0], *self._unheard.pieces, *messages[1:]]

    def _report_again(self) -> None:
        """The broker has welcomed us, perhaps another one than before."""
        for run in list(self.runs.values()):
            if run.reported:
                run.reported = False
                run.reports.repeat()

    def _receive(self, timeout: float) -> list[AnyMessage]:
        messages = self._link.receive(timeout)
        trouble = self._link.trouble
        if trouble is not None:
            self._away_since = self._away_since or monotonic()
        elif self._away_since is not None:
            self._away_since = None
            if not self._left:
                self._beat()  # a broker that does not know us says so
        if isinstance(trouble, ProtocolError) and self._core.welcome is not None:
            # a frame that it cannot read is dropped, perhaps with an outcome that nobody would see again
            self.fail(str(trouble))
        return messages

    def _pulled(self, message: Pull) -> None:
        if (run := self.runs.get(message.token)) is not None:
            run.reports.pulled(message)

    def _send_waiting(self, link: Link) -> None:
        with self._core_lock:
            messages = [*self._said, *self._events, *self._core.flush()]
            self._said = []
        self._events = []
        if messages:
            link.send(messages)
            self._unheard.sent(messages)

    def _handle(self, role: str, messages: Iterable[AnyMessage], outlet: Link) -> None:
        """Take in messages of the main link (with its lock held) or the control link (without)."""
        replies: list[AnyMessage] = []
        for message in messages:
            if isinstance(message, Define):
                if message.key == self._wanted:
                    self._blob = message.blob
                continue
            if isinstance(message, Pull):
                self._pulled(message)
                continue
            with self._core_lock:
                effects = self._core.receive(role, message)
            said: list[AnyMessage] = []
            for effect in effects:
                if isinstance(effect, Raise):
                    self._gate.interrupt(effect.token, effect.reason)
                    self._link.wake()  # it may be waiting for its definition
                elif isinstance(effect, Leave):
                    self.refused = effect.reason
                else:
                    said.append(effect)
            replies += self._with_unheard(said) if role == EXECUTOR else said
            if role == EXECUTOR and isinstance(message, Pong):
                self._unheard.ponged()
            elif role == EXECUTOR and isinstance(message, Welcome):
                self._on_welcome()
                self._report_again()
        if replies:
            outlet.send(replies)
