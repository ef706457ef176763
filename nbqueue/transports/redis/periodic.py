"""Periodic tasks: kept in Redis, and fired by whichever worker has the role of the keeper.

::

    Schedule ─▶ register ─▶ periodic, firings ─(its time)─▶ Keeper ─ fire.lua ─▶ a task as any other
                                   ▲                                  │
                                   └────────── next firing ◀──────────┘      both, or neither

A firing is submitted in the same script that writes down how far its entry has come, and only if that still
is what the keeper has read.  So each takes place once, however many workers think that they are the keeper.
What falls into a time without a worker is made up for as the entry says (``core.firings``).
"""

import time
from collections.abc import Iterable, Sequence
from math import isfinite
from typing import Any, Final

import msgspec

from nbqueue import messages as m
from nbqueue.core.firings import MAX_ENTRIES, Recurrence, flaw_of, registered
from nbqueue.core.inspect import of_entry
from nbqueue.core.records import DONE, Record, Sender
from nbqueue.exceptions import ProtocolError
from nbqueue.transports.redis import tuning
from nbqueue.transports.redis.desk import Desk, said
from nbqueue.transports.redis.names import entry_of, lane_of
from nbqueue.transports.redis.records import Envelope, blobs_of
from nbqueue.transports.redis.weaving import RECENT
from nbqueue.wire.signing import ForgedError

#: the channel on which it is told that an entry is new
CHANNEL: Final = "firings"
#: between the application and the name of an entry
_SEPARATOR: Final = "\x1f"
#: seconds until a worker looks again whether it is the keeper
_LOOK: Final = 1.0
#: times that one tries to change what others change, too
_TRIES: Final = 20


def field_of(app: str, name: str) -> str:
    """What an entry is called in ``periodic``."""
    return f"{app}{_SEPARATOR}{name}"


def _when(entry: Recurrence) -> float | str:
    return entry.due if isfinite(entry.due) else ""


def opened(desk: Desk, field: str, sealed: bytes) -> Recurrence | None:
    """An entry that one of us has written for that field; None, and a report, if it is not."""
    try:
        entry = desk.sealed.open_entry(sealed)
    except (ForgedError, ProtocolError) as error:
        desk.report_forgery(str(error))
        return None
    if field_of(*entry.key) != field:
        desk.report_forgery(f"a periodic task that is kept as {field!r}")
        return None
    return entry


def entries(desk: Desk) -> list[tuple[bytes, Recurrence]]:
    """All, each with how it was read."""
    found = []
    for name, sealed in desk.command(b"HGETALL", "periodic").items():
        entry = opened(desk, name.decode(errors="replace"), sealed)
        if entry is not None:
            found.append((sealed, entry))
    return found


def rows(desk: Desk, args: dict[str, Any]) -> list[dict[str, Any]]:
    """Periodic tasks, of one ``app`` if it is named, by application and name."""
    app = args.get("app")
    kept = sorted((e for _, e in entries(desk) if app in (None, e.app)), key=lambda entry: entry.key)
    last = dict(desk.look([entry.last_id for entry in kept if entry.last_id]))
    records = {id: found.record for id, found in last.items() if found is not None}
    return [of_entry(entry, records.get(entry.last_id)) for entry in kept]


# ── what applications say ────────────────────────────────────────────────────────────────────────


def register(desk: Desk, message: m.Schedule, notebook: str) -> str:
    """Keep entries, each in place of the one of its name; returns why not, "" if all went well."""
    app = message.app
    names = {field_of(e.app, e.periodic.name) for _, e in entries(desk)}
    if len(names | {field_of(app, periodic.name) for periodic in message.entries}) > MAX_ENTRIES:
        return f"at most {MAX_ENTRIES:,} periodic tasks are kept"
    for periodic in message.entries:
        if wrong := flaw_of(periodic, desk.payload_limit):
            return f"the periodic task {periodic.name!r}: {wrong}"
    for periodic in message.entries:
        if wrong := _keep(desk, app, periodic, Sender("", "", notebook)):
            return f"the periodic task {periodic.name!r}: {wrong}"
    if message.complete:
        kept = {periodic.name for periodic in message.entries}
        there = [entry.periodic.name for _, entry in entries(desk) if entry.app == app]
        remove(desk, app, [name for name in there if name not in kept])
    return ""


def remove(desk: Desk, app: str, names: Iterable[str]) -> None:
    """Drop entries of an application, those that there are."""
    for name in names:
        for _ in range(_TRIES):
            sealed, old = _read(desk, app, name)
            if not sealed or _change(desk, field_of(app, name), old, None, sealed) == 1:
                break


def _keep(desk: Desk, app: str, periodic: m.Periodic, sender: Sender) -> str:
    for _ in range(_TRIES):
        sealed, old = _read(desk, app, periodic.name)
        entry = registered(app, periodic, sender, old, desk.now)
        if entry is None:
            return ""
        entry.plan()
        answer = _change(desk, field_of(app, periodic.name), old, entry, sealed)
        if isinstance(answer, bytes):
            return f"its function is not here ({answer.decode(errors='replace')})"
        if answer == 1:
            return ""
    return "others change it all the time"


def _read(desk: Desk, app: str, name: str) -> tuple[bytes, Recurrence | None]:
    """What is kept as that, and what it says if it is ours."""
    sealed = desk.command(b"HGET", "periodic", field_of(app, name)) or b""
    return sealed, opened(desk, field_of(app, name), sealed) if sealed else None


def _change(desk: Desk, field: str, old: Recurrence | None, new: Recurrence | None, sealed: bytes) -> Any:
    head = {
        "field": field,
        "due": _when(new) if new is not None else "",
        "needs": blobs_of(new.periodic.task) if new is not None else [],
        "needed": blobs_of(old.periodic.task) if old is not None else [],
    }
    return desk.run("schedule", said(head), sealed, desk.sealed.entry(new) if new is not None else b"")


# ── firing ───────────────────────────────────────────────────────────────────────────────────────


class Keeper:
    """Fires what is due, as long as this worker has the role."""

    def __init__(self, desk: Desk, worker: str) -> None:
        self._desk = desk
        self._worker = worker
        self.due = 0.0

    def turn(self, now: float) -> None:
        """Look, if it is time to, and do what is due."""
        if now < self.due:
            return
        desk, self.due = self._desk, now + _LOOK
        answer = desk.run("keeper", self._worker, int(desk.settings.worker_lease * 1000))
        if not answer:
            return
        at, next_due, due = float(answer[0]), float(answer[1]), answer[2]
        for i in range(0, len(due), 2):
            field = due[i].decode(errors="replace")
            entry = opened(desk, field, due[i + 1])
            if entry is None:
                desk.command(b"ZREM", "firings", due[i])
            else:
                self._fire(field, due[i + 1], entry, max(at, entry.due))
        if due:
            self.due = time.monotonic()
        elif next_due:
            self.due = min(self.due, now + max(0.001, next_due - at))

    def _fire(self, field: str, sealed: bytes, entry: Recurrence, at: float) -> None:
        """One entry is due."""
        firings = entry.firings(at)
        entry.trouble = ""
        entry.handled = firings[-1]
        tasks = [self._task(entry, firing) for firing in firings if entry.counts(firing, at)]
        if tasks and entry.periodic.skip_if_running and self._is_running(entry.last_id):
            tasks = []
        elif entry.periodic.skip_if_running:
            tasks = tasks[:1]
        if tasks:
            entry.last_id = tasks[-1].id
        entry.plan()
        words = self._submission(entry, tasks)
        written = self._desk.sealed.entry(entry)
        answer = self._desk.run("fire", field, sealed, written, _when(entry), *words)
        refused = [word for word in answer if word not in (0, 1)] if isinstance(answer, list) else []
        if self._desk.events_of.on and answer == []:
            for task in tasks:
                record = Record(task, self._desk.now, 0, entry.sender)
                self._desk.events_of.sent(record, self._desk.now)
        if refused:
            self._note_trouble(field, written, entry, refused[-1])

    def _task(self, entry: Recurrence, firing: float) -> m.Task:
        task = entry.periodic.task
        rate = task.rate or tuning.of(self._desk, task.name).rate or 0.0
        return msgspec.structs.replace(task, id=entry.id_of(firing), rate=rate)

    def _is_running(self, id: str) -> bool:
        found = self._desk.look([id])[0][1] if id else None
        return found is not None and found.record.place != DONE

    def _submission(self, entry: Recurrence, tasks: Sequence[m.Task]) -> list[bytes | str]:
        """What ``submit.lua`` is told; they differ in nothing but their ids."""
        desk, sender = self._desk, entry.sender
        task = tasks[0] if tasks else entry.periodic.task
        shape = {
            "number": len(tasks),
            "queue": task.queue,
            "lane": lane_of(task),
            "priority": str(task.priority),
            "blobs": blobs_of(task),
            "delay": max(0.0, task.countdown),
            "expires": -1.0 if task.expires is None else max(0.0, task.expires),
        }
        head = {
            "max_queued": desk.settings.max_queued,
            "recent": RECENT,
            "expires": desk.expires // 1000,
            "notebook": sender.notebook,
            "shapes": [shape] if tasks else [],
        }
        words: list[bytes | str] = [said(head)]
        for each in tasks:
            words += entry_of(each), desk.sealed.envelope(Envelope(each, "", sender.notebook, desk.now))
        return words

    def _note_trouble(self, field: str, written: bytes, entry: Recurrence, why: int | bytes) -> None:
        """A firing did not take place: say why, to those who ask."""
        desk, queue = self._desk, entry.periodic.task.queue
        if isinstance(why, bytes):
            entry.trouble = f"its function is gone ({why.decode(errors='replace')}): register it again"
        else:
            entry.trouble = f"queue {queue!r} is full: it has {desk.settings.max_queued:,} unfinished tasks"
        words = self._submission(entry, [])
        desk.run("fire", field, written, desk.sealed.entry(entry), _when(entry), *words)
