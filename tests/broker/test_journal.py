"""The journal on disk: what is written is read again, whatever happens in between, or damage is named."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nbqueue.broker.errors import FolderUnusable, JournalCorrupt, JournalFull
from nbqueue.broker.journal import Journal
from tests.broker.running import until

SMALL = {"segment_bytes": 4096, "reserve_bytes": 4096}


def opened(folder: Path, **options: Any) -> tuple[Journal, list[bytes]]:
    journal = Journal(folder, **{**SMALL, **options})
    return journal, list(journal.recover())


def written(folder: Path, records: list[bytes], **options: Any) -> None:
    """Write records as by a broker that dies at once."""
    journal, _ = opened(folder, **options)
    for record in records:
        journal.append(record)


def read(folder: Path) -> list[bytes]:
    journal, records = opened(folder)
    journal.close()
    return records


def snapshot(journal: Journal, records: list[bytes]) -> None:
    made = journal.begin_snapshot()
    for record in records:
        made.add(record)
    made.finish()
    until(lambda: made.done)
    assert made.error is None


RECORDS = [b"one", b"", b"three" * 100, bytes(50), b"five"]


@pytest.mark.parametrize("sync", [False, True])
def test_what_was_appended_is_recovered_in_order(tmp_path: Path, sync: bool) -> None:
    written(tmp_path / "journal", RECORDS, sync=sync)
    assert read(tmp_path / "journal") == RECORDS


def test_a_record_may_come_in_parts(tmp_path: Path) -> None:
    journal, _ = opened(tmp_path / "journal")
    journal.append([b"head", bytearray(b"body"), memoryview(b"tail"), memoryview(bytes(16)).cast("d")])
    journal.append([bytes([n % 256]) for n in range(3000)])  # more than one system call takes
    journal.close()
    assert read(tmp_path / "journal") == [
        b"headbodytail" + bytes(16),
        bytes(n % 256 for n in range(3000)),
    ]


def test_records_go_on_over_segments_and_starts(tmp_path: Path) -> None:
    records = [os.urandom(n % 700) for n in range(300)]
    folder = tmp_path / "journal"
    for start in range(0, 300, 60):
        journal, before = opened(folder)
        assert before == records[:start]
        for record in records[start : start + 60]:
            journal.append(record)
        if start % 120:
            journal.close()
    assert read(folder) == records
    assert len(list(folder.glob("*.log"))) > 10


def test_a_record_may_be_larger_than_a_segment(tmp_path: Path) -> None:
    records = [b"a", os.urandom(5_000_000), b"b", os.urandom(100_000), b"c"]
    written(tmp_path / "journal", records)
    assert read(tmp_path / "journal") == records


def test_a_snapshot_replaces_what_was_before(tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    journal, _ = opened(folder)
    for n in range(100):
        journal.append(b"old %d" % n * 20)
    before = journal.bytes
    made = journal.begin_snapshot()
    journal.append(b"meanwhile")
    made.add(b"all")
    made.add([b"that ", b"counts"])
    made.finish()
    until(lambda: made.done)
    assert made.error is None
    journal.append(b"afterwards")
    assert journal.bytes < before / 50
    assert journal.bytes == sum(len(file.read_bytes().rstrip(b"\0")) for file in folder.iterdir())
    assert read(folder) == [b"all", b"that counts", b"meanwhile", b"afterwards"]


def test_a_closed_journal_holds_no_space_that_it_does_not_use(tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    journal, _ = opened(folder)
    journal.append(b"x")
    journal.close()
    assert sum(file.stat().st_size for file in folder.iterdir()) == journal.bytes


def test_it_must_be_read_first(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    for act in (lambda: journal.append(b""), journal.begin_snapshot, lambda: journal.room):
        with pytest.raises(RuntimeError, match="recover"):
            act()


def test_files_are_for_us_only(tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    journal, _ = opened(folder)
    journal.append(b"x")
    snapshot(journal, [b"y"])
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in folder.iterdir()} == {0o600}


def test_a_folder_that_cannot_be_made_is_named_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FolderUnusable, match=r"file.*--data-dir"):
        Journal(tmp_path / "file" / "journal")


def test_a_torn_last_record_is_dropped_wherever_it_was_torn(tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    written(folder, [b"first", b"x" * 70])
    path = folder / "0000000001.log"
    whole = path.read_bytes()
    end = len(whole.rstrip(b"\0"))
    start = whole.index(b"first") + len(b"first") + 1
    for cut in range(start, end):
        for torn in (whole[:cut], whole[:cut] + bytes(len(whole) - cut)):
            path.write_bytes(torn)
            journal, records = opened(folder)
            assert records == [b"first"]
            journal.append(b"next")
            assert read(folder) == [b"first", b"next"]
            for other in set(folder.iterdir()) - {path}:
                other.unlink()


def test_damage_in_the_middle_is_named_with_the_way_out(tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    written(folder, [b"first", b"second", b"third"])
    path = folder / "0000000001.log"
    path.write_bytes(path.read_bytes().replace(b"second", b"sXcond"))
    with pytest.raises(JournalCorrupt, match=r"0000000001\.log, at byte 70: .*`nbqueue broker --repair"):
        read(folder)


def test_a_missing_segment_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    written(folder, [os.urandom(1000)] * 30)
    (folder / "0000000003.log").unlink()
    with pytest.raises(JournalCorrupt, match=r"0000000003\.log: it is missing"):
        read(folder)


def test_a_full_disk_refuses_a_record_and_leaves_nothing_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "journal"
    journal, _ = opened(folder)
    journal.append(b"before")
    real: Callable[..., int] = os.pwritev

    def half(fd: int, parts: list[bytes], offset: int) -> int:
        real(fd, [b"".join(parts)[:20]], offset)
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwritev", half)
        with pytest.raises(JournalFull, match="No space left on device"):
            journal.append(b"lost")
        assert not journal.room
    journal.append(b"after")
    assert journal.room
    assert read(folder) == [b"before", b"after"]
