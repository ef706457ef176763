"""Steps of workflows on their way into Redis.

A step is taken in when there is a record of each task that it waits for.  One whose task waits for a blob is
answered so, too, and comes again with it; one whose task was refused is refused for that.  One that waits
for a task that nobody knows is taken in all the same: it ends at once, and its record says why.
"""

from collections import OrderedDict
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import hiredis

from nbqueue import messages as m
from nbqueue.core.records import Record, Sender
from nbqueue.states import SUCCESS
from nbqueue.transports.redis import records
from nbqueue.transports.redis.desk import Desk, said
from nbqueue.transports.redis.moves import turn_of
from nbqueue.transports.redis.records import Envelope
from nbqueue.wire.signing import SIZE

#: ids that are listed, of all and of each notebook
RECENT: Final = 10_000
#: tasks that were not taken in and are remembered, of each kind
_REMEMBERED: Final = 100_000
_KNOWN: Final = 1
_FULL: Final = 2


class Weaver:
    """What a client submits of workflows.  ``to_watch``: ids whose story it is to be told."""

    def __init__(self, desk: Desk, hello: m.Hello, to_watch: list[str]) -> None:
        self._desk = desk
        self._hello = hello
        self._to_watch = to_watch
        #: tasks that were not taken in: those that wait for a blob, with its key, and the refused ones, with
        #: the reason
        self._missing: OrderedDict[str, str] = OrderedDict()
        self._rejected: OrderedDict[str, str] = OrderedDict()

    # ── what was not taken in ────────────────────────────────────────────────────────────────

    def reject(self, id: str, reason: str) -> None:
        """A task is refused."""
        self._desk.deliver(m.Rejected(id, reason))
        _remember(self._rejected, id, reason)

    def miss(self, key: str, ids: list[str]) -> None:
        """Tasks have to come again, with a blob."""
        self._desk.deliver(m.Missing(key, ids))
        for id in ids:
            _remember(self._missing, id, key)

    def refused(self, tasks: Sequence[m.Task], error: str) -> None:
        """Redis does not take these."""
        if not error.startswith("OOM"):
            raise self._desk.fault(error)
        for task in tasks:
            text = "Redis has no memory left for tasks (its maxmemory): submit again when some are done"
            self.reject(task.id, text)

    # ── submitting ───────────────────────────────────────────────────────────────────────────

    def submit(self, tasks: Sequence[m.Task], *, force: bool = False) -> None:
        """Steps, in an order in which those that one waits for come first; ``force``: take in those, too,
        that wait for a task that is not there."""
        saved = [task for task in tasks if task.step is not None and task.step.on == m.SAVED]
        for task in saved:
            self._save(task)
        steps = [task for task in tasks if task.step is not None and task.step.on != m.SAVED]
        if steps:
            self._weave(steps, force)

    def _weave(self, steps: Sequence[m.Task], force: bool) -> None:
        desk, hello = self._desk, self._hello
        now = desk.now
        shapes: dict[tuple[Any, ...], int] = {}
        words: list[bytes | str | int] = []
        for task in steps:
            assert task.step is not None
            turn = turn_of(task, list(dict.fromkeys(task.step.after)), task.step.on)
            blobs = tuple(records.blobs_of(task))
            shape = (turn.queue, turn.lane, turn.priority, blobs, turn.delay, turn.expires, turn.on)
            number = shapes.setdefault(shape, len(shapes) + 1)
            envelope = desk.sealed.envelope(Envelope(task, hello.id, hello.notebook, now))
            words += (number, task.id, turn.entry, envelope, said(turn.after))
        fields = ("queue", "lane", "priority", "blobs", "delay", "expires", "on")
        head = {
            "max_queued": desk.settings.max_queued,
            "recent": RECENT,
            "expires": desk.expires // 1000,
            "keep": desk.expires,
            "notebook": hello.notebook,
            "force": force,
            "seal": SIZE,
            "shapes": [dict(zip(fields, shape, strict=True)) for shape in shapes],
        }
        desk.tell("weave", said(head), *words, then=partial(self._on_woven, steps))

    def _on_woven(self, steps: Sequence[m.Task], reply: Any) -> None:
        if isinstance(reply, hiredis.ReplyError):
            self.refused(steps, str(reply))
            return
        answers, look = reply
        self._desk.look_later(look)
        accepted: list[str] = []
        orphans: list[m.Task] = []
        for task, answer in zip(steps, answers, strict=True):
            if answer == _FULL:
                self.reject(task.id, full(task, self._desk.settings.max_queued))
            elif isinstance(answer, bytes):
                self.miss(answer.decode(), [task.id])
            elif isinstance(answer, list):
                if not self._turned_away(task):
                    orphans.append(task)
            else:
                accepted.append(task.id)
                if answer == _KNOWN:
                    self._to_watch.append(task.id)
        if accepted:
            self._desk.deliver(m.Accepted(accepted))
        if self._desk.events_of.on:
            sender = Sender(self._hello.id, "", self._hello.notebook)
            for task in (task for task, answer in zip(steps, answers, strict=True) if answer == 0):
                self._desk.events_of.sent(Record(task, self._desk.now, 0, sender), self._desk.now)
        if orphans:
            self.submit(orphans, force=True)

    def _turned_away(self, task: m.Task) -> bool:
        """Whether one of those that it waits for was not taken in, and this one neither, therefore."""
        assert task.step is not None
        for id in task.step.after:
            if id in self._rejected:
                self.reject(task.id, f"task {id}, which it comes after, was refused: {self._rejected[id]}")
                return True
        key = next((self._missing[id] for id in task.step.after if id in self._missing), "")
        if key:
            self.miss(key, [task.id])
        return bool(key)

    def _save(self, task: m.Task) -> None:
        """It is not run: its payload is its value at once."""
        desk, hello = self._desk, self._hello
        now = desk.now
        outcome = m.Outcome(task.id, 0, SUCCESS, task.payload, at=now)
        kept = desk.sealed.result(records.kept_as(outcome, task, now, hello.notebook))
        expiry = (b"PX", desk.expires) if desk.expires else ()
        key = desk.names(f"result:{task.id}")
        desk.wire.call(b"SET", key, kept, b"NX", *expiry, then=partial(self._on_saved, task))

    def _on_saved(self, task: m.Task, reply: Any) -> None:
        if isinstance(reply, hiredis.ReplyError):
            self.refused([task], str(reply))
            return
        self._desk.deliver(m.Accepted([task.id]))
        self._to_watch.append(task.id)


def full(task: m.Task, most: int) -> str:
    """Why a task is refused whose queue has so many."""
    return (
        f"queue {task.queue!r} is full: it has {most:,} unfinished tasks (max_queued);"
        " submit again when some are done"
    )


def _remember(book: "OrderedDict[str, str]", id: str, text: str) -> None:
    book[id] = text
    if len(book) > _REMEMBERED:
        book.popitem(last=False)
