"""Keeps in the journal what the core wants to be kept, and the journal small.

::

    Keep(entries) ─▶ write ─▶ Journal.append            once a turn
    core.standing ─▶ work  ─▶ Snapshot.add … finish     when much in the journal is out of date

As long as nothing can be written (a full disk, one that has become read-only), what is to be written
waits here in order, promises are not sent, and the core refuses new tasks.
"""

import time
from collections.abc import Iterator, Set
from pathlib import Path
from typing import Final

from nbqueue.broker.complaints import log
from nbqueue.broker.errors import FolderUnusable, JournalFull
from nbqueue.broker.journal import Journal, Snapshot
from nbqueue.core import entries as words
from nbqueue.core.broker import BrokerCore
from nbqueue.core.entries import AnyEntry
from nbqueue.exceptions import ProtocolError

#: Bytes that may be out of date, beside as many as the last snapshot took.
_WASTE: Final = 64 * 2**20
#: Seconds that a turn may spend on a snapshot.
_SHARE: Final = 0.004
#: Seconds until space is asked for again that was not there.
_ASK_AGAIN: Final = 1.0
#: Bytes past which what one turn of the loop has changed is written as several, and
_LARGE: Final = 8 * 2**20
#: of one task past which it is not copied for that: copies of hundreds of megabytes hold up the loop.
_LARGE_ENTRY: Final = 2**20
#: Seconds until the loop comes back to a snapshot whose writer is behind.
_BREATH: Final = 0.01


class Keeper:
    """See the module's docstring.  ``sync``: writing waits for the disk."""

    def __init__(self, folder: Path, core: BrokerCore, *, sync: bool) -> None:
        self.syncs = sync
        self._folder = folder
        self._journal = Journal(folder, sync=sync)
        self._core = core
        self._waiting: list[AnyEntry] = []
        self._unwritten: set[str | int] = set()
        self._snapshot: Snapshot | None = None
        #: what the snapshot still lacks, None when it was given all
        self._portions: Iterator[list[AnyEntry]] | None = None
        #: bytes of the journal when it was last as small as can be
        self._base = 0
        self._ask_at = 0.0
        #: there is no room for new tasks
        self._full = False

    def restore(self, now: float) -> None:
        """Have the core go on where the last broker stopped, and note that it did.

        Raises
        ------
        JournalCorrupt
            The journal is damaged.
        FolderUnusable
            Another version of nbqueue wrote it.
        """
        began = time.perf_counter()
        recovery = self._core.recovery()
        try:
            for turn in self._journal.recover():
                recovery.read(words.decode(turn))
        except ProtocolError as error:
            raise FolderUnusable(str(error)) from None
        recovery.finish(now)
        self._base = self._journal.snapshot_bytes
        self.write([self._core.began], now)
        if len(self._core.tasks.records):
            took = time.perf_counter() - began
            log.info("has %d tasks of earlier times, read in %.1f s", len(self._core.tasks.records), took)

    # ── writing ──────────────────────────────────────────────────────────────────────────────

    @property
    def unwritten(self) -> Set[str | int]:
        """What could not be written yet, as ``entries.subjects`` has it."""
        return self._unwritten if self._waiting else frozenset()

    @property
    def waiting(self) -> bool:
        """Whether something could not be written yet."""
        return bool(self._waiting)

    def write(self, entries: list[AnyEntry], now: float) -> bool:
        """Write entries, after those that wait; False if they have to wait as well."""
        if self._waiting:
            self._waiting += entries
            self._unwritten |= words.subjects(entries)
            if now < self._ask_at:
                return False
            entries = self._waiting
        trouble = ""
        try:
            if entries:
                for turn in _turns(entries):
                    self._journal.append(turn, essential=True)
            self._waiting = []
        except JournalFull as error:  # what was written of them may be written again
            self._ask_at = now + _ASK_AGAIN
            self._waiting, trouble = entries, str(error)
            self._unwritten = words.subjects(entries)
        self._tell_core(trouble, now)
        return not self._waiting

    def close(self) -> None:
        self._journal.close()

    def _tell_core(self, trouble: str, now: float) -> None:
        room = 0 if self._waiting else self._journal.spare
        if not room and not trouble:
            trouble = f"no room is left for new tasks in {self._folder}: the disk is full"
        if bool(trouble) != self._full:
            log.warning("%s", trouble or "the journal has room again")
        self._full = bool(trouble)
        self._core.may_write(room, trouble, at_all=not self._waiting, now=now)

    def due(self, now: float) -> float | None:
        """When to call :meth:`write` or :meth:`work` again, though nothing else happens."""
        if self._full:
            return self._ask_at if self._ask_at > now else now + _ASK_AGAIN
        if self._snapshot is not None:
            return now + _BREATH if self._portions is None or self._snapshot.busy else now
        return None

    # ── making it small ──────────────────────────────────────────────────────────────────────

    def work(self) -> None:
        """Begin a snapshot when it pays, or do a little of the one that was begun."""
        if self._snapshot is not None:
            self._go_on(self._snapshot)
        elif self._journal.bytes > 2 * self._base + _WASTE and not self._full:
            self.begin_snapshot()

    def begin_snapshot(self) -> None:
        """Make the journal as small as it can be, from now on, a little in each turn."""
        self._snapshot = self._journal.begin_snapshot()
        self._portions = self._core.standing()

    def _go_on(self, snapshot: Snapshot) -> None:
        until = time.perf_counter() + _SHARE
        while self._portions is not None and not snapshot.busy and time.perf_counter() < until:
            portion = next(self._portions, None)
            if portion is None:
                self._portions = None
                snapshot.finish()
            else:
                for turn in _turns(portion):
                    snapshot.add(turn)
        if snapshot.done:
            self._snapshot = self._portions = None
            self._base = self._journal.bytes
            if snapshot.error:
                log.warning("the journal stays as large as it is: %s", snapshot.error)


def _turns(entries: list[AnyEntry]) -> Iterator[bytes | list[bytes]]:
    """Entries as a turn of the journal; if that would be large, as several, in the same order."""
    if words.size(entries) <= _LARGE:
        yield words.encode(entries)
        return
    small: list[AnyEntry] = []
    for entry in words.singles(entries):
        if words.size([entry]) <= _LARGE_ENTRY:
            small.append(entry)
            continue
        if small:
            yield words.encode(small)
            small = []
        yield words.encode_large(entry)
    if small:
        yield words.encode(small)
