"""The data folder: one broker at a time, and boot numbers that never come twice."""

import errno
import os
from pathlib import Path

import pytest

from nbqueue import platform
from nbqueue.broker import home as home_module
from nbqueue.broker.errors import DataFolderInUse, FolderUnusable
from nbqueue.broker.home import Home
from nbqueue.core.permissions import WORKER
from nbqueue.wire import keyring


def test_each_start_has_the_next_boot_number(tmp_path: Path) -> None:
    for expected in (1, 2, 3):
        home = Home(tmp_path / "new")
        assert home.boot == expected
        home.leave()


def test_the_boot_number_is_on_disk_before_it_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (synced.append(os.readlink(f"/proc/self/fd/{fd}")), real(fd)))
    Home(tmp_path).leave()
    assert [Path(name).name for name in synced[:2]] == [f".boot.{os.getpid()}", tmp_path.name]


def test_keys_stay_over_restarts(tmp_path: Path) -> None:
    first = Home(tmp_path)
    first.leave()
    second = Home(tmp_path)
    second.leave()
    assert first.ring == second.ring


def test_a_second_broker_is_told_who_has_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(home_module, "_PARTING", 0.05)
    home = Home(tmp_path)
    with pytest.raises(DataFolderInUse, match=rf"pid {os.getpid()}\).*--data-dir"):
        Home(tmp_path)
    home.leave()
    Home(tmp_path).leave()


def test_a_damaged_boot_number_is_not_started_over(tmp_path: Path) -> None:
    (tmp_path / "boot").write_text("x")
    with pytest.raises(FolderUnusable, match="should hold a number"):
        Home(tmp_path)


def test_keys_are_read_again_when_their_file_was_changed(tmp_path: Path) -> None:
    home = Home(tmp_path)
    first = home.ring
    assert home.reread_ring() is None
    keyring.find_or_add(tmp_path, "gpu", WORKER)
    assert home.reread_ring() == first
    assert home.ring.get("gpu") is not None
    assert home.reread_ring() is None
    keyring.path(tmp_path).touch()
    assert home.reread_ring() is None
    home.leave()


def test_a_full_disk_is_named_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, content: bytes) -> None:
        raise OSError(errno.ENOSPC, f"{path} cannot be written: No space left on device")

    monkeypatch.setattr(platform, "write_private", full)
    with pytest.raises(FolderUnusable, match=r"boot cannot be written: No space left.*--data-dir"):
        Home(tmp_path)


def test_a_folder_that_cannot_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FolderUnusable, match="--data-dir"):
        Home(tmp_path / "file" / "folder")
