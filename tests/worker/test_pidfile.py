"""One worker a pidfile."""

import os

import pytest

from nbqueue import platform
from nbqueue.exceptions import ConfigurationError
from nbqueue.worker.pidfile import AlreadyRunning, pidfile


def test_the_file_holds_the_pid_and_goes_at_the_end(tmp_path):
    path = tmp_path / "w.pid"
    with pidfile(str(path)):
        assert path.read_text() == f"{os.getpid()}\n"
    assert not path.exists()


def test_a_second_worker_is_told_who_the_first_is(tmp_path):
    path = tmp_path / "w.pid"
    with (
        pidfile(str(path)),
        pytest.raises(AlreadyRunning, match=f"process {os.getpid()}"),
        pidfile(str(path)),
    ):
        pass
    with pidfile(str(path)):
        assert path.exists()


def test_a_file_that_its_last_holder_removes_meanwhile_is_made_anew(tmp_path, monkeypatch):
    path = tmp_path / "w.pid"
    path.touch()
    lock = platform._lock

    def late(fd, wait):
        if not gone:
            gone.append(path.unlink())
        return lock(fd, wait)

    gone = []
    monkeypatch.setattr(platform, "_lock", late)
    with pidfile(str(path)):
        assert path.read_text() == f"{os.getpid()}\n"


def test_a_file_that_cannot_be_made_is_a_configuration_error_with_its_path(tmp_path):
    with (
        pytest.raises(ConfigurationError, match=r"nowhere/w\.pid: No such file"),
        pidfile(f"{tmp_path}/nowhere/w.pid"),
    ):
        pass


@pytest.mark.parametrize("content", ["999999999\n", "", "garbage", "1\n"])
def test_a_stale_file_is_taken_over(tmp_path, content):
    path = tmp_path / "w.pid"
    path.write_text(content)
    with pidfile(str(path)):
        assert path.read_text() == f"{os.getpid()}\n"


def test_without_a_path_there_is_no_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pidfile(""):
        assert list(tmp_path.iterdir()) == []
