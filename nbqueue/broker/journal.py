"""The journal: what the broker would have to know again after its death, on disk before anybody relies on it.

An append-only log of turns, each of them what the broker has to say at once, and bytes to the log.  It has a
folder of its own (see :mod:`.logfolder` for its files, :mod:`.logfile` for what is in them)::

    append ──▶ 3.log ─ 4.log ─ 5.log ─ (6.log, blank)
                                  ╎                     begin_snapshot: the owner tells all that it knows,
    append ─────────────────────▶ ╎ ─ (6.log)           and goes on appending
    Snapshot ▶ 5.snapshot.part ▶ 5.snapshot             complete: what is before that place does not count,
                                                        and 3.log and 4.log go

Room is set apart on disk before it is written to: so a full disk shows while there is still a *reserve*,
which only essential turns (what became of tasks that were accepted) may use.

A write that fails does not count, and leaves nothing: it is cut off.  Where not even that can be done, the
segment is given up, and the next one begins with the sequence number of the turn that did not count; what
an earlier segment has of that number or above is passed over in recovery.  (Only if we die before there is a
next one may the turn be there, as one may whose writer died before it could tell.)
"""

import contextlib
import errno
import logging
import os
import time
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from nbqueue import platform
from nbqueue.broker import logfile, logfolder
from nbqueue.broker.errors import FolderUnusable, JournalFull
from nbqueue.broker.logfile import HEADER_BYTES, SEGMENT, SNAPSHOT, Header, LogFile
from nbqueue.broker.logfolder import Survey, corrupt
from nbqueue.broker.snapshot import Snapshot
from nbqueue.platform import Buffer

__all__ = ["Journal", "JournalFull", "Snapshot"]

log = logging.getLogger("nbqueue.broker")

#: Bytes of a turn for which there is to be room when :attr:`Journal.room` says so.
_SMALL: Final = 4096
#: Seconds between two looks at a disk that was full.
_REST: Final = 0.5


class Journal:
    """The log in ``folder``, which is made if it is not there; whoever opens it has to keep others out.

    Parameters
    ----------
    sync
        Have each turn survive a power failure before ``append`` returns; else it survives our own death.
    segment_bytes
        Size of a file, but for turns that are larger.
    reserve_bytes
        Room that is kept for essential turns.

    Raises
    ------
    FolderUnusable
        It cannot be made, or others may write to it.
    """

    def __init__(
        self,
        folder: Path,
        *,
        sync: bool = False,
        segment_bytes: int = 16 * 2**20,
        reserve_bytes: int = 16 * 2**20,
    ) -> None:
        self._folder = folder
        self._sync = sync
        self._segment_bytes = segment_bytes
        self._reserve = reserve_bytes
        self._recovered = False
        self._mark = b""
        #: sequence number of the next turn
        self._due = 1
        self._segment: _Segment | None = None
        self._spares: deque[_Segment] = deque()
        self._next_number = 1
        #: bytes used of each segment that counts, by number; and of the snapshot before them
        self._used: dict[int, int] = {}
        self._snapshot_bytes = 0
        #: of which segment the snapshot replaces how many bytes
        self._replaced = (0, 0)
        self._snapshot: Snapshot | None = None
        #: the same of the one that is being made
        self._will_replace = (0, 0)
        #: the last write failed
        self._failing = False
        self._look_again = 0.0
        #: free on the disk, when it was asked last
        self._disk_bytes = 0
        self._ask_disk_at = 0.0
        try:
            platform.private_folder(folder)
            for part in logfolder.parts(folder).values():
                part.unlink()
        except OSError as error:
            raise FolderUnusable(
                f"the journal cannot be opened: {error}; make room or get access there, or name another"
                " folder with --data-dir"
            ) from error

    # ── reading ──────────────────────────────────────────────────────────────────────────────

    def recover(self) -> Iterator[bytes]:
        """What was written, oldest first; to be read to its end before anything is appended.

        An unfinished write at the very end, which nobody was promised, is dropped with a line in the log.

        Raises
        ------
        JournalCorrupt
            Something else is invalid or missing.
        FolderUnusable
            A file cannot be read.
        """
        if self._recovered:
            raise RuntimeError("this journal was read already")
        try:
            survey = logfolder.survey(self._folder)
            if survey.snapshot:
                yield from self._read_snapshot(survey.snapshot, survey.mark)
            yield from self._read_segments(survey)
            self._take_over(survey)
        except OSError as error:
            if error.errno == errno.EIO:
                raise corrupt(self._folder / "*", 0, "the disk cannot read all of it") from error
            raise FolderUnusable(
                f"the journal in {self._folder} cannot be read: {error}; get access there, or name another"
                " folder with --data-dir"
            ) from error

    def _read_snapshot(self, path: Path, mark: bytes) -> Iterator[bytes]:
        with LogFile(path) as file:
            yield from file.turns(mark)
            if not file.complete:
                raise corrupt(path, file.position, f"turn {file.due} is not as it was written")
            self._snapshot_bytes = file.size

    def _read_segments(self, survey: Survey) -> Iterator[bytes]:
        first = self._due = survey.first
        following = [*(header.first for header in survey.headers.values()), None][1:]
        for (number, path), until in zip(survey.segments.items(), following, strict=True):
            self._used[number] = 0
            if until is not None and until <= first:
                continue  # all of it is in the snapshot
            with LogFile(path) as file:
                if file.due < first:
                    self._pass_over(number, file, survey)
                yield from file.turns(survey.mark, until)
                if until is None:
                    _check_end(file, survey.mark)
                elif file.due != until:
                    raise corrupt(path, file.position, f"turns {file.due} to {until - 1} cannot be read")
                self._due = max(file.due, first)
                self._used[number] = file.position

    def _pass_over(self, number: int, file: LogFile, survey: Survey) -> None:
        """Skip what a segment had before the snapshot was begun."""
        for _ in file.turns(survey.mark, survey.first):
            pass
        self._replaced = (number, file.position)

    def _take_over(self, survey: Survey) -> None:
        """Make ready for appending, which goes to a new segment."""
        self._mark = survey.mark or logfile.new_mark()
        self._next_number = max([*survey.segments, *survey.blanks, 0]) + 1
        if survey.segments:
            last, path = list(survey.segments.items())[-1]
            with contextlib.suppress(OSError):  # whatever is behind its last turn does no harm either
                os.truncate(path, self._used[last])
        for path in survey.stale:
            with contextlib.suppress(OSError):
                path.unlink()
        for number, path in survey.blanks.items():
            self._adopt(number, path)
        if self._sync:
            # what was read will be acted on, and its writer may have died before it waited for the disk
            for path in survey.segments.values():
                platform.sync_file(path)
            platform.sync_folder(self._folder)
        self._recovered = True

    def _adopt(self, number: int, path: Path) -> None:
        """Use space that an earlier broker has set apart; perhaps it was only about to."""
        try:
            spare = _Segment(path, number, os.open(path, os.O_RDWR | platform.O_BINARY))
            self._spares.append(spare)
            spare.grow(self._segment_bytes)
        except OSError:
            pass  # as large as it is, or grown when it is needed

    # ── writing ──────────────────────────────────────────────────────────────────────────────

    def append(self, turn: Buffer | Sequence[Buffer], *, essential: bool = False) -> None:
        """Write a turn; when this returns, it will be there after our death.

        Raises
        ------
        JournalFull
            It could not be written, or would have left less than the reserve and is not essential.  The
            journal is as it was before.
        """
        self._see_that_it_was_read()
        parts, size = logfile.frame(self._mark, self._due, turn)
        segment = self._segment
        if (
            segment is None
            or segment.rest < size
            or not (essential or self._left_after(size) >= self._reserve)
        ):
            segment = self._make_room(size, essential=essential)
        try:
            self._write(segment, parts, segment.end)
        except OSError as error:
            segment.cut()
            raise _full(self._folder, error) from error
        if self._sync:
            self._sync_data(segment)
        segment.end += size
        self._due += 1
        self._failing = False
        self._used[segment.number] = segment.end

    def _write(self, segment: "_Segment", parts: Sequence[Buffer], offset: int) -> None:
        try:
            platform.write_at(segment.fd, parts, offset)
        except OSError:
            self._failing = True
            raise

    def _sync_data(self, segment: "_Segment") -> None:
        """Wait for the disk.

        When that fails, the system may have dropped the data and take the next sync for a success: the
        segment is given up.  The turns before were each synced by a call of their own, so only this one
        is in doubt; it does not count, and the next one takes its number, in a new segment.
        """
        try:
            platform.sync_data(segment.fd)
        except OSError as error:
            self._failing = True
            segment.cut(keep_room=False)
            raise _full(self._folder, error) from error

    def _make_room(self, size: int, *, essential: bool) -> "_Segment":
        """The segment that such a turn goes to; it may be a new one."""
        try:
            if not essential:
                self._restock(size)
            segment = self._segment
            if segment is None or segment.rest < size:
                segment = self._begin_segment(size)
            return segment
        except OSError as error:
            raise _full(self._folder, error) from error

    def _left_after(self, size: int) -> int:
        """Bytes set apart that would be left after such a turn; less than none if it does not fit in."""
        spare_bytes = sum(spare.capacity - HEADER_BYTES for spare in self._spares)
        if self._segment and self._segment.rest >= size:
            return self._segment.rest - size + spare_bytes
        if not self._spares:
            return -1
        return spare_bytes - min(size, self._spares[0].capacity - HEADER_BYTES)

    def _restock(self, size: int) -> None:
        """Set more space apart, until such a turn would leave the reserve."""
        while self._left_after(size) < self._reserve:
            self._add_spare()

    def _add_spare(self) -> None:
        number = self._next_number
        path = logfolder.segment_path(self._folder, number)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | platform.O_BINARY, 0o600)
        spare = _Segment(path, number, fd)
        try:
            spare.grow(self._segment_bytes)
            if self._sync:
                os.fsync(fd)
                platform.sync_folder(self._folder)
        except OSError:
            spare.remove()
            raise
        self._next_number += 1
        self._spares.append(spare)

    def _begin_segment(self, size: int) -> "_Segment":
        """Have a segment with room for a turn, and let go of the one before."""
        if not self._spares:
            self._add_spare()
        segment = self._spares[0]
        segment.grow(HEADER_BYTES + size)
        header = Header(SEGMENT, segment.number, self._due, self._mark)
        self._write(segment, [header.encode()], 0)
        segment.end = HEADER_BYTES
        self._spares.popleft()
        self._seal()
        self._segment = segment
        self._used[segment.number] = segment.end
        return segment

    def _seal(self) -> None:
        """Nothing more comes into the present segment: what it does not use is free again."""
        if self._segment:
            self._segment.cut(keep_room=False)
            self._segment.close()
            self._segment = None

    # ── how it is ────────────────────────────────────────────────────────────────────────────

    @property
    def room(self) -> bool:
        """Whether a small turn that is not essential would be taken now.

        Cheap, unless there is none: then the disk is asked again, twice a second at most.
        """
        self._see_that_it_was_read()
        if not self._failing and self._left_after(_SMALL) >= self._reserve:
            return True
        now = time.monotonic()
        if now < self._look_again:
            return False
        try:
            self._restock(_SMALL)
            if self._failing:
                self._try_to_write()
        except OSError:
            self._look_again = now + _REST
            return False
        return True

    @property
    def spare(self) -> int:
        """Bytes that records which are not essential may take; at most, since others use the disk as well.

        The disk is asked twice a second at most.
        """
        if not self.room:
            return 0
        now = time.monotonic()
        if now >= self._ask_disk_at:
            self._ask_disk_at = now + _REST
            self._disk_bytes = platform.free_bytes(self._folder)
        return max(0, self._left_after(0) + self._disk_bytes - self._reserve)

    def _try_to_write(self) -> None:
        segment = self._segment
        if segment is None or segment.rest < _SMALL:
            segment = self._begin_segment(_SMALL)
        self._write(segment, [b"\0"], segment.end)
        if self._sync:
            platform.sync_data(segment.fd)
        self._failing = False

    @property
    def snapshot_bytes(self) -> int:
        """What the snapshot takes: no journal of the same tasks can be much smaller."""
        self._settle()
        return self._snapshot_bytes

    @property
    def bytes(self) -> int:
        """What is written, in all segments and the snapshot before them."""
        self._settle()
        number, replaced = self._replaced
        return self._snapshot_bytes + sum(self._used.values()) - (replaced if self._used.get(number) else 0)

    def _see_that_it_was_read(self) -> None:
        if not self._recovered:
            raise RuntimeError("read what recover() yields to its end first")

    # ── compaction ───────────────────────────────────────────────────────────────────────────

    def begin_snapshot(self) -> Snapshot:
        """Begin anew: what is added to the snapshot, and what is appended from now on, is the whole truth.

        It takes no room from the reserve: a snapshot that fails on a full disk may be tried again and again.

        Raises
        ------
        JournalFull
            Not even a first segment can be written.
        RuntimeError
            The one before is not done.
        """
        self._see_that_it_was_read()
        self._settle()
        if self._snapshot:
            raise RuntimeError("a snapshot is being made already")
        if not self._used:
            try:
                self._begin_segment(0)
            except OSError as error:
                raise _full(self._folder, error) from error
        newest = max(self._used)
        self._will_replace = (newest, self._used[newest])
        self._snapshot = Snapshot(self._folder, Header(SNAPSHOT, newest, self._due, self._mark))
        return self._snapshot

    def _settle(self) -> None:
        """Forget the files that a snapshot has replaced."""
        snapshot = self._snapshot
        if snapshot and snapshot.done:
            self._snapshot = None
            if snapshot.bytes:
                self._snapshot_bytes = snapshot.bytes
                self._replaced = self._will_replace
                self._used = {n: used for n, used in self._used.items() if n >= snapshot.number}

    def close(self) -> None:
        """Let go of everything, also of the space set apart; a snapshot that is not done is given up."""
        if self._snapshot:
            self._snapshot.give_up()
        self._seal()
        while self._spares:
            spare = self._spares.pop()
            if self._spares or self._used or not self._snapshot_bytes:
                spare.remove()
            else:
                # the one that the snapshot says comes next: that it is there tells that none is missing
                spare.cut(keep_room=False)
                spare.close()


class _Segment:
    """A file that is appended to, or will be."""

    def __init__(self, path: Path, number: int, fd: int) -> None:
        self.path = path
        self.number = number
        self.fd = fd
        #: where the next turn goes
        self.end = 0
        #: bytes of disk that it has
        self.capacity = os.fstat(fd).st_size

    @property
    def rest(self) -> int:
        return self.capacity - self.end

    def grow(self, size: int) -> None:
        """Have at least that much space, or stay as it is."""
        if self.capacity >= size:
            return
        try:
            platform.preallocate(self.fd, size)
        except OSError:
            os.ftruncate(self.fd, self.capacity)
            raise
        self.capacity = size

    def cut(self, *, keep_room: bool = True) -> None:
        """Remove what is behind the last turn; if that cannot be, or not be undone, no other comes in."""
        room, self.capacity = self.capacity, self.end
        with contextlib.suppress(OSError):
            os.ftruncate(self.fd, self.end)
            if keep_room:
                self.grow(room)

    def close(self) -> None:
        os.close(self.fd)

    def remove(self) -> None:
        self.close()
        with contextlib.suppress(OSError):
            self.path.unlink()


def _check_end(file: LogFile, mark: bytes) -> None:
    """See that what follows the last turn is nothing, or an unfinished write."""
    behind = file.find_turn(file.position + 1, mark, file.due)
    if behind:
        raise corrupt(
            file.path,
            file.position,
            f"turn {file.due} is not as it was written, and others follow from byte {behind[0]:,} on",
        )
    if not file.is_unfinished(file.position, mark):
        raise corrupt(file.path, file.position, f"turn {file.due} is not as it was written")
    dropped = file.written_end(file.position) - file.position
    if dropped:
        log.warning(
            "%s: dropped an unfinished write of %d bytes at byte %d", file.path, dropped, file.position
        )


def _full(folder: Path, error: OSError) -> JournalFull:
    return JournalFull(f"the journal in {folder} takes no more: {error.strerror or error}")
