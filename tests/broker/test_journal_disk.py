"""The journal on a disk that is full, read-only or failing: what cannot be kept is refused, the rest kept."""

import contextlib
import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nbqueue import platform
from nbqueue.broker import journal as journal_module
from nbqueue.broker.errors import JournalFull
from nbqueue.broker.journal import Journal
from tests.broker.journals import failing, files, opened, read, written
from tests.broker.running import until

SEGMENT, RESERVE, DISK = 64 << 10, 128 << 10, 1 << 20
TURN = bytes(range(256)) * 4


class SmallDisk:
    """A folder on a disk of 1 MiB."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "journal"
        self._filler = folder / "filler"

    def fill(self) -> None:
        """Somebody else takes all that is left."""
        with self._filler.open("ab", buffering=0) as file:
            for block in (4096, 1):
                with contextlib.suppress(OSError):
                    while True:
                        file.write(bytes(block))

    def free(self) -> None:
        self._filler.unlink()


class FakeSmallDisk(SmallDisk):
    """The same for those who may not mount: allocation is refused past a limit, in this process."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(folder)
        self._filled = 0
        real: Callable[..., None] = os.posix_fallocate

        def fallocate(fd: int, offset: int, size: int) -> None:
            more = offset + size - os.fstat(fd).st_size
            used = sum(path.stat().st_size for path in self.folder.iterdir())
            if more > 0 and used + more + self._filled > DISK:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            real(fd, offset, size)

        monkeypatch.setattr(os, "posix_fallocate", fallocate)
        real_write: Callable[..., int] = os.pwritev

        def pwritev(fd: int, parts: list[bytes], offset: int) -> int:
            fallocate(fd, offset, sum(map(len, parts)))
            return real_write(fd, parts, offset)

        monkeypatch.setattr(os, "pwritev", pwritev)

    def fill(self) -> None:
        self._filled = DISK

    def free(self) -> None:
        self._filled = 0


@contextlib.contextmanager
def mounted(folder: Path) -> Iterator[Path]:
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK},mode=700", "nbqueue-test", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"a file system cannot be mounted here ({done.stderr.strip()}); a fake one is tested")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture(params=["tmpfs", "fake"])
def disk(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[SmallDisk]:
    monkeypatch.setattr(journal_module, "_REST", 0.01)
    if request.param == "fake":
        yield FakeSmallDisk(tmp_path, monkeypatch)
    else:
        with mounted(tmp_path / "disk") as folder:
            yield SmallDisk(folder)


def open_on(disk: SmallDisk) -> tuple[Journal, list[bytes]]:
    return opened(disk.folder, segment_bytes=SEGMENT, reserve_bytes=RESERVE)


def append_all(journal: Journal, *, essential: bool = False) -> list[bytes]:
    """Append until no more is taken; what was."""
    taken: list[bytes] = []
    while True:
        turn = b"%d %d" % (essential, len(taken)) + TURN
        try:
            journal.append(turn, essential=essential)
        except JournalFull as error:
            refused = str(error)
            break
        taken.append(turn)
    assert "No space left on device" in refused
    return taken


def test_a_full_disk_shows_before_the_reserve_is_touched(disk: SmallDisk) -> None:
    journal, _ = open_on(disk)
    taken = append_all(journal)
    assert not journal.room
    disk.fill()
    essential = append_all(journal, essential=True)
    assert sum(map(len, essential)) > 0.9 * RESERVE
    journal.close()
    assert read(disk.folder) == taken + essential


def test_turns_go_on_where_they_stopped_when_there_is_room_again(disk: SmallDisk) -> None:
    journal, _ = open_on(disk)
    journal.append(b"first")
    disk.fill()
    taken = append_all(journal)
    assert len(taken) > 10
    essential = append_all(journal, essential=True)
    assert not journal.room
    disk.free()
    until(lambda: journal.room)
    journal.append(b"last")
    assert read(disk.folder) == [b"first", *taken, *essential, b"last"]


def test_a_turn_that_does_not_fit_leaves_room_for_those_that_do(disk: SmallDisk) -> None:
    journal, _ = open_on(disk)
    with pytest.raises(JournalFull):
        journal.append(bytes(DISK), essential=True)
    assert journal.room
    journal.append(b"small")
    assert read(disk.folder) == [b"small"]


def test_a_full_disk_at_the_start_can_be_read_from(disk: SmallDisk) -> None:
    journal, _ = open_on(disk)
    taken = append_all(journal)
    journal.close()
    disk.fill()
    journal, turns = open_on(disk)
    assert turns == taken
    assert not journal.room
    with pytest.raises(JournalFull):
        journal.append(b"x")


def test_a_snapshot_that_finds_no_room_leaves_all_as_it_was(disk: SmallDisk) -> None:
    journal, _ = open_on(disk)
    taken = append_all(journal)
    disk.fill()
    made = journal.begin_snapshot()
    for turn in taken:
        made.add(turn)
    made.finish()
    until(lambda: made.done)
    assert made.error is not None
    assert made.error.errno == errno.ENOSPC
    assert not list(disk.folder.glob("*snapshot*"))
    disk.free()
    journal.append(b"last", essential=True)
    assert read(disk.folder) == [*taken, b"last"]


def test_snapshots_that_fail_do_not_eat_the_reserve(disk: SmallDisk) -> None:
    journal, _ = open_on(disk)
    taken = append_all(journal)
    disk.fill()
    for n in range(20):
        journal.append(b"%d" % n, essential=True)
        made = journal.begin_snapshot()
        for turn in taken:
            made.add(turn)
        made.finish()
        until(lambda made=made: made.done)
        assert made.error is not None
    essential = append_all(journal, essential=True)
    assert sum(map(len, essential)) > 0.9 * RESERVE


def test_a_disk_that_has_become_read_only_is_read_and_not_written(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk") as folder:
        journal, _ = opened(folder / "journal")
        journal.append(b"x")
        journal.close()
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
        journal, turns = opened(folder / "journal")
        assert turns == [b"x"]
        assert not journal.room
        for essential in (False, True):
            with pytest.raises(JournalFull, match="Read-only file system"):
                journal.append(b"y", essential=essential)
        subprocess.run(["mount", "-o", "remount,rw", str(folder)], check=True)
        journal.append(b"y")
        assert read(folder / "journal") == [b"x", b"y"]


# ── writes and syncs that fail ───────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("after", [0, 1, 20, 30, 10_000])
def test_a_write_that_fails_half_way_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    folder = tmp_path / "journal"
    journal, _ = opened(folder, segment_bytes=SEGMENT)
    journal.append(b"before")
    before = files(folder)
    with monkeypatch.context() as patched:
        patched.setattr(os, "pwritev", failing(errno.EIO, after=after))
        with pytest.raises(JournalFull, match="Input/output error"):
            journal.append(b"lost" * 100)
        assert not journal.room
    assert files(folder) == before
    journal.append(b"after")
    assert journal.room
    assert read(folder) == [b"before", b"after"]


def test_it_is_found_out_without_a_turn_that_writing_works_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal, _ = opened(tmp_path / "journal")
    with monkeypatch.context() as patched:
        patched.setattr(journal_module, "_REST", 0.01)
        patched.setattr(os, "pwritev", failing(errno.EROFS))
        with pytest.raises(JournalFull, match="Read-only"):
            journal.append(b"lost")
        assert not journal.room
    until(lambda: journal.room)
    journal.append(b"after")
    assert read(tmp_path / "journal") == [b"after"]


@pytest.mark.parametrize("crash", [False, True])
def test_a_write_that_fails_and_cannot_be_cut_off_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, crash: bool
) -> None:
    folder = tmp_path / "journal"
    journal, _ = opened(folder)
    journal.append(b"before")
    with monkeypatch.context() as patched:
        patched.setattr(os, "pwritev", failing(errno.EIO, after=100))
        patched.setattr(os, "ftruncate", failing(errno.EIO))
        with pytest.raises(JournalFull):
            journal.append(b"lost" * 100)
    if crash:
        assert read(folder) == [b"before"]
    else:
        journal.append(b"after", essential=True)
        assert read(folder) == [b"before", b"after"]


@pytest.mark.parametrize("cut_fails", [False, True])
def test_a_sync_that_fails_is_not_trusted_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut_fails: bool
) -> None:
    folder = tmp_path / "journal"
    journal, _ = opened(folder, sync=True)
    journal.append(b"before")
    with monkeypatch.context() as patched:
        patched.setattr(os, "fdatasync", failing(errno.EIO))
        if cut_fails:
            patched.setattr(os, "ftruncate", failing(errno.EIO))
        with pytest.raises(JournalFull, match="Input/output error"):
            journal.append(b"lost")
    segments = len([1 for content in files(folder).values() if content.strip(b"\0")])
    journal.append(b"after")
    assert len([1 for content in files(folder).values() if content.strip(b"\0")]) == segments + 1
    assert read(folder) == [b"before", b"after"]


def test_with_sync_a_turn_is_synced_before_append_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal, _ = opened(tmp_path / "journal", sync=True)
    synced: list[bytes] = []
    real = platform.sync_data
    monkeypatch.setattr(platform, "sync_data", lambda fd: (synced.append(os.pread(fd, 4096, 0)), real(fd)))
    for n in range(3):
        journal.append(b"turn %d" % n)
        assert b"turn %d" % n in synced[n]


def test_without_sync_no_turn_waits_for_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("fsync", "fdatasync"):
        monkeypatch.setattr(os, name, failing(errno.EIO))
    written(tmp_path / "journal", [b"x" * 1000] * 100)
    assert len(read(tmp_path / "journal")) == 100


def test_a_look_at_room_asks_a_full_disk_twice_a_second_at_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal, _ = opened(tmp_path / "journal")
    asked: list[int] = []

    def full(fd: int, offset: int, size: int) -> None:
        asked.append(size)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    clock = [100.0]
    monkeypatch.setattr(journal_module.time, "monotonic", lambda: clock[0])
    for _ in range(100):
        assert not journal.room
    assert len(asked) == 1
    clock[0] += 0.6
    assert not journal.room
    assert len(asked) == 2
