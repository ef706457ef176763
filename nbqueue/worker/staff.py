"""A worker's executors: how many there are to be, which there are, and what becomes of them.

::

    target ─▶ spawn ─▶ Child ─┬─ drain ────────▶ leaving ─▶ gone
                              ├─ Kill ─▶ SIGTERM, SIGKILL ─▶ buried, and another is started
                              └─ dies ──────────────────────▶ the same

Whoever changes the pool while it runs (``grow``, ``shrink``, ``restart``, autoscaling, autoreload) changes
the target, or lets executors go; the rest follows.
"""

import logging
import signal
from collections.abc import Callable
from time import monotonic
from typing import Final, NamedTuple

from nbqueue.core.deaths import manner_of_death
from nbqueue.exceptions import ConfigurationError
from nbqueue.messages import ExecutorLost, Kill
from nbqueue.signals import worker_before_create_process
from nbqueue.wire.keys import Connection
from nbqueue.worker.backoff import Backoff
from nbqueue.worker.child import Child
from nbqueue.worker.lifeline import MISCONFIGURED, RETIRED
from nbqueue.worker.options import WorkerOptions

#: seconds from SIGTERM to SIGKILL
KILL_GRACE: Final = 1.0
#: times in a row that executors are started and none gets ready, after which nobody tries again
MAX_FALSE_STARTS: Final = 3
#: seconds from a death that no task is to blame for to the next start; twice as long each time, at most …
RESTART_DELAY: Final = 0.5
LONGEST_DELAY: Final = 30.0
#: … until there was none for so long
HEALTHY: Final = 60.0


class _Execution(NamedTuple):
    """A SIGKILL that is due unless the lease has ended."""

    at: float
    child: Child
    token: int


class Staff:
    """See the module's docstring.  Belongs to the supervisor's loop.

    Parameters
    ----------
    on_change
        Called in other threads when there is something to look at.
    report
        Tells the broker of a death.
    give_up
        Called with an exit code's reason when executors cannot be started.
    """

    def __init__(
        self,
        options: WorkerOptions,
        worker_id: str,
        log: logging.Logger,
        *,
        broker: Connection | None,
        on_change: Callable[[], None],
        report: Callable[[ExecutorLost], None],
        give_up: Callable[[str], None],
    ) -> None:
        self.children: list[Child] = []
        #: executors that there are to be
        self.target = options.processes
        self.draining = False
        self._options = options
        self._worker_id = worker_id
        self._log = log
        self._broker = broker
        self._on_change = on_change
        self._report = report
        self._give_up = give_up
        self._queues = list(options.queues)
        #: on their way out, whose place another one has
        self._leaving: set[Child] = set()
        self._executions: list[_Execution] = []
        #: runs that are over for their task, in processes that run others too
        self._overdue: dict[Child, set[int]] = {}
        self._spawn_at = 0.0
        self._backoff = Backoff(RESTART_DELAY, LONGEST_DELAY, HEALTHY)
        self._false_starts = 0
        #: a false start among those that were started last has been counted
        self._counted = False

    # ── what it looks like ───────────────────────────────────────────────────────────────────

    @property
    def active(self) -> list[Child]:
        """Those that take tasks."""
        return [child for child in self.children if child not in self._leaving]

    @property
    def complete(self) -> bool:
        """Whether all are there and ready."""
        active = self.active
        return len(active) == self.target and all(child.ready for child in active)

    @property
    def busy(self) -> list[str]:
        """Ids of those that run something just now."""
        return [child.id for child in self.children if child.slot.tokens]

    @property
    def deadlines(self) -> list[float]:
        """When :meth:`look` has something to do without being told."""
        times = [execution.at for execution in self._executions]
        if self._spawn_at > monotonic():
            times.append(self._spawn_at)
        return times

    # ── what is asked of it ──────────────────────────────────────────────────────────────────

    def look(self) -> None:
        """Bury the dead, kill whose time is over, and start who is missing."""
        for child in [c for c in self.children if c.exit_code is not None]:
            self._part_from(child)
        self._execute()

    def spawn_missing(self) -> None:
        if self.draining or monotonic() < self._spawn_at:
            return
        try:
            while len(self.active) < self.target:
                worker_before_create_process.send(self)
                child = Child(self._options, self._worker_id, self._on_change, self._broker)
                self.children.append(child)
                if self._queues != list(self._options.queues):
                    child.consume(self._queues)
                self._counted = False
        except OSError as error:
            self._back_off(f"cannot start an executor: {error}")

    def grow(self, count: int = 1) -> None:
        """Have so many executors more.

        Raises
        ------
        ConfigurationError
            The tasks of this pool share a process, whose threads are counted at its start.
        """
        self._check_resizable()
        self.target += count

    def shrink(self, count: int = 1) -> None:
        """Have so many fewer; they finish what they run.

        Raises
        ------
        ConfigurationError
            None would be left, or see :meth:`grow`.
        """
        self._check_resizable()
        if count >= self.target:
            raise ConfigurationError(f"the pool has {self.target} executors, and one has to stay")
        self.target -= count
        idle_first = sorted(self.active, key=lambda child: bool(child.slot.tokens))
        for child in idle_first[: max(0, len(idle_first) - self.target)]:
            self._let_go(child)

    def _check_resizable(self) -> None:
        if self._options.pool != "processes":
            raise ConfigurationError(
                f"a pool of {self._options.pool} has its size from the start: run another worker beside it"
            )

    def restart(self) -> None:
        """Let all executors finish what they run, and start others in their place."""
        for child in self.active:
            self._let_go(child)

    def consume(self, queues: list[str]) -> None:
        """Serve these queues from now on."""
        self._queues = list(queues)
        for child in self.children:
            child.consume(self._queues)

    def drain(self) -> None:
        """Let all finish what they run, and start no others."""
        self.draining = True
        for child in self.children:
            child.drain()

    def _let_go(self, child: Child) -> None:
        self._leaving.add(child)
        child.drain()

    def kill(self, order: Kill) -> None:
        """End the process that runs this lease, if it runs nothing else; else its outcome is refused, and
        that is all that can be done."""
        for child in self.children:
            tokens = child.slot.tokens
            if child.id != order.executor or order.token not in tokens:
                continue
            overdue = self._overdue.setdefault(child, set())
            if order.token not in overdue:
                overdue.add(order.token)
                if len(tokens) > 1:
                    self._log.warning(
                        "a task of executor %d is over and does not end; its process goes when nothing else"
                        " runs there (only a pool of processes can end one task at once): %s",
                        child.pid,
                        order.reason,
                    )
            if overdue.issuperset(tokens):
                self._log.info("executor %d is terminated: %s", child.pid, order.reason)
                child.send_signal(signal.SIGTERM)
                self._executions.append(_Execution(monotonic() + KILL_GRACE, child, order.token))

    def _execute(self) -> None:
        now = monotonic()
        for due in [e for e in self._executions if e.at <= now]:
            self._executions.remove(due)
            if due.token in due.child.slot.tokens:
                due.child.send_signal(signal.SIGKILL)

    # ── those who are gone ───────────────────────────────────────────────────────────────────

    def _part_from(self, child: Child) -> None:
        self.children.remove(child)
        self._overdue.pop(child, None)
        expected = self.draining or child in self._leaving
        self._leaving.discard(child)
        if child.exit_code == RETIRED and not child.slot.tokens:
            self._log.debug("executor %d has run its share", child.pid)
            self._false_starts = 0
        elif child.exit_code or not expected:
            self._bury(child, expected=expected)

    def _bury(self, child: Child, *, expected: bool) -> None:
        code = child.exit_code or 0
        token, *others = child.slot.tokens or [0]
        death = ExecutorLost(child.id, token, code, child.peak_memory, child.last_words, others)
        self._report(death)
        account = f"executor {child.pid}: {manner_of_death(death)}"
        if token or expected:
            self._log.warning("%s", account)
        else:
            self._back_off(account)
        if child.ready or any(other.ready for other in self.children):
            self._false_starts = 0
        elif code == MISCONFIGURED:
            self._give_up(child.last_words)
        elif not self._counted:
            self._count_false_start()

    def _count_false_start(self) -> None:
        self._counted = True
        self._false_starts += 1
        if self._false_starts >= MAX_FALSE_STARTS:
            self._give_up(
                f"executors die at their start, {MAX_FALSE_STARTS} times in a row; the reason is above"
            )

    def _back_off(self, reason: str) -> None:
        now = monotonic()
        delay = self._backoff.failed(now)
        self._spawn_at = now + delay
        self._log.warning("%s; the next one starts in %g s", reason, delay)
