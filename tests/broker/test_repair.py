"""Repair: every turn that is whole is kept, and what is dropped is saved."""

import errno
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbqueue import platform
from nbqueue.broker import logfile
from nbqueue.broker.errors import DataFolderInUse, FolderUnusable, JournalCorrupt
from nbqueue.broker.repair import repair
from tests.broker.journals import files, opened, read, snapshot, written, written_end

TURNS = [b"%d" % n * 100 for n in range(60)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "journal"


def damage(path: Path, offset: int, content: bytes = b"?") -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(content)


def test_a_whole_journal_stays_as_it_is(folder: Path) -> None:
    journal, _ = opened(folder)
    for turn in TURNS:
        journal.append(turn)
    journal.close()
    before = files(folder)
    report = repair(folder.parent)
    assert report.damage == ""
    assert (report.kept_turns, report.kept_bytes) == (60, sum(map(len, TURNS)))
    assert files(folder) == before
    assert sorted(path.name for path in folder.parent.iterdir()) == ["broker.lock", "journal"]


def test_turns_before_and_behind_the_damage_are_kept_and_what_is_dropped_is_saved(folder: Path) -> None:
    written(folder, TURNS)
    path = folder / "0000000002.log"
    original = path.read_bytes()
    damage(path, original.index(b"3030") + 50)
    damaged = path.read_bytes()
    report = repair(folder.parent)
    assert "0000000002.log, at byte" in report.damage
    assert read(folder) == TURNS[:30] + TURNS[31:]
    assert (report.kept_turns, report.lost_turns) == (59, 1)
    (dropped,) = report.dropped
    assert dropped.length == 225
    assert report.saved is not None
    assert report.originals is not None
    lost = damaged[dropped.offset : dropped.offset + dropped.length]
    assert b"?" in lost
    head = b"0000000002.log at %d: 225 bytes\n" % dropped.offset
    assert report.saved.read_bytes() == head + lost + b"\n"
    assert report.saved.parent == folder.parent
    assert files(report.originals) == {"0000000002.log": damaged}
    for saved in (report.saved, report.originals):
        assert saved.stat().st_mode & 0o077 == 0


def test_a_repaired_journal_is_whole_and_goes_on(folder: Path) -> None:
    written(folder, TURNS)
    damage(folder / "0000000001.log", 1000)
    repair(folder.parent)
    assert repair(folder.parent).damage == ""
    journal, kept = opened(folder)
    journal.append(b"next")
    assert read(folder) == [*kept, b"next"]
    assert len(kept) == 59


def test_a_lost_header_costs_no_turn(folder: Path) -> None:
    written(folder, TURNS)
    damage(folder / "0000000002.log", 0, bytes(40))
    report = repair(folder.parent)
    assert report.lost_turns == 0
    assert read(folder) == TURNS


def test_the_only_header_may_be_lost(folder: Path) -> None:
    written(folder, TURNS, segment_bytes=1 << 20)
    damage(folder / "0000000001.log", 0, b"x" * 40)
    repair(folder.parent)
    assert read(folder) == TURNS


def test_a_missing_segment_is_named_and_what_it_held_is_counted(folder: Path) -> None:
    written(folder, TURNS)
    held = (folder / "0000000002.log").read_bytes().count(b"\xff")
    (folder / "0000000002.log").unlink()
    report = repair(folder.parent)
    assert [path.name for path in report.missing] == ["0000000002.log"]
    assert report.saved is None
    assert report.originals is None
    kept = read(folder)
    assert kept == [turn for turn in TURNS if turn in kept]
    assert len(kept) == report.kept_turns == 60 - report.lost_turns
    assert 0 < report.lost_turns <= held


def test_a_missing_snapshot_is_named(folder: Path) -> None:
    journal, _ = opened(folder)
    for turn in TURNS:
        journal.append(turn)
    snapshot(journal, [b"all"])
    journal.append(b"next")
    path = next(iter(folder.glob("*.snapshot")))
    path.unlink()
    report = repair(folder.parent)
    assert report.missing == [path]
    assert read(folder)[-1] == b"next"


@pytest.mark.parametrize("where", ["middle", "end", "header"])
def test_a_damaged_snapshot_gives_what_is_whole_and_what_came_after_it(folder: Path, where: str) -> None:
    journal, _ = opened(folder)
    for turn in TURNS:
        journal.append(turn)
    snapshot(journal, [b"a" * 50, b"b" * 50, b"c" * 50])
    journal.append(b"next")
    path = next(iter(folder.glob("*.snapshot")))
    content = path.read_bytes()
    damage(path, {"middle": content.index(b"bbb"), "end": len(content) - 1, "header": 3}[where])
    report = repair(folder.parent)
    kept = read(folder)
    if where == "header":
        # it said how much of its segment it sums up: without it, these turns come once more
        assert [turn for turn in kept[3:-1] if turn not in TURNS] == []
        del kept[3:-1]
    expected = [b"a" * 50, b"b" * 50, b"c" * 50, b"next"]
    if where == "middle":
        expected.pop(1)
    assert report.lost_turns == (where == "middle")
    assert kept == expected


def test_a_disk_that_cannot_read_a_block_costs_what_was_in_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = [b"%04d" % n * 100 for n in range(100)]
    written(folder, turns, segment_bytes=1 << 20)
    real = Path.open

    class BadBlock:
        """The second 4096 bytes are unreadable."""

        def __init__(self, file: Any) -> None:
            self._file = file

        def __getattr__(self, name: str) -> Any:
            return getattr(self._file, name)

        def readinto(self, buffer: memoryview) -> int:
            at = self._file.tell()
            if at < 8192 and at + len(buffer) > 4096:
                raise OSError(errno.EIO, "Input/output error")
            return self._file.readinto(buffer)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", lambda path, *a, **k: BadBlock(real(path, *a, **k)))
        with pytest.raises(JournalCorrupt, match="--repair"):
            read(folder)
        report = repair(folder.parent)
    kept = read(folder)
    assert kept == [turn for turn in turns if turn in kept]
    assert 4096 // 425 <= report.lost_turns == 100 - len(kept) <= 4096 // 425 + 3


def test_it_refuses_while_a_broker_runs(folder: Path) -> None:
    written(folder, TURNS)
    with platform.FileLock(folder.parent / "broker.lock"), pytest.raises(DataFolderInUse, match="stop it"):
        repair(folder.parent)


def test_a_folder_without_a_journal_is_named(tmp_path: Path) -> None:
    with pytest.raises(FolderUnusable, match="no journal in"):
        repair(tmp_path)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("call", ["fsync", "fdatasync", "pwritev", "link"])
def test_a_repair_that_fails_changes_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    written(folder, TURNS)
    damage(folder / "0000000001.log", 1000)
    before = {name: content for name, content in files(folder).items() if content.strip(b"\0")}

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, call, fail)
        if call == "link":
            patched.setattr("shutil.copy2", fail)
        with pytest.raises(FolderUnusable, match="No space left on device"):
            repair(folder.parent)
    assert {name: content for name, content in files(folder).items() if content.strip(b"\0")} == before
    repair(folder.parent)
    assert len(read(folder)) == 59


@settings(max_examples=100, deadline=None)
@given(
    data=st.data(),
    turns=st.lists(st.binary(min_size=8, max_size=300), min_size=3, max_size=30, unique=True),
    summed_up=st.integers(0, 2),
)
def test_whatever_bit_is_flipped_at_most_one_turn_is_lost(
    data: st.DataObject, turns: list[bytes], summed_up: int
) -> None:
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made, "journal")
        journal, _ = opened(folder, segment_bytes=1024, reserve_bytes=1024)
        for _ in range(summed_up):
            journal.append(b"summed up" * 20)
        if summed_up:
            snapshot(journal, turns[:2])
        for turn in turns[2 if summed_up else 0 :]:
            journal.append(turn)
        contents = {name: content for name, content in files(folder).items() if content.strip(b"\0")}
        name = data.draw(st.sampled_from(sorted(contents)))
        content = bytearray(contents[name])
        bit = data.draw(st.integers(0, 8 * written_end(content) - 1))
        content[bit // 8] ^= 1 << bit % 8
        (folder / name).write_bytes(content)
        report = repair(folder.parent)
        found = read(folder)
        if summed_up and found[0] == b"summed up" * 20:
            # as long as all is there that a snapshot sums up, that counts as well
            assert found[summed_up:] == turns[2:]
            return
        assert [turn for turn in turns if turn in found] == found
        assert len(turns) - len(found) <= 1
        assert report.kept_turns == len(found)
        if bit // 8 < logfile.HEADER_BYTES:
            assert found == turns
