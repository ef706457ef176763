"""The journal on disk: what is written is read again, whatever happens in between, or damage is named."""

import os
import shutil
import tempfile
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbqueue.broker.errors import BrokerStartError, FolderUnusable, JournalCorrupt
from nbqueue.broker.journal import Journal
from nbqueue.broker.repair import repair
from tests.broker.journals import SMALL, files, opened, read, snapshot, written, written_end
from tests.broker.running import until

TURNS = [b"one", b"", b"three" * 100, bytes(50), b"five"]
FIRST = "0000000001.log"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "journal"


# ── what is written is read ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("sync", [False, True])
def test_what_was_appended_is_recovered_in_order(folder: Path, sync: bool) -> None:
    written(folder, TURNS, sync=sync)
    assert read(folder) == TURNS


def test_a_turn_may_come_in_parts(folder: Path) -> None:
    journal, _ = opened(folder)
    journal.append([b"head", bytearray(b"body"), memoryview(b"tail"), memoryview(bytes(16)).cast("d")])
    journal.append([bytes([n % 256]) for n in range(3000)])  # more than one system call takes
    journal.close()
    assert read(folder) == [b"headbodytail" + bytes(16), bytes(n % 256 for n in range(3000))]


def test_turns_go_on_over_segments_and_starts(folder: Path) -> None:
    turns = [os.urandom(n % 700) for n in range(300)]
    for start in range(0, 300, 60):
        journal, before = opened(folder)
        assert before == turns[:start]
        for turn in turns[start : start + 60]:
            journal.append(turn)
        if start % 120:
            journal.close()
    assert read(folder) == turns
    assert len(list(folder.glob("*.log"))) > 10


def test_a_turn_may_be_larger_than_a_segment_and_than_what_is_read_at_once(folder: Path) -> None:
    turns = [b"a", os.urandom(5_000_000), b"b", os.urandom(100_000), b"c"]
    written(folder, turns)
    assert read(folder) == turns


def test_a_turn_that_is_too_large_is_the_callers_mistake(folder: Path) -> None:
    journal, _ = opened(folder)
    with pytest.raises(ValueError, match="2,147,483,648 are allowed"):
        journal.append([memoryview(bytearray(1 << 20))] * 2049)
    with pytest.raises(ValueError, match="2,147,483,648 are allowed"):
        journal.begin_snapshot().add([memoryview(bytearray(1 << 20))] * 2049)
    journal.append(b"next")
    assert read(folder) == [b"next"]


def test_starting_again_and_again_leaves_no_files_behind(folder: Path) -> None:
    for _ in range(20):
        read(folder)
    assert files(folder) == {}


@pytest.mark.parametrize("close", [False, True])
def test_starting_again_after_a_snapshot_keeps_it(folder: Path, close: bool) -> None:
    journal, _ = opened(folder)
    journal.append(b"old")
    snapshot(journal, [b"new"])
    if close:
        journal.close()
    for _ in range(3):
        assert read(folder) == [b"new"]


def test_a_closed_journal_holds_no_space_that_it_does_not_use(folder: Path) -> None:
    journal, _ = opened(folder)
    journal.append(b"x")
    journal.close()
    assert sum(map(len, files(folder).values())) == journal.bytes


def test_space_is_set_apart_before_it_is_used(folder: Path) -> None:
    journal, _ = opened(folder, segment_bytes=1 << 20, reserve_bytes=2 << 20)
    journal.append(b"x")
    assert sum(path.stat().st_blocks * 512 for path in folder.iterdir()) >= 3 << 20


def test_space_that_a_dead_broker_had_set_apart_is_used(folder: Path) -> None:
    written(folder, [b"x"])
    before = set(files(folder))
    journal, _ = opened(folder)
    journal.append(b"y")
    assert len(set(files(folder)) - before) == 1
    assert read(folder) == [b"x", b"y"]


def test_it_must_be_read_first(folder: Path) -> None:
    journal = Journal(folder)
    for act in (lambda: journal.append(b""), journal.begin_snapshot, lambda: journal.room):
        with pytest.raises(RuntimeError, match="recover"):
            act()


def test_files_are_for_us_only(folder: Path) -> None:
    journal, _ = opened(folder)
    journal.append(b"x")
    snapshot(journal, [b"y"])
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}


def test_a_folder_that_cannot_be_made_is_named_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FolderUnusable, match=r"file.*--data-dir"):
        Journal(tmp_path / "file" / "journal")


def test_a_folder_that_others_may_write_to_is_refused(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(FolderUnusable, match="chmod 700"):
        Journal(folder)


# ── unfinished writes ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("last", [b"x" * 70, b"", bytes(70), b"x" * 69 + b"\0"])
def test_a_torn_last_turn_is_dropped_wherever_it_was_torn(folder: Path, last: bytes) -> None:
    written(folder, [b"first", last])
    path = folder / FIRST
    whole = path.read_bytes()
    start = whole.index(b"first") + len(b"first") + 1
    for cut in range(start, written_end(whole)):
        for torn in (whole[:cut], whole[:cut] + bytes(len(whole) - cut)):
            path.write_bytes(torn)
            journal, turns = opened(folder)
            assert turns == [b"first"]
            journal.append(b"next")
            assert read(folder) == [b"first", b"next"]
            for other in set(folder.iterdir()) - {path}:
                other.unlink()


def test_a_first_write_may_be_torn_in_its_header(folder: Path) -> None:
    written(folder, [b"only"])
    path = folder / FIRST
    whole = path.read_bytes()
    for cut in range(written_end(whole)):
        path.write_bytes(whole[:cut] + bytes(len(whole) - cut))
        journal, turns = opened(folder)
        assert turns == []
        journal.append(b"next")
        assert read(folder) == [b"next"]
        for other in set(folder.iterdir()) - {path}:
            other.unlink()


def test_a_last_turn_whose_middle_never_reached_the_disk_is_dropped(folder: Path) -> None:
    written(folder, [b"first", b"x" * 3000])
    path = folder / FIRST
    whole = path.read_bytes()
    for sector in range(1, 6):
        path.write_bytes(whole[: sector * 512] + bytes(512) + whole[(sector + 1) * 512 :])
        assert read(folder) == [b"first"]


def test_what_is_dropped_is_logged_with_its_size(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    written(folder, [b"first", b"second"])
    path = folder / FIRST
    whole = path.read_bytes()
    path.write_bytes(whole[: written_end(whole) - 3])
    read(folder)
    assert f"{path}: dropped an unfinished write of 28 bytes at byte 70" in caplog.text
    caplog.clear()
    read(folder)
    assert caplog.text == ""


def test_a_turn_inside_of_a_torn_one_is_not_taken_for_one(folder: Path) -> None:
    """Somebody may send the very bytes of a journal as an argument."""
    written(folder, [b"first"])
    path = folder / FIRST
    inner = path.read_bytes()
    inner = inner[40 : written_end(inner)]
    journal, _ = opened(folder)
    journal.append(b"." * 100 + inner * 20)
    path = sorted(folder.glob("*.log"))[1]
    whole = path.read_bytes()
    path.write_bytes(whole[: written_end(whole) - 30])
    assert read(folder) == [b"first"]


def with_snapshot(folder: Path) -> Path:
    """A journal that has lost its first segments to a snapshot; the snapshot's file."""
    journal, _ = opened(folder)
    for _ in range(20):
        journal.append(b"old" * 300)
    snapshot(journal, [b"new", b"newer"])
    journal.append(b"newest")
    return next(iter(folder.glob("*.snapshot")))


# ── damage ───────────────────────────────────────────────────────────────────────────────────────


def test_damage_in_the_middle_is_named_with_the_way_out(folder: Path) -> None:
    written(folder, [b"first", b"second", b"third"])
    path = folder / FIRST
    path.write_bytes(path.read_bytes().replace(b"second", b"sXcond"))
    with pytest.raises(JournalCorrupt, match=rf"{FIRST}, at byte 70: .*`nbqueue broker --repair") as caught:
        read(folder)
    assert isinstance(caught.value, BrokerStartError)
    assert caught.value.exit_code == 65


def test_a_damaged_last_turn_is_not_taken_for_an_unfinished_one(folder: Path) -> None:
    written(folder, [b"first", b"second"])
    path = folder / FIRST
    path.write_bytes(path.read_bytes().replace(b"second", b"sXcond"))
    with pytest.raises(JournalCorrupt, match="turn 2 is not as it was written"):
        read(folder)


def test_an_error_leaves_the_files_as_they_were(folder: Path) -> None:
    written(folder, [os.urandom(1000)] * 30)
    path = folder / "0000000002.log"
    path.write_bytes(path.read_bytes()[:500] + b"?" + path.read_bytes()[501:])
    before = files(folder)
    with pytest.raises(JournalCorrupt):
        read(folder)
    assert files(folder) == before


@settings(max_examples=150, deadline=None)
@given(data=st.data(), turns=st.lists(st.binary(max_size=300), min_size=2, max_size=30))
def test_a_flipped_bit_is_always_found(data: st.DataObject, turns: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made, "journal")
        written(folder, turns, segment_bytes=1024, reserve_bytes=1024)
        contents = {name: content for name, content in files(folder).items() if content.strip(b"\0")}
        name = data.draw(st.sampled_from(sorted(contents)))
        content = bytearray(contents[name])
        bit = data.draw(st.integers(0, 8 * written_end(content) - 1))
        last_turn = written_end(contents[max(contents)]) - len(turns[-1]) - 25
        content[bit // 8] ^= 1 << bit % 8
        (folder / name).write_bytes(content)
        try:
            found = read(folder)
        except JournalCorrupt:
            return
        # only a length that promises more than there is looks like a write that never came to its end
        assert (name, bit // 8 >= last_turn) == (max(contents), True)
        assert found == turns[:-1]


@pytest.mark.parametrize("number", [1, 2, 5])
def test_a_missing_segment_is_named(folder: Path, number: int) -> None:
    written(folder, [os.urandom(1000)] * 30)
    (folder / f"000000000{number}.log").unlink()
    with pytest.raises(JournalCorrupt, match=rf"000000000{number}\.log: it is missing.*--repair"):
        read(folder)


def test_a_missing_last_segment_is_named(folder: Path) -> None:
    written(folder, [os.urandom(1000)] * 10)
    used = [name for name, content in files(folder).items() if content.strip(b"\0")]
    (folder / max(used)).unlink()
    with pytest.raises(JournalCorrupt, match="it is missing"):
        read(folder)


def test_a_segment_that_has_become_zeros_is_named(folder: Path) -> None:
    written(folder, [os.urandom(1000)] * 30)
    (folder / "0000000003.log").write_bytes(bytes(4096))
    with pytest.raises(JournalCorrupt, match=r"0000000003\.log: it has lost its turns"):
        read(folder)


def test_a_segment_that_lost_its_last_turn_is_named(folder: Path) -> None:
    written(folder, [os.urandom(1000)] * 30)
    path = folder / "0000000003.log"
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(JournalCorrupt, match=r"0000000003\.log, at byte .*: turns 9 to 9 cannot be read"):
        read(folder)


def test_a_missing_snapshot_is_named(folder: Path) -> None:
    with_snapshot(folder).unlink()
    with pytest.raises(JournalCorrupt, match=r"0000000001\.log: it is missing"):
        read(folder)


def test_a_snapshot_that_lost_its_end_is_named(folder: Path) -> None:
    path = with_snapshot(folder)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(JournalCorrupt, match=rf"it is missing, and {path.name} is incomplete"):
        read(folder)


def test_a_file_of_another_journal_is_not_read(folder: Path, tmp_path: Path) -> None:
    for one in (folder, tmp_path / "other"):
        written(one, [b"x" * 1000] * 10)
    shutil.copy(tmp_path / "other" / "0000000002.log", folder)
    with pytest.raises(JournalCorrupt, match="two journals"):
        read(folder)


def test_a_journal_of_another_version_is_neither_read_nor_repaired(folder: Path) -> None:
    written(folder, TURNS)
    path = folder / FIRST
    head = b"nbqueue\2" + path.read_bytes()[8:36]
    path.write_bytes(head + zlib.crc32(head).to_bytes(4, "little") + path.read_bytes()[40:])
    before = files(folder)
    for act in (lambda: read(folder), lambda: repair(folder.parent)):
        with pytest.raises(FolderUnusable, match="another version of nbqueue"):
            act()
    assert files(folder) == before


# ── compaction ───────────────────────────────────────────────────────────────────────────────────


def test_a_snapshot_replaces_what_was_before(folder: Path) -> None:
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
    assert journal.bytes == sum(
        written_end(content[content.find(b"meanwhile") - 24 :] if name.endswith(".log") else content)
        for name, content in files(folder).items()
        if content.strip(b"\0")
    )
    assert read(folder) == [b"all", b"that counts", b"meanwhile", b"afterwards"]


def test_what_a_snapshot_replaces_of_its_segment_is_not_needed(folder: Path) -> None:
    journal, _ = opened(folder)
    journal.append(b"old")
    snapshot(journal, [b"new"])
    path = folder / FIRST
    path.write_bytes(path.read_bytes()[:60])
    for n in range(3):
        again, turns = opened(folder)
        assert turns == [b"new", *(b"%d" % m for m in range(n))]
        again.append(b"%d" % n)


def test_bytes_are_the_same_after_a_start(folder: Path) -> None:
    journal, _ = opened(folder)
    for n in range(50):
        journal.append(b"x" * n * 10)
    snapshot(journal, [b"x"] * 10)
    journal.append(b"y")
    again = Journal(folder, **SMALL)
    assert list(again.recover()) == [b"x"] * 10 + [b"y"]
    assert again.bytes == journal.bytes
