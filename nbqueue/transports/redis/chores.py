"""What must happen without anybody's asking: whichever link comes first does it, a little at a time.

    ==========  =====================================================================================
    due         a countdown is over: the task lines up (within the script)
    expiry      a task that has not begun never will
    soft, hard  a run is past its limit: it is told, or killed
    kill        a run that is over for its task has had time to end: its process is killed
    step, join  a step has to be looked at, by whoever it was that cannot any more: see :mod:`.steps`
    lost        a worker was not heard of for a lease: what it held goes back
    ==========  =====================================================================================

Who takes something over has a few seconds to do it; then another may.  What is done checks again how the task
stands, so that doing it twice does no harm.  A link counts no worker as lost before it has itself been in
touch with Redis for a lease: when Redis was away, or stopped, so were they all.
"""

import time
from typing import Final

from nbqueue import messages as m
from nbqueue.core import verdicts
from nbqueue.core.records import Record
from nbqueue.exceptions import ConnectionLostError
from nbqueue.transports.redis import losses, steps, tuning
from nbqueue.transports.redis.desk import Desk
from nbqueue.transports.redis.moves import Move, began, decide, interruption, kill_timer, killing
from nbqueue.transports.redis.records import Tuned

#: seconds after which another may do what was taken over
_GRACE: Final = 5.0
_KINDS: Final = frozenset({"kill", "expiry", "hard", "soft", "step", "join"})
#: seconds without a look after which it is as if the link were new
_GAP: Final = 4.0


class Chores:
    """See the module's docstring.  ``pause``: seconds between two looks, at most."""

    def __init__(self, desk: Desk, pause: float) -> None:
        self._desk = desk
        self._pause = pause
        self.due = self._looked = self._in_touch = time.monotonic()

    def turn(self, now: float) -> None:
        """Look, if it is time to, and do what is due."""
        if now < self.due:
            return
        desk = self._desk
        if now - self._looked > _GAP:
            self._in_touch = now
        in_touch = now - self._in_touch >= desk.settings.worker_lease
        _, scheduled, next_timer, timers, lost = desk.run("chores", _GRACE, int(in_touch))
        for name in timers:
            self._fire(name.decode(errors="surrogateescape"))
        for worker, _ in lost:
            self._reap(worker.decode(errors="surrogateescape"))
        # a worker that died or a process that was stopped may have taken its time
        self._looked = now = time.monotonic()
        times = [desk.monotonic(float(at)) for at in (scheduled, next_timer) if float(at)]
        self.due = 0.0 if timers else max(now + 0.005, min([now + self._pause, *times]))

    def _reap(self, worker: str) -> None:
        lease = self._desk.settings.worker_lease
        hello = self._desk.command(b"HGET", "workers", worker)
        try:
            said = self._desk.sealed.open_hello(hello) if hello else None
            name = said.name if said is not None else worker
            if said is not None and self._desk.events_of.on:
                self._desk.events_of.of_worker("worker-offline", said)
        except ConnectionLostError as error:  # forged, or of another version
            self._desk.report_forgery(str(error))
            name = worker
        reason = f"worker {name} was not heard of for {lease:g} s"
        losses.worker_gone(self._desk, worker, reason, charge=True)

    def _fire(self, name: str) -> None:
        kind, token, subject = (*name.split(":", 2), "", "")[:3]
        if kind not in _KINDS or not token.isdecimal():
            self._desk.report_forgery(f"a timer called {name!r}")
            kind = ""
        again: float | None = None
        if kind == "kill":
            again = self._kill(int(token), subject)
        elif kind == "expiry":
            decide(self._desk, subject, None, self._expire)
        elif kind in ("step", "join"):
            if steps.look_at(self._desk, subject):
                return  # with the step goes its timer
        elif kind in ("hard", "soft"):
            again = self._limit(kind, int(token), subject)
        if again is None:
            self._desk.command(b"ZREM", "timers", name)
        else:
            self._desk.command(b"ZADD", "timers", again, name)

    def _expire(self, move: Move) -> bool | None:
        if not verdicts.is_fresh(move.record, began(self._desk, move.record)):
            return None
        return move.end(verdicts.EXPIRED, release=False, orders=interruption(move, "cancel"))

    def _kill(self, token: int, executor: str) -> float | None:
        """End the process that still runs this lease; again and again, until it is heard that it did."""
        desk = self._desk
        if desk.command(b"HGET", f"held:{executor}", str(token)) is None:
            return None
        order(desk, *killing(executor, token))
        return desk.now + desk.settings.cancel_grace

    def _limit(self, kind: str, token: int, id: str) -> float | None:
        """A limit may be over; returns when to look again, since it counts from the start of the run."""
        desk = self._desk
        later: list[float] = []

        def decision(move: Move) -> bool | None:
            record = move.record
            task = tuning.run_of(record.task, record.leased_at, self._tuned(record), self._executor(record))
            limit = task.time_limit if kind == "hard" else task.soft_time_limit
            if limit is None:
                return None
            start = began(desk, record)
            if (due := (desk.now if start is None else start) + limit) > desk.now:
                later.append(due)
                return None
            if kind == "soft":
                for channel, word in interruption(move, "soft_time_limit"):
                    order(desk, channel, word)
                return None
            timer = (desk.now + desk.settings.cancel_grace, kill_timer(move))
            kill = killing(move.executor, token)
            return move.end(verdicts.overran(limit), release=False, timers=[timer], orders=[kill])

        decide(desk, id, token, decision)
        return later[-1] if later else None

    def _tuned(self, record: Record) -> dict[str, Tuned]:
        """What was said at runtime of its name."""
        return {record.task.name: tuning.of(self._desk, record.task.name)}

    def _executor(self, record: Record) -> m.Hello | None:
        """The Hello of the executor that has it."""
        worker = record.executor.partition("/")[0]
        hello = self._desk.command(b"HGET", f"executors:{worker}", record.executor)
        try:
            return self._desk.sealed.open_hello(hello) if hello else None
        except ConnectionLostError as error:  # forged, or of another version
            self._desk.report_forgery(str(error))
            return None


def order(desk: Desk, channel: str, word: m.AnyMessage) -> None:
    """Tell an executor or a worker something."""
    desk.command(b"PUBLISH", channel, desk.sealed.events([word]))
