"""Periodic tasks: the entries of applications' schedules, and their firings.

::

    Schedule(app, entries) ─▶ register ─▶ entry ─(its time)─▶ fire ─▶ Tasks.accept, as of any other task
                                            ▲                  │
                                            └── next firing ◀──┘

A firing is a task whose id says which one it is: ``app/name:2026-11-28T09:00:00Z``.  It is written down
together with how far its entry has come, so that each takes place once, however many register the same
entry and however often the broker dies.  What fell into a time without a broker is made up for as the
entry says (``missed``).

Entries live by Unix time.  The driver says when that no longer is the broker's time plus ``epoch``, as
after a laptop has slept (:meth:`Schedules.set_epoch`).
"""

from collections.abc import Callable, Iterable
from math import inf, isfinite
from typing import Final

import msgspec

from nbqueue.core.firings import MAX_ENTRIES, Recurrence, flaw_of, registered
from nbqueue.core.ledger import Ledger
from nbqueue.core.records import DONE, Sender, task_size
from nbqueue.core.settings import BrokerSettings
from nbqueue.core.tasks import Tasks
from nbqueue.messages import Periodic, Task

#: seconds until a firing is tried again that could not be kept
AGAIN: Final = 1.0


class Schedules:
    """All entries.  ``claim_room`` says why so many bytes cannot be kept now, or "" and counts them."""

    def __init__(
        self,
        settings: BrokerSettings,
        tasks: Tasks,
        ledger: Ledger,
        epoch: float,
        claim_room: Callable[[int], str],
    ) -> None:
        self.entries: dict[tuple[str, str], Recurrence] = {}
        self._settings = settings
        self._tasks = tasks
        self._ledger = ledger
        self._epoch = epoch
        self._claim_room = claim_room
        #: bytes that the tasks of all entries take
        self._size = 0
        #: the broker's time at which something is to be done
        self._next = inf

    # ── what applications say ────────────────────────────────────────────────────────────────

    def register(
        self, app: str, entries: list[Periodic], sender: Sender, now: float, *, complete: bool
    ) -> str:
        """Keep entries, each in place of the one of its name; ``complete``: others of the application go.
        Returns why nothing was changed, "" if all went well."""
        if objection := self._objection_to(app, entries):
            return objection
        for periodic in entries:
            self._keep(app, periodic, sender._replace(client=""), now)
        if complete:
            self.remove(app, {n for a, n in self.entries if a == app} - {p.name for p in entries})
        self._look_ahead()
        return ""

    def _objection_to(self, app: str, entries: list[Periodic]) -> str:
        new = {(app, periodic.name) for periodic in entries} - self.entries.keys()
        if len(self.entries) + len(new) > MAX_ENTRIES:
            return f"a broker keeps at most {MAX_ENTRIES:,} periodic tasks"
        size = sum(task_size(periodic.task) for periodic in entries)
        if self._size + size > self._settings.max_queued_bytes:
            return "the arguments of periodic tasks would take too much room (max_queued_bytes)"
        for periodic in entries:
            if wrong := self._flaw(periodic):
                return f"the periodic task {periodic.name!r}: {wrong}"
        return self._claim_room(size)

    def _flaw(self, periodic: Periodic) -> str:
        """What is wrong with an entry, "" if nothing is."""
        if key := self._tasks.lacking(periodic.task):
            return f"the broker has no room for its function ({key})"
        return flaw_of(periodic, self._settings.payload_limit)

    def _keep(self, app: str, periodic: Periodic, sender: Sender, now: float) -> None:
        old = self.entries.get((app, periodic.name))
        entry = registered(app, periodic, sender, old, now + self._epoch)
        if entry is None:
            return
        self._refer(periodic.task)  # before the old one lets go of the same
        if old is not None:
            self._let_go(old)
        self._settle_in(entry)
        self._ledger.scheduled(entry)

    def remove(self, app: str, names: Iterable[str]) -> None:
        """Drop entries of an application, those that there are."""
        gone = [entry for name in names if (entry := self.entries.get((app, name))) is not None]
        for entry in gone:
            self._let_go(entry)
        if gone:
            self._ledger.unscheduled(app, [entry.periodic.name for entry in gone])
            self._look_ahead()

    def _settle_in(self, entry: Recurrence) -> None:
        self.entries[entry.key] = entry
        self._size += task_size(entry.periodic.task)
        if not entry.lost:
            entry.plan()

    def _let_go(self, entry: Recurrence) -> None:
        del self.entries[entry.key]
        self._size -= task_size(entry.periodic.task)
        if not entry.lost:
            for key in _blobs_of(entry.periodic.task):
                self._tasks.blobs.release(key)

    def _refer(self, task: Task) -> None:
        for key in _blobs_of(task):
            self._tasks.blobs.refer(key)

    def restore(self, entry: Recurrence) -> None:
        """An entry that an earlier broker had; call :meth:`set_epoch` afterwards."""
        if self._tasks.lacking(entry.periodic.task):
            entry.lost = True
            entry.trouble = "its function was lost with a damaged journal: register it again"
        else:
            self._refer(entry.periodic.task)
        self._settle_in(entry)

    # ── time ─────────────────────────────────────────────────────────────────────────────────

    def set_epoch(self, epoch: float) -> None:
        """Unix time is the broker's time plus this, from now on."""
        self._epoch = epoch
        self._look_ahead()

    def _look_ahead(self) -> None:
        self._next = min((entry.due for entry in self.entries.values()), default=inf) - self._epoch

    def next_due(self) -> float | None:
        """When to call :meth:`fire`, None if nothing is to come."""
        return self._next if isfinite(self._next) else None

    def fire(self, now: float) -> None:
        """Submit what is due."""
        if now < self._next:
            return
        due = [entry for entry in self.entries.values() if entry.due - self._epoch <= now]
        done = [self._fire(entry, now) for entry in due]
        self._look_ahead()
        if not all(done):
            self._next = max(self._next, now + AGAIN)

    def _fire(self, entry: Recurrence, now: float) -> bool:
        """One entry is due; False if that cannot be written down now, and has to wait."""
        at = max(now + self._epoch, entry.due)
        periodic, trouble = entry.periodic, self._tasks.unwritable
        firings = entry.firings(at)
        entry.trouble = trouble or self._claim_room(len(firings) * task_size(periodic.task))
        if entry.trouble:
            return False
        entry.handled = firings[-1]
        for firing in firings:
            if entry.counts(firing, at):
                self._submit(entry, firing, now)
        entry.plan()
        self._ledger.fired(entry)
        return True

    def _submit(self, entry: Recurrence, firing: float, now: float) -> None:
        if entry.periodic.skip_if_running and self._last_is_unfinished(entry):
            return
        task = msgspec.structs.replace(entry.periodic.task, id=entry.id_of(firing))
        entry.trouble = self._tasks.refusal(task, task_size(task))
        if not entry.trouble:
            self._tasks.accept(task, entry.sender, now)
            entry.last_id = task.id

    def _last_is_unfinished(self, entry: Recurrence) -> bool:
        record = self._tasks.records.get(entry.last_id)
        return record is not None and record.place != DONE


def _blobs_of(task: Task) -> list[str]:
    return [key for key in (task.definition, task.captured_key) if key]
