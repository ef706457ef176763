"""The worker's supervisor: starts executors, watches them, replaces those that die.

It runs no tasks and sees none.  Its heartbeat keeps its executors' leases alive; when one dies it
tells the broker which lease ran there, and why it died, and starts another (``worker.staff``).

    ============================  ==============================================================
    SIGTERM, SIGINT, Ctrl-C       executors finish what they run, the rest goes back to the queue
    SIGINT again, SIGQUIT         stop now; what ran goes back too
    Shutdown from the broker      the same: nobody is there to take an outcome
    no broker for a long time     executors finish what they run; then stop (``worker.absence``)
    Goodbye from the broker       executors go on; the next broker takes their outcomes
    ============================  ==============================================================
"""

import logging
import os
import signal
from collections import deque
from time import monotonic
from types import FrameType
from typing import Any, Final

from nbqueue import signals
from nbqueue.exceptions import AuthenticationError, ConfigurationError, ConnectionLostError
from nbqueue.messages import (
    AnyMessage,
    Goodbye,
    Heartbeat,
    Kill,
    Order,
    Refused,
    Shutdown,
    Unknown,
    Welcome,
)
from nbqueue.platform import load_average
from nbqueue.transports.base import Link
from nbqueue.wire.keys import Connection
from nbqueue.worker import autoscale
from nbqueue.worker import options as worker_options
from nbqueue.worker.absence import Absence
from nbqueue.worker.autoreload import Watch
from nbqueue.worker.autoscale import Autoscaler
from nbqueue.worker.log import announce
from nbqueue.worker.options import HEARTBEAT, WorkerOptions
from nbqueue.worker.orders import Orders
from nbqueue.worker.staff import Staff

#: seconds between looks at a link that is not welcome yet
LOOK: Final = 0.2
#: seconds that killed executors may take to vanish
VANISH: Final = 2.0

#: exit code: the usual failure
FAILED: Final = 1


class Supervisor:
    """See the module's docstring.  ``broker`` is whom ``link`` leads to, as far as that is known.

    ``grow``, ``shrink``, ``restart``, ``autoscale``, ``add_consumer``, ``cancel_consumer`` and ``shutdown``
    are what may be asked of a worker while it runs; they belong to the thread that is in :meth:`run`.
    """

    def __init__(
        self,
        options: WorkerOptions,
        link: Link,
        log: logging.Logger,
        broker: Connection | None = None,
    ) -> None:
        self.queues = list(options.queues)
        #: as Celery's receivers of ``worker_ready`` call it
        self.hostname = options.nodename
        #: what -A names, for those who listen to its signals
        self.app: Any = None
        self._options = options
        self._link = link
        self._log = log
        self._id = os.urandom(8).hex()
        self.staff = Staff(
            options,
            self._id,
            log,
            broker=broker,
            on_change=link.wake,
            report=lambda death: link.send([death]),
            give_up=lambda reason: self._stop(FAILED, reason),
        )
        self._orders = Orders(self, options)
        self._absence = Absence(options, broker, log, lambda: len(self.staff.busy))
        self._autoscaler = Autoscaler(*options.autoscale) if options.autoscale else None
        self._watch = Watch() if options.autoreload else None
        self._look_at = 0.0
        self._welcome: Welcome | None = None
        self._beat_at = 0.0
        self._announced = False
        self._signals: deque[int] = deque()
        self._trouble: ConnectionLostError | None = None
        #: it has said that it ends
        self._broker_left = False
        #: the exit code, once it is decided to stop now
        self._exit: int | None = None

    def run(self) -> int:
        """Work until told to stop; returns the exit code."""
        staff = self.staff
        self._greet()
        while self._exit is None and (staff.children or not staff.draining):
            staff.spawn_missing()
            for message in self._link.receive(self._patience()):
                self._take_in(message)
            self._heed_signals()
            staff.look()
            self._announce()
            self._adapt()
            self._look_at_link()
            self._beat()
        self._leave()
        return self._exit or 0

    # ── what others ask ──────────────────────────────────────────────────────────────────────

    def on_signal(self, number: int, frame: FrameType | None = None) -> None:
        """A signal handler: the loop heeds it, since whatever it interrupts here may be half done."""
        self._signals.append(number)
        self._link.wake()

    def _heed_signals(self) -> None:
        while self._signals:
            number = self._signals.popleft()
            if number == signal.SIGQUIT or (self.staff.draining and number == signal.SIGINT):
                self._stop(0, "stopping now: tasks go back to the queue")
            else:
                self.shutdown(signal.Signals(number).name)

    @property
    def executors(self) -> list[int]:
        """Pids of its processes."""
        return [child.pid for child in self.staff.children]

    def shutdown(self, reason: str = "") -> None:
        """Finish what runs, then end: a warm shutdown."""
        if self.staff.draining:
            return
        self._log.info("finishing what runs")
        signals.worker_shutting_down.send(self.hostname, sig=reason, how="Warm", exitcode=0)
        self.staff.drain()

    def grow(self, count: int = 1) -> None:
        """Have so many executors more; see :meth:`Staff.grow`."""
        self.staff.grow(count)
        self._autoscaler = None

    def shrink(self, count: int = 1) -> None:
        """Have so many executors fewer; see :meth:`Staff.shrink`."""
        self.staff.shrink(count)
        self._autoscaler = None

    def restart(self) -> None:
        """Replace all executors, each when it has finished what it runs."""
        self.staff.restart()

    def autoscale(self, most: int, least: int) -> None:
        """From now on between ``least`` and ``most`` executors, by how busy they are.

        Raises
        ------
        ConfigurationError
            These cannot be, or the pool has its size from the start.
        """
        options = worker_options.checked(self._options, autoscale=(most, least))
        self._autoscaler = Autoscaler(*options.autoscale or (most, least))

    def add_consumer(self, queue: str) -> None:
        """Take tasks of this queue too."""
        if queue not in self.queues:
            self._consume([*self.queues, queue])

    def cancel_consumer(self, queue: str) -> None:
        """Take no more tasks of this queue; those that an executor has are still run.

        Raises
        ------
        ConfigurationError
            It is the only one.
        """
        left = [each for each in self.queues if each != queue]
        if not left:
            raise ConfigurationError(f"{queue!r} is the only queue that {self.hostname} serves: shut it down")
        if left != self.queues:
            self._consume(left)

    def _consume(self, queues: list[str]) -> None:
        self.queues = queues
        self.staff.consume(queues)
        self._greet()  # what is shown of the worker

    def _stop(self, code: int, reason: str) -> None:
        if self._exit is None:
            self._exit = code
            self._log.log(logging.ERROR if code else logging.INFO, "%s", reason)
            if not self.staff.draining:
                signals.worker_shutting_down.send(self.hostname, sig=reason, how="Cold", exitcode=code)

    def _take_in(self, message: AnyMessage) -> None:
        match message:
            case Welcome():
                if self._welcome is None or self._welcome.boot != message.boot:
                    self._orders.forget()
                self._welcome, self._broker_left = message, False
                self._absence.end()
                self._beat_at = monotonic() + message.heartbeat
            case Unknown():
                self._greet()
            case Refused(reason):
                self._stop(FAILED, reason)
            case Shutdown(reason):
                self._stop(0, f"the broker ends: {reason}" if reason else "the broker ends")
            case Goodbye(reason=reason):
                self._broker_left = True
                self._log.warning("the broker ends: %s; waiting for the next one", reason)
                self._link.send([Goodbye(unreachable=True)])  # it waits until we have heard it
            case Kill():
                self.staff.kill(message)
            case Order():
                self._link.send([self._orders.obey(message)])

    # ── executors ────────────────────────────────────────────────────────────────────────────

    def _announce(self) -> None:
        if not self._announced and self._welcome is not None and self.staff.complete:
            self._announced = True
            announce(self._log, f"{self._options.nodename} ready.")
            signals.worker_ready.send(self)

    def _adapt(self) -> None:
        """Have as many executors as there is work for, and those of the code as it is now."""
        now, staff = monotonic(), self.staff
        if self._watch is not None and (changed := self._watch.changed(now)):
            self._log.warning("%s has changed: executors are replaced", changed)
            staff.restart()
        if self._autoscaler is None or now < self._look_at or staff.draining:
            return
        self._look_at = now + autoscale.LOOK
        wanted = self._autoscaler.look(now, staff.busy, staff.target)
        if wanted > staff.target:
            self._log.info("executors: %d, and all are at work; now %d", staff.target, wanted)
            staff.grow(wanted - staff.target)
        elif wanted < staff.target:
            self._log.info("executors: %d, of which %d are enough", staff.target, wanted)
            staff.shrink(staff.target - wanted)

    # ── the broker ───────────────────────────────────────────────────────────────────────────

    def _greet(self) -> None:
        self._beat_at = monotonic() + (HEARTBEAT if self._welcome is None else self._welcome.heartbeat)
        self._link.send([worker_options.worker_identity(self._options, self._id, self.queues)])

    def _beat(self) -> None:
        if monotonic() < self._beat_at:
            return
        if self._welcome is None:
            self._greet()  # the last one may have been lost
        else:
            self._beat_at = monotonic() + self._welcome.heartbeat
            self._link.send([Heartbeat([child.id for child in self.staff.children], load_average())])

    def _look_at_link(self) -> None:
        trouble, old = self._link.trouble, self._trouble
        self._trouble = trouble
        if isinstance(trouble, AuthenticationError):
            self._stop(FAILED, str(trouble))
        elif trouble is not None and old is None and not self._broker_left:
            self._log.warning("%s; trying on", trouble)
        elif trouble is None and old is not None:
            self._log.warning("the broker is there again")
            self._beat_at = 0.0  # one that was restarted does not know us, and says so
        if trouble is None and self._welcome is not None:
            self._absence.end()
        elif (verdict := self._absence.verdict(linked=trouble is None)) is not None:
            self._stop(*verdict)

    def _patience(self) -> float:
        """Seconds until there is something to do without being told."""
        now = monotonic()
        times = self.staff.deadlines
        times.append(now + LOOK if self._absence.since is not None else self._beat_at)
        if self._autoscaler is not None:
            times.append(self._look_at)
        if self._watch is not None:
            times.append(now + 1.0)
        return max(0.0, min(times) - now)

    def _leave(self) -> None:
        children = self.staff.children
        for child in children:
            child.send_signal(signal.SIGKILL)
        deadline = monotonic() + VANISH
        while any(child.exit_code is None for child in children) and monotonic() < deadline:
            self._link.receive(LOOK)
        self._link.send([Goodbye()])
        self._link.close()
