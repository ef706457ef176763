"""The worker's supervisor: starts executors, watches them, replaces those that die.

It runs no tasks and sees none.  Its heartbeat keeps its executors' leases alive; when one dies it
tells the broker which lease ran there, and why it died, and starts another.

    ============================  ==============================================================
    SIGTERM, SIGINT, Ctrl-C       executors finish what they run, the rest goes back to the queue
    SIGINT again, SIGQUIT         stop now; what ran goes back too
    Shutdown from the broker      the same: nobody is there to take an outcome
    no broker for a long time     executors finish what they run; then stop
    Goodbye from the broker       executors go on; the next broker takes their outcomes
    ============================  ==============================================================
"""

import logging
import os
import signal
import sys
from collections import deque
from pathlib import Path
from time import monotonic
from types import FrameType
from typing import Final, NamedTuple

from nbqueue.core.deaths import manner_of_death
from nbqueue.exceptions import AuthenticationError, ConfigurationError, ConnectionLostError
from nbqueue.messages import (
    AnyMessage,
    ExecutorLost,
    Goodbye,
    Heartbeat,
    Kill,
    Refused,
    Shutdown,
    Unknown,
    Welcome,
)
from nbqueue.transports.base import Link
from nbqueue.wire import keys
from nbqueue.wire.keys import Connection
from nbqueue.worker import options as worker_options
from nbqueue.worker.backoff import Backoff
from nbqueue.worker.child import Child
from nbqueue.worker.lifeline import MISCONFIGURED
from nbqueue.worker.log import announce, logger
from nbqueue.worker.options import HEARTBEAT, WorkerOptions
from nbqueue.worker.pidfile import AlreadyRunning, pidfile

#: seconds from SIGTERM to SIGKILL
KILL_GRACE: Final = 1.0
#: times in a row that executors are started and none gets ready, after which nobody tries again
MAX_FALSE_STARTS: Final = 3
#: seconds from a death that no task is to blame for to the next start; twice as long each time, at most …
RESTART_DELAY: Final = 0.5
LONGEST_DELAY: Final = 30.0
#: … until there was none for so long
HEALTHY: Final = 60.0
#: seconds without a broker after which a worker of the local cluster ends: whoever uses it starts another
LOCAL_PATIENCE: Final = 30.0
#: seconds without a broker until that is said again; twice as long each time
REMINDER: Final = 60.0
#: seconds between looks at a link that is not welcome yet
LOOK: Final = 0.2
#: seconds that killed executors may take to vanish
VANISH: Final = 2.0

#: exit codes: the usual failure, and EX_CANTCREAT for a pidfile that another worker holds
FAILED: Final = 1
HELD: Final = 73


class _Execution(NamedTuple):
    """A SIGKILL that is due unless the lease has ended."""

    at: float
    child: Child
    token: int


class Supervisor:
    """See the module's docstring.  ``broker`` is whom ``link`` leads to, as far as that is known."""

    def __init__(
        self,
        options: WorkerOptions,
        link: Link,
        log: logging.Logger,
        broker: Connection | None = None,
    ) -> None:
        self._options = options
        self._broker = broker
        self._link = link
        self._log = log
        self._id = os.urandom(8).hex()
        self._children: list[Child] = []
        self._executions: list[_Execution] = []
        self._welcome: Welcome | None = None
        self._beat_at = 0.0
        self._spawn_at = 0.0
        self._backoff = Backoff(RESTART_DELAY, LONGEST_DELAY, HEALTHY)
        self._false_starts = 0
        #: a false start among those that were started last has been counted
        self._counted = False
        self._announced = False
        self._signals: deque[int] = deque()
        self._draining = False
        self._trouble: ConnectionLostError | None = None
        #: it has said that it ends
        self._broker_left = False
        #: since when there is no broker, None when there is one
        self._away_since: float | None = monotonic()
        #: seconds of absence that are said next
        self._reminder = REMINDER
        #: the exit code, once it is decided to stop now
        self._exit: int | None = None

    def run(self) -> int:
        """Work until told to stop; returns the exit code."""
        self._greet()
        while self._exit is None and (self._children or not self._draining):
            self._spawn_missing()
            messages = self._link.receive(self._patience())
            for message in messages:
                self._take_in(message)
            self._heed_signals()
            self._look_at_children()
            self._execute()
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
            if number == signal.SIGQUIT or (self._draining and number == signal.SIGINT):
                self._stop(0, "stopping now: tasks go back to the queue")
            elif not self._draining:
                self._drain()

    def _drain(self) -> None:
        self._draining = True
        self._log.info("finishing what runs")
        for child in self._children:
            child.drain()

    def _stop(self, code: int, reason: str) -> None:
        if self._exit is None:
            self._exit = code
            self._log.log(logging.ERROR if code else logging.INFO, "%s", reason)

    def _take_in(self, message: AnyMessage) -> None:
        match message:
            case Welcome():
                self._welcome, self._away_since, self._broker_left = message, None, False
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
                self._kill(message)

    def _kill(self, order: Kill) -> None:
        for child in self._children:
            if child.id == order.executor and child.slot.token == order.token:
                self._log.info("executor %d is terminated: %s", child.pid, order.reason)
                child.send_signal(signal.SIGTERM)
                self._executions.append(_Execution(monotonic() + KILL_GRACE, child, order.token))

    def _execute(self) -> None:
        now = monotonic()
        for due in [e for e in self._executions if e.at <= now]:
            self._executions.remove(due)
            if due.child.slot.token == due.token:
                due.child.send_signal(signal.SIGKILL)

    # ── executors ────────────────────────────────────────────────────────────────────────────

    def _spawn_missing(self) -> None:
        if self._draining or monotonic() < self._spawn_at:
            return
        try:
            while len(self._children) < self._options.processes:
                self._children.append(Child(self._options, self._id, self._link.wake, self._broker))
                self._counted = False
        except OSError as error:
            self._back_off(f"cannot start an executor: {error}")

    def _back_off(self, reason: str) -> None:
        now = monotonic()
        delay = self._backoff.failed(now)
        self._spawn_at = now + delay
        self._log.warning("%s; the next one starts in %g s", reason, delay)

    def _look_at_children(self) -> None:
        for child in [c for c in self._children if c.exit_code is not None]:
            self._children.remove(child)
            if not self._draining or child.exit_code:
                self._bury(child)
        if not self._announced and self._welcome is not None and self._complete():
            self._announced = True
            announce(self._log, f"{self._options.nodename} ready.")

    def _complete(self) -> bool:
        return len(self._children) == self._options.processes and all(c.ready for c in self._children)

    def _bury(self, child: Child) -> None:
        code = child.exit_code or 0
        token = child.slot.token
        death = ExecutorLost(child.id, token, code, child.peak_memory, child.last_words)
        self._link.send([death])
        account = f"executor {child.pid}: {manner_of_death(death)}"
        if token or self._draining:
            self._log.warning("%s", account)
        else:
            self._back_off(account)
        if child.ready or any(other.ready for other in self._children):
            self._false_starts = 0
        elif code == MISCONFIGURED:
            self._stop(FAILED, child.last_words)
        elif not self._counted:
            self._count_false_start()

    def _count_false_start(self) -> None:
        self._counted = True
        self._false_starts += 1
        if self._false_starts >= MAX_FALSE_STARTS:
            self._stop(
                FAILED,
                f"executors die at their start, {MAX_FALSE_STARTS} times in a row; the reason is above",
            )

    # ── the broker ───────────────────────────────────────────────────────────────────────────

    def _greet(self) -> None:
        self._beat_at = monotonic() + (HEARTBEAT if self._welcome is None else self._welcome.heartbeat)
        self._link.send([worker_options.worker_identity(self._options, self._id)])

    def _beat(self) -> None:
        if monotonic() < self._beat_at:
            return
        if self._welcome is None:
            self._greet()  # the last one may have been lost
        else:
            self._beat_at = monotonic() + self._welcome.heartbeat
            self._link.send([Heartbeat([child.id for child in self._children])])

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
        self._note_absence(trouble)

    def _note_absence(self, trouble: ConnectionLostError | None) -> None:
        if trouble is None and self._welcome is not None:
            self._away_since, self._reminder = None, REMINDER
            return
        if self._away_since is None:
            self._away_since = monotonic()
        if (
            self._options.local
            and trouble is not None
            and self._broker is not None
            and _has_left(self._broker)
        ):
            self._stop(0, "the broker has ended")
        else:
            self._endure(monotonic() - self._away_since)

    def _endure(self, away: float) -> None:
        """What runs is finished: the broker may be back by then, and take the outcome."""
        patience = LOCAL_PATIENCE if self._options.local else self._options.broker_patience
        busy = sum(child.slot.token != 0 for child in self._children)
        if patience and away > patience and not busy:
            self._stop(FAILED, f"no broker for {away:.0f} s: giving up")
        elif away > self._reminder:
            self._reminder *= 2
            running = f"; tasks that run: {busy}" if busy else ""
            self._log.warning("no broker for %.0f s; trying on%s", away, running)

    def _patience(self) -> float:
        """Seconds until there is something to do without being told."""
        now = monotonic()
        times = [execution.at for execution in self._executions]
        if self._spawn_at > now:
            times.append(self._spawn_at)
        times.append(now + LOOK if self._away_since is not None else self._beat_at)
        return max(0.0, min(times) - now)

    def _leave(self) -> None:
        for child in self._children:
            child.send_signal(signal.SIGKILL)
        deadline = monotonic() + VANISH
        while any(child.exit_code is None for child in self._children) and monotonic() < deadline:
            self._link.receive(LOOK)
        self._link.send([Goodbye()])
        self._link.close()


def _has_left(connection: Connection) -> bool:
    """Whether that broker was a process of this machine and took its leave, rather than died to be started
    again, and none has taken its place."""
    if connection.pid == 0 or not connection.is_here or connection.is_alive:
        return False
    folder = Path(connection.data_dir)
    return keys.left_over(folder) is None and keys.running(folder) is None


def main(options: WorkerOptions) -> int:
    """Run a worker until it is told to stop; returns the exit code.  Takes over the process' signals."""
    log = logger(options.nodename, options.loglevel)
    try:
        with pidfile(options.pidfile):
            return _main(options, log)
    except AlreadyRunning as error:
        log.error("%s", error)
        return HELD
    except (ConfigurationError, ConnectionLostError) as error:
        log.error("%s", error)
        return FAILED


def _main(options: WorkerOptions, log: logging.Logger) -> int:
    worker_options.remember(options)
    way = worker_options.way_to_broker(options)
    connection = keys.find(options.url) if options.url.startswith(keys.SCHEME) else None
    supervisor = Supervisor(options, way.connect(), log, connection)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, supervisor.on_signal)
    try:
        return supervisor.run()
    finally:
        way.close()
        sys.stderr.flush()
