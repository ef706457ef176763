"""One task from where it stands to where it is to stand, whoever decides it.

A decision is made on what was read, so it counts only if nothing has changed since: a :class:`Move` says how
the task stood, and is refused when it stands otherwise.  Then one looks again, and decides again
(:func:`decide`).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from nbqueue import messages as m
from nbqueue.core import verdicts
from nbqueue.core.records import DONE, LEASED, READY, SCHEDULED, Record
from nbqueue.messages import AnyMessage
from nbqueue.transports.redis import records
from nbqueue.transports.redis.desk import Desk, Found, said
from nbqueue.transports.redis.names import entry_of, lane_of
from nbqueue.transports.redis.records import BY, Envelope, Turn, blobs_of

#: An order to a channel.
Order = tuple[str, AnyMessage]
#: When, and which timer.
Timer = tuple[float, str]

_NOTHING: Final[Mapping[str, object]] = {}
#: times that one looks again before giving up; each time somebody else has changed it
_TRIES: Final = 20


class Move:
    """A change to a record that was found; made at once by one of its methods, each of which returns whether
    it could be."""

    def __init__(self, desk: Desk, found: Found) -> None:
        self.record = record = found.record
        self._desk = desk
        self._packed = found.packed
        self._blobs = found.origin.blobs
        #: of a step
        self.turn = found.turn
        leased = record.place == LEASED
        #: who has the lease, "" for nobody
        self.executor = record.executor if leased else ""
        self.token = record.token if leased else 0
        self._task = record.task

    def end(
        self,
        ending: verdicts.Ending,
        *,
        release: bool,
        timers: Sequence[Timer] = (),
        orders: Iterable[Order] = (),
    ) -> bool:
        """This is how it ended.

        ``release``: its executor does not have the lease any more; else that is void until it is given back.
        """
        outcome = ending.outcome(self.record, self._desk.now)
        return self.settle(outcome, release=release, timers=timers, orders=orders)

    def settle(
        self,
        outcome: m.Outcome,
        *,
        release: bool,
        timers: Sequence[Timer] = (),
        orders: Iterable[Order] = (),
    ) -> bool:
        """The same, in other words."""
        result = self._desk.sealed.result(records.kept_of(self.record, outcome))
        ends = {"state": outcome.state, "own": not outcome.origin}
        made = self._make("done", b"", result, None, release=release, timers=timers, orders=orders, more=ends)
        if made and self._desk.events_of.on:
            self._desk.events_of.ended(self.record, outcome, None, self._desk.now)
        return made

    def replace(self, by: str) -> bool:
        """From now on it waits for another task, and will end as that one does."""
        task = self.record.task
        turn = turn_of(task, [by], BY, by=self._desk.sealed.replaced(task.id, by))
        standing = records.pack_standing(records.standing_of(self.record))
        return self._make(
            "waiting", standing, b"", m.Requeued(task.id, ""), release=True, more={"turn": turn}
        )

    def wait(self, event: AnyMessage | None = None, *, again: bool = False, last: bool = False) -> bool:
        """It waits from now on, for its time or for an executor, which it gets before the others, or after
        the ``last`` of them.

        ``again``: it asked for another run; keep ``event`` for those who ask later.
        """
        record, desk = self.record, self._desk
        scheduled = again and record.due > desk.now
        record.place = SCHEDULED if scheduled else READY
        standing = records.pack_standing(records.standing_of(record))
        to = "due" if scheduled else "ready"
        return self._make(to, standing, b"", event, release=True, again=again, last=last)

    def stay(self, *, orders: Iterable[Order] = ()) -> bool:
        """It goes on, with what has changed in its record."""
        standing = records.pack_standing(records.standing_of(self.record))
        return self._make("", standing, b"", None, release=False, orders=orders)

    def _make(
        self,
        to: str,
        standing: bytes,
        result: bytes,
        event: AnyMessage | None,
        *,
        release: bool,
        timers: Sequence[Timer] = (),
        orders: Iterable[Order] = (),
        again: bool = False,
        last: bool = False,
        more: Mapping[str, object] = _NOTHING,
    ) -> bool:
        desk, record, task = self._desk, self.record, self.record.task
        head = said(
            {
                "id": task.id,
                "to": to,
                "queue": self._task.queue,
                "into": task.queue,
                "lane": lane_of(task),
                "priority": str(task.priority),
                "entry": entry_of(task),
                "sender": record.sender.client,
                "executor": self.executor,
                "token": str(self.token),
                "release": release,
                "due": record.due,
                "blobs": self._blobs,
                "dropped": [] if task is self._task else [b for b in self._blobs if b not in blobs_of(task)],
                "added": [] if task is self._task else [b for b in blobs_of(task) if b not in self._blobs],
                "expires": desk.expires,
                "again": again,
                "last": last,
                "timers": timers,
                **more,
            }
        )
        told = desk.sealed.events([event]) if event is not None else b""
        envelope = b""
        if task is not self._task:  # it is written as a whole, and needs its template no more
            sender = record.sender
            envelope = desk.sealed.envelope(Envelope(task, sender.client, sender.notebook, record.at))
        words = [w for channel, order in orders for w in (channel, desk.sealed.events([order]))]
        reply = desk.run("change", head, self._packed, standing, result, told, envelope, *words)
        if not reply:
            return False
        desk.look_later(reply[1:])
        return True


def decide(desk: Desk, id: str, token: int | None, decision: Callable[[Move], bool | None]) -> bool:
    """Look at a task, and decide what becomes of it, until what was decided could be done.

    Parameters
    ----------
    token
        The lease that it is about, 0 for a task that waits; None for whatever there is.
    decision
        Makes one of the move's changes, and returns its answer; None to leave it as it is.

    Returns whether something was changed.
    """
    for _ in range(_TRIES):
        found = desk.look([id])[0][1]
        if found is None or found.record.place == DONE:
            return False
        move = Move(desk, found)
        if token is not None and move.token != token:
            return False
        made = decision(move)
        if made is not False:
            return bool(made)
    return False


def turn_of(task: m.Task, after: list[str], on: str, *, by: str = "") -> Turn:
    """How a task lines up, once those ``after`` which it comes have ended."""
    expires = -1.0 if task.expires is None else max(0.0, task.expires)
    lane, entry, priority = lane_of(task), entry_of(task), str(task.priority)
    return Turn(task.queue, lane, priority, entry, max(0.0, task.countdown), expires, on, after, by)


def put_back(move: Move, reason: str, now: float, *, last: bool = False) -> bool:
    """Its lease has ended without an outcome: it goes before the others, or after the ``last`` of them."""
    if (ending := verdicts.requeued(move.record, now)) is not None:
        return move.end(ending, release=True)
    return move.wait(m.Requeued(move.record.task.id, reason) if reason else None, last=last)


def began(desk: Desk, record: Record) -> float | None:
    """When its run began, None if it has not.  A function that holds the GIL cannot report its start, but
    then it is the first of what its executor holds."""
    if record.started_at is not None or record.place != LEASED:
        return record.started_at
    return record.leased_at if is_first(desk, record) else None


def is_first(desk: Desk, record: Record) -> bool:
    """Whether its lease is one that its executor runs, or is about to: the first, or one of the first."""
    worker = record.executor.partition("/")[0]
    held = sorted(int(token) for token in desk.command(b"HKEYS", f"held:{record.executor}"))
    hello = desk.command(b"HGET", f"executors:{worker}", record.executor)
    slots = desk.sealed.open_hello(hello).slots if hello else 1
    return record.token in held[: max(1, slots)]


# ── orders to those who run a task ───────────────────────────────────────────────────────────────


def interruption(move: Move, reason: str) -> list[tuple[str, m.AnyMessage]]:
    """Orders that interrupt a run, if there is one."""
    if move.record.place != LEASED:
        return []
    return [(f"k:{move.executor}", m.Interrupt(move.record.task.id, move.token, reason))]


def killing(executor: str, token: int) -> tuple[str, m.AnyMessage]:
    """The order that ends the process of a run."""
    worker, _, plain = executor.partition("/")
    return (f"w:{worker}", m.Kill(plain, token, "its task is over"))


def kill_timer(move: Move) -> str:
    return f"kill:{move.token}:{move.executor}"
