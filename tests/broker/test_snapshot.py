"""Compaction: wherever it is interrupted, the old state or the new one is whole on disk."""

import contextlib
import errno
import os
import random
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nbqueue import platform
from nbqueue.broker.errors import JournalFull
from nbqueue.broker.journal import Journal
from tests.broker.journals import failing, files, opened, read, snapshot
from tests.broker.running import until

OLD = [b"old %d" % n + bytes(300) for n in range(40)]
NEW = [b"new %d" % n for n in range(1000)]
MEANWHILE = [b"meanwhile %d" % n for n in range(20)]

#: every way in which a snapshot touches the disk
STEPS: list[tuple[Any, str]] = [
    (os, "open"),
    (platform, "write_at"),
    (platform, "sync_data"),
    (platform, "sync_folder"),
    (Path, "replace"),
    (Path, "unlink"),
]


def at_each_step(monkeypatch: pytest.MonkeyPatch, act: Callable[[str], None]) -> None:
    """Call that in the snapshot's thread before each step and after it."""

    def wrap(owner: Any, name: str) -> None:
        real = getattr(owner, name)

        def step(*arguments: Any, **named: Any) -> Any:
            ours = threading.current_thread().name == "nbqueue-snapshot"
            if ours:
                act(f"before {name}")
            result = real(*arguments, **named)
            if ours:
                act(f"after {name}")
            return result

        monkeypatch.setattr(owner, name, step)

    for owner, name in STEPS:
        wrap(owner, name)


def copy(source: Path, target: Path) -> None:
    """A copy as of now, by calls that are not watched."""
    target.mkdir(0o700)
    for name, content in files(source).items():
        with open(target / name, "wb") as file:
            file.write(content)


def test_a_crash_at_any_step_leaves_the_old_state_or_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "journal"
    journal, _ = opened(folder)
    for turn in OLD:
        journal.append(turn)
    steps: list[str] = []

    def crash(step: str) -> None:
        copy(folder, tmp_path / f"crash {len(steps)}")
        steps.append(step)

    with monkeypatch.context() as patched:
        made = journal.begin_snapshot()
        at_each_step(patched, crash)
        for turn in MEANWHILE:
            journal.append(turn)
        for turn in NEW:
            made.add(turn)
        made.finish()
        until(lambda: made.done)
    states = [read(tmp_path / f"crash {n}") for n in range(len(steps))]
    replaced = steps.index("after replace")
    assert all(state == OLD + MEANWHILE for state in states[:replaced])
    assert all(state == NEW + MEANWHILE for state in states[replaced:])
    assert steps.count("before unlink") > 3
    # nothing of the old state is gone before the new one lasts
    assert (
        steps.index("after sync_data")
        < replaced
        < steps.index("after sync_folder")
        < steps.index("before unlink")
    )


@pytest.mark.parametrize("step", [name for _, name in STEPS if name != "unlink"])
def test_a_step_that_fails_leaves_the_journal_whole_and_the_next_snapshot_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    folder = tmp_path / "journal"
    journal, _ = opened(folder)
    for turn in OLD:
        journal.append(turn)

    def fail(now: str) -> None:
        if now == f"before {step}":
            raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched:
        at_each_step(patched, fail)
        made = journal.begin_snapshot()
        for turn in NEW:
            made.add(turn)
        made.finish()
        until(lambda: made.done)
    assert made.error is not None
    assert not list(folder.glob("*.part"))
    journal.append(b"x")
    shutil.copytree(folder, tmp_path / "copy")
    assert read(tmp_path / "copy") in ([*OLD, b"x"], [*NEW, b"x"])
    snapshot(journal, NEW)
    assert read(folder) == NEW


def test_what_is_left_of_a_crash_is_cleaned_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "journal"
    journal, _ = opened(folder)
    for turn in OLD:
        journal.append(turn)
    (folder / "0000000009.snapshot.part").write_bytes(b"half")
    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", lambda *_, **__: None)
        snapshot(journal, NEW)
    assert (folder / "0000000001.log").exists()
    again, turns = opened(folder)
    assert turns == NEW
    names = set(files(folder))
    assert "0000000001.log" not in names
    assert "0000000009.snapshot.part" not in names
    again.close()


def test_what_is_given_up_leaves_the_old_state(tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    journal, _ = opened(folder)
    for turn in OLD:
        journal.append(turn)
    made = journal.begin_snapshot()
    made.add(b"new")
    journal.append(b"x")
    journal.close()
    assert made.done
    assert not list(folder.glob("*snapshot*"))
    assert read(folder) == [*OLD, b"x"]


def test_a_mistake_in_the_thread_is_an_error_of_the_snapshot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal, _ = opened(tmp_path / "journal")
    journal.append(b"old")
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    made = journal.begin_snapshot()
    made._turns.put(3)
    made.finish()
    until(lambda: made.done)
    assert made.error is not None
    assert read(tmp_path / "journal") == [b"old"]


def test_one_at_a_time(tmp_path: Path) -> None:
    journal, _ = opened(tmp_path / "journal")
    made = journal.begin_snapshot()
    with pytest.raises(RuntimeError, match="already"):
        journal.begin_snapshot()
    made.finish()
    with pytest.raises(RuntimeError, match="finished"):
        made.add(b"late")
    until(lambda: made.done)
    snapshot(journal, [b"next"])
    assert read(tmp_path / "journal") == [b"next"]


def test_many_snapshots_without_turns_between_leave_one(tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    journal, _ = opened(folder)
    for n in range(5):
        snapshot(journal, [b"%d" % n])
    assert read(folder) == [b"4"]
    assert len(list(folder.glob("*.snapshot"))) == 1


def test_the_owner_waits_for_a_slow_disk_and_only_hands_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal, _ = opened(tmp_path / "journal")
    disk = threading.Event()
    with monkeypatch.context() as patched:
        at_each_step(patched, lambda step: disk.wait(20) and None)
        made = journal.begin_snapshot()
        turn = bytes(1 << 20)
        added = 0
        while not made.busy:
            made.add(turn)
            added += 1
        assert 8 <= added <= 12
        journal.append(b"goes on")
        disk.set()
        until(lambda: not made.busy)
        made.finish()
        until(lambda: made.done)
    assert read(tmp_path / "journal") == [turn] * added + [b"goes on"]


def test_turns_of_a_snapshot_that_has_failed_are_not_kept_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal: Journal
    journal, _ = opened(tmp_path / "journal")

    def fail(now: str) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched, contextlib.suppress(OSError):
        at_each_step(patched, fail)
        made = journal.begin_snapshot()
        until(lambda: made.done)
    for _ in range(100):
        made.add(bytes(1 << 20))
        assert not made.busy
    made.finish()
    assert made.error is not None


@pytest.mark.parametrize("seed", range(20))
def test_whatever_happens_in_whatever_order_what_was_taken_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Each snapshot repeats all that was taken: so the truth is always the same list, once or summed up."""
    chance = random.Random(seed)
    folder = tmp_path / "journal"
    sync = seed % 2 == 0
    journal, _ = opened(folder, sync=sync)
    truth: list[bytes] = []
    #: refused, but could not be cut off: a death before the next append may leave one of them there
    doubtful: list[bytes] = []
    for number in range(100):
        what = chance.choice(["append"] * 12 + ["snapshot", "give up", "fail", "fail sync", "kill", "close"])
        turn = b"%d " % number + bytes(chance.choice([0, 10, 500, 3000, 9000]))
        if what == "append":
            journal.append(turn, essential=chance.random() < 0.5)
            truth.append(turn)
            doubtful = []
        elif what == "snapshot":
            snapshot(journal, truth)
        elif what.startswith("fail"):
            broken = {"fdatasync": 0} if what == "fail sync" and sync else {"pwritev": chance.choice([0, 30])}
            if chance.random() < 0.5:
                broken["ftruncate"] = 0
            with monkeypatch.context() as patched:
                for call, after in broken.items():
                    patched.setattr(os, call, failing(errno.EIO, after=after))
                with pytest.raises(JournalFull):
                    journal.append(turn)
            doubtful += [turn] * ("ftruncate" in broken)
        else:
            if what == "give up":
                journal.begin_snapshot().add(turn)
            if what != "kill":
                journal.close()
                doubtful = []
            del journal
            journal, found = opened(folder, sync=sync)
            assert found == truth or (found[:-1] == truth and found[-1] in doubtful)
            truth, doubtful = found, []
