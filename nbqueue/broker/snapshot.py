"""A new beginning for the journal, written in a thread of its own while the old one goes on.

The file has a name that is not read until it is complete and on disk; then it takes its place, and only then
what it replaces is removed.  A crash at any moment leaves the old state or the new one.
"""

import contextlib
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Final

from nbqueue import platform
from nbqueue.broker import logfile, logfolder
from nbqueue.broker.logfile import Header
from nbqueue.platform import Buffer

#: Bytes handed over and not yet written, past which the owner is asked to wait.
_WAITING: Final = 8 << 20
#: What a small turn counts at least: its objects take memory, too.
_LEAST: Final = 200
#: Bytes gathered for one write.
_BLOCK: Final = 256 << 10
#: Bytes after which the disk is waited for: one large sync at the end would hold up the syncs of the journal.
_SYNC_EVERY: Final = 4 << 20


class Snapshot:
    """A snapshot that is being made; of :meth:`Journal.begin_snapshot`.

    The owner adds turns, waiting while it is :attr:`busy`, and finishes.
    """

    def __init__(self, folder: Path, header: Header) -> None:
        self.number: Final = header.number
        #: why it failed; the journal is then as if it had never been begun
        self.error: OSError | None = None
        #: size of the file, once done
        self.bytes = 0
        self._folder = folder
        self._header = header
        self._turns: SimpleQueue[Buffer | Sequence[Buffer] | None] = SimpleQueue()
        # each is written by one thread only: no lock
        self._handed_over = 0
        self._taken = 0
        self._finishing = False
        self._given_up = False
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="nbqueue-snapshot", daemon=True)
        self._thread.start()

    def add(self, turn: Buffer | Sequence[Buffer]) -> None:
        """Hand over a turn, which must not change any more.

        Raises
        ------
        ValueError
            It is larger than a turn may be.
        """
        if self._finishing:
            raise RuntimeError("this snapshot is finished")
        size = logfile.size_of(turn)
        if not self.done:
            self._handed_over += max(size, _LEAST)
            self._turns.put(turn)

    @property
    def busy(self) -> bool:
        """Whether the owner is to wait before it adds more."""
        return not self.done and self._handed_over - self._taken > _WAITING

    def finish(self) -> None:
        """Have it take its place; it has when :attr:`done` and without :attr:`error`."""
        self._finishing = True
        self._turns.put(None)

    @property
    def done(self) -> bool:
        """Whether it has taken its place, or failed."""
        return self._done.is_set()

    def give_up(self) -> None:
        """Have it end as if it had never been begun, unless it has just taken its place; waits for that."""
        self._given_up = True
        self._turns.put(None)
        self._thread.join()

    # ── the thread ───────────────────────────────────────────────────────────────────────────

    def _run(self) -> None:
        part = logfolder.part_path(self._folder, self.number)
        try:
            size = self._write(part)
            if not self._given_up:
                # it points into that segment, which recovery reads up to there, too
                platform.sync_file(logfolder.segment_path(self._folder, self.number))
                part.replace(logfolder.snapshot_path(self._folder, self.number))
                platform.sync_folder(self._folder)
                self.bytes = size
                self._remove_replaced()
        except OSError as error:
            self.error = error
        except BaseException:
            self.error = OSError("its thread has failed, see the traceback")
            raise
        finally:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
            self._done.set()

    def _write(self, path: Path) -> int:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | platform.O_BINARY, 0o600)
        try:
            out = _Writer(fd, self._header)
            while (turn := self._turns.get()) is not None:
                out.add(turn)
                self._taken += max(logfile.size_of(turn), _LEAST)
            if not self._given_up:
                out.end()
            return out.size
        finally:
            os.close(fd)

    def _remove_replaced(self) -> None:
        """What stays for want of rights or by a crash is removed by the next start."""
        for found in (logfolder.segments(self._folder), logfolder.snapshots(self._folder)):
            for number, path in found.items():
                if number < self.number:
                    with contextlib.suppress(OSError):
                        path.unlink()


class _Writer:
    """Gathers turns into blocks, and has the disk keep up."""

    def __init__(self, fd: int, header: Header) -> None:
        self._fd = fd
        self._mark = header.mark
        self._due = 1
        self._block: list[Buffer] = [header.encode()]
        self._gathered = logfile.HEADER_BYTES
        self._unsynced = 0
        self.size = 0

    def add(self, turn: Buffer | Sequence[Buffer]) -> None:
        parts, size = logfile.frame(self._mark, self._due, turn)
        self._due += 1
        self._block += parts
        self._gathered += size
        if self._gathered >= _BLOCK:
            self._flush()

    def end(self) -> None:
        self._block.append(logfile.frame_end(self._mark, self._due))
        self._gathered += logfile.FRAME_BYTES
        self._flush()
        platform.sync_data(self._fd)

    def _flush(self) -> None:
        platform.write_at(self._fd, self._block, self.size)
        self.size += self._gathered
        self._unsynced += self._gathered
        self._block, self._gathered = [], 0
        if self._unsynced >= _SYNC_EVERY:
            platform.sync_data(self._fd)
            self._unsynced = 0
