"""``nbqueue broker --repair``: makes a damaged journal readable again, and loses nothing on the way.

Every turn that is whole, before and behind the damage, goes into a new snapshot, which replaces all other
files at once, as any snapshot does.  Before that, what is dropped is saved byte by byte, and files in which
something was dropped are kept as they were::

    journal/                        every turn that was whole
    dropped-20250131T120000Z.bin    what was between them: file and offset in a line, then the bytes
    journal-20250131T120000Z/       the damaged files
"""

import contextlib
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from nbqueue import platform
from nbqueue.broker import logfile, logfolder
from nbqueue.broker.errors import DataFolderInUse, FolderUnusable, JournalCorrupt
from nbqueue.broker.journal import Journal
from nbqueue.broker.logfile import HEADER_BYTES, SNAPSHOT, Header, LogFile
from nbqueue.broker.snapshot import Snapshot
from nbqueue.core.entries import Forgot, Took, decode
from nbqueue.exceptions import ProtocolError

#: Seconds between two looks at a snapshot that is being written.
_PAUSE: Final = 0.005


@dataclass(frozen=True)
class Dropped:
    """A range of bytes that is no turn."""

    path: Path
    offset: int
    length: int


@dataclass
class Report:
    """What a repair has found and done."""

    #: of the journal
    folder: Path
    #: what was wrong first; "" for a journal that is whole
    damage: str = ""
    kept_turns: int = 0
    kept_bytes: int = 0
    #: ids of those that were accepted, and not forgotten since, by what was kept
    kept_tasks: set[str] = field(default_factory=set)
    dropped: list[Dropped] = field(default_factory=list)
    #: files that should be there and are not
    missing: list[Path] = field(default_factory=list)
    #: how many turns are known to be lost; there may have been more at the end of a file
    lost_turns: int = 0
    #: the file with what was dropped, and the folder with the files in which it was
    saved: Path | None = None
    originals: Path | None = None

    def keep(self, turn: bytes) -> None:
        """Count what is kept."""
        self.kept_turns += 1
        self.kept_bytes += len(turn)
        try:
            entries = decode(turn)
        except ProtocolError:  # whole, but of another version: that one will know what it says
            return
        for entry in entries:
            if isinstance(entry, Took):
                self.kept_tasks.update(task.id for task in entry.tasks)
            elif isinstance(entry, Forgot):
                self.kept_tasks.difference_update(entry.ids)


def repair(data_folder: Path) -> Report:
    """Repair the journal of a data folder on which no broker runs; a whole one stays as it is.

    Raises
    ------
    DataFolderInUse
        A broker runs.
    FolderUnusable
        There is no journal, or what is to be written cannot be: everything is as it was.
    """
    folder = data_folder / "journal"
    if not folder.is_dir():
        raise FolderUnusable(
            f"there is no journal in {data_folder}: name the broker's folder with --data-dir"
        )
    try:
        with _broker_kept_out(data_folder):
            return _repair(folder)
    except OSError as error:
        raise FolderUnusable(
            f"the journal in {folder} cannot be repaired: {error}; make room or get access there"
        ) from error


@contextlib.contextmanager
def _broker_kept_out(data_folder: Path) -> Iterator[None]:
    lock = platform.FileLock(data_folder / "broker.lock")
    if not lock.acquire():
        raise DataFolderInUse(
            f"a broker runs with the data folder {data_folder} (pid {lock.holder()}): stop it first"
        )
    try:
        yield
    finally:
        lock.release()


def _repair(folder: Path) -> Report:
    report = Report(folder)
    journal = Journal(folder)
    try:
        for turn in journal.recover():
            report.keep(turn)
    except JournalCorrupt as error:
        salvage = _Salvage(folder)
        salvage.report.damage = str(error).split("; `nbqueue")[0]
        salvage.run()
        return salvage.report
    finally:
        journal.close()
    return report


class _Salvage:
    """One repair of a damaged journal."""

    def __init__(self, folder: Path) -> None:
        self.report = Report(folder)
        self._folder = folder
        self._segments = logfolder.segments(folder)
        self._snapshots = logfolder.snapshots(folder)
        self._mark = self._find_mark()
        #: sequence number of the next turn
        self._due = 1

    def run(self) -> None:
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        number = max([*self._segments, *self._snapshots, 0]) + 1
        snapshot = Snapshot(self._folder, Header(SNAPSHOT, number, self._highest() + 1, logfile.new_mark()))
        try:
            for turn in self._whole_turns():
                self.report.keep(turn)
                snapshot.add(turn)
                while snapshot.busy:
                    time.sleep(_PAUSE)
            self._save_dropped(self._folder.parent / f"dropped-{stamp}.bin")
            self._save_originals(self._folder.parent / f"{self._folder.name}-{stamp}")
            # the segment that the snapshot points to: once that is in place, only these two count
            logfolder.segment_path(self._folder, number).touch(0o600)
            snapshot.finish()
            while not snapshot.done:
                time.sleep(_PAUSE)
            if snapshot.error:
                raise snapshot.error
        except BaseException:
            snapshot.give_up()
            self._remove_saved()
            raise

    # ── what to read ─────────────────────────────────────────────────────────────────────────

    def _find_mark(self) -> bytes:
        """The mark of this journal's turns: from any header, or else from where a first turn would be."""
        guess = b""
        for path in (*self._snapshots.values(), *self._segments.values()):
            with LogFile(path, skip_unreadable=True) as file:
                if file.header:
                    return file.header.mark
                guess = guess or file.read(HEADER_BYTES, 8)
        return guess

    def _highest(self) -> int:
        """A sequence number that no turn is above."""
        highest = 0
        for path in (*self._snapshots.values(), *self._segments.values()):
            with LogFile(path, skip_unreadable=True) as file:
                first = file.header.first if file.header else 1
                highest = max(highest, first) + file.size // logfile.FRAME_BYTES
        return highest

    def _whole_turns(self) -> Iterator[bytes]:
        base = self._base()
        if base in self._snapshots:
            yield from self._read_snapshot(base)
        live = [number for number in self._segments if number >= base]
        self._note_missing(base, live)
        for number, following in zip(live, [*live[1:], None], strict=True):
            yield from self._read_segment(self._segments[number], self._first_of(following))

    def _note_missing(self, base: int, live: list[int]) -> None:
        if base not in self._snapshots and live and live[0] > base:
            base = live[0]
            self.report.missing.append(logfolder.snapshot_path(self._folder, base))
        expected = range(base, max([base, *live]) + 1)
        self.report.missing += [
            logfolder.segment_path(self._folder, number) for number in expected if number not in live
        ]

    def _base(self) -> int:
        """The number of the snapshot to begin with; 1 for none.

        That is the newest complete one, if all segments since are there; else an incomplete one that is newer
        has more.
        """
        complete = 1
        for number, path in self._snapshots.items():
            with LogFile(path, skip_unreadable=True) as file:
                if file.ends_complete(self._mark):
                    complete = number
        newest = max([*self._snapshots, 1])
        whole = all(number in self._segments for number in range(complete, newest))
        return complete if whole else newest

    def _first_of(self, number: int | None) -> int | None:
        """The sequence number that a segment begins with, if its header tells."""
        if number not in self._segments:
            return None
        with LogFile(self._segments[number], skip_unreadable=True) as file:
            return file.header.first if file.header else None

    # ── reading around the damage ────────────────────────────────────────────────────────────

    def _read_snapshot(self, number: int) -> Iterator[bytes]:
        with LogFile(self._snapshots[number], skip_unreadable=True) as file:
            yield from self._read(file, None)
            self._due = (file.header.first if file.header else self._first_of(number)) or 1

    def _read_segment(self, path: Path, until: int | None) -> Iterator[bytes]:
        with LogFile(path, skip_unreadable=True) as file:
            if file.header:
                self._lose(file.header.first - self._due)
            yield from self._read(file, until)

    def _read(self, file: LogFile, until: int | None) -> Iterator[bytes]:
        if file.header is None:
            file.position = 0
            file.due = self._due
        floor = self._due  # what is before that is in the snapshot
        while True:
            for turn in file.turns(self._mark, until):
                if file.due > floor:
                    yield turn
            if file.complete or file.due == until:
                break
            behind = file.find_turn(file.position + 1, self._mark, max(file.due, floor))
            if behind and until is not None and behind[1] >= until:
                behind = None
            stop = behind[0] if behind else file.written_end(file.position)
            if stop > file.position:
                self.report.dropped.append(Dropped(file.path, file.position, stop - file.position))
            if not behind:
                if until is None and not logfolder.is_snapshot(file.path):
                    self._lose(not file.is_unfinished(file.position, self._mark))
                break
            self._lose(behind[1] - max(file.due, floor))
            file.position, file.due = behind
        self._due = max(file.due, floor)

    def _lose(self, turns: int) -> None:
        self.report.lost_turns += max(0, turns)

    # ── saving ───────────────────────────────────────────────────────────────────────────────

    def _save_dropped(self, path: Path) -> None:
        if not self.report.dropped:
            return
        self.report.saved = path
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
            for dropped in self.report.dropped:
                out.write(f"{dropped.path.name} at {dropped.offset}: {dropped.length} bytes\n".encode())
                out.writelines(_blocks(dropped))
                out.write(b"\n")
            out.flush()
            os.fsync(out.fileno())
        platform.sync_folder(path.parent)

    def _save_originals(self, folder: Path) -> None:
        damaged = {dropped.path for dropped in self.report.dropped}
        if not damaged:
            return
        self.report.originals = folder
        folder.mkdir(mode=0o700)
        for path in sorted(damaged):
            try:
                os.link(path, folder / path.name)
            except OSError:  # not every file system has links
                shutil.copy2(path, folder / path.name)
        platform.sync_folder(folder)
        platform.sync_folder(folder.parent)

    def _remove_saved(self) -> None:
        """Nothing was repaired: leave nothing behind."""
        if self.report.saved:
            self.report.saved.unlink(missing_ok=True)
        if self.report.originals:
            shutil.rmtree(self.report.originals, ignore_errors=True)


def _blocks(dropped: Dropped) -> Iterator[bytes]:
    with LogFile(dropped.path, skip_unreadable=True) as file:
        stop = dropped.offset + dropped.length
        for at in range(dropped.offset, stop, 1 << 20):
            yield file.read(at, min(1 << 20, stop - at))
