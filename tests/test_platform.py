"""What differs between systems, as far as it can be seen on this one."""

import os
import select
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from nbqueue import platform
from nbqueue.platform import FileLock, Waker


def _is_readable(waker: Waker) -> bool:
    return bool(select.select([waker], [], [], 0)[0])


@pytest.fixture
def waker() -> Waker:
    return Waker()


def test_waking_an_owner_that_is_up_costs_no_system_call(waker: Waker) -> None:
    waker.wake()
    assert not _is_readable(waker)
    waker.close()


def test_an_owner_that_was_called_before_it_sleeps_does_not_sleep(waker: Waker) -> None:
    waker.wake()
    assert not waker.arm()
    waker.disarm()
    assert waker.arm()
    waker.close()


def test_a_sleeping_owner_is_woken(waker: Waker) -> None:
    assert waker.arm()
    threading.Thread(target=waker.wake).start()
    assert select.select([waker], [], [], 5.0)[0]
    waker.drain()
    waker.disarm()
    assert not _is_readable(waker)
    waker.close()


def test_no_call_is_lost_between_two_threads(waker: Waker) -> None:
    calls, seen = 20_000, 0
    left: list[int] = []

    def call() -> None:
        for n in range(calls):
            left.append(n)
            waker.wake()

    caller = threading.Thread(target=call)
    caller.start()
    while seen < calls:
        if waker.arm() and not select.select([waker], [], [], 5.0)[0]:
            break
        if _is_readable(waker):
            waker.drain()
        waker.disarm()
        seen = len(left)
    caller.join()
    waker.close()
    assert seen == calls


def test_waking_after_the_end_does_nothing(waker: Waker) -> None:
    waker.arm()
    waker.close()
    waker.close()
    waker.wake()


def test_a_lock_is_held_by_one_and_names_him(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    first, second = FileLock(path), FileLock(path)
    assert first.acquire()
    assert not second.acquire()
    assert second.holder() == os.getpid()
    first.release()
    first.release()
    assert second.acquire()
    second.release()


def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from nbqueue.platform import FileLock;"
        " FileLock(Path(sys.argv[1])).acquire()"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "lock"], check=True)
    with FileLock(tmp_path / "lock") as lock:
        assert lock.holder() == os.getpid()


def test_this_process_is_alive_and_another_of_its_number_is_not() -> None:
    started = platform.process_started(os.getpid())
    assert platform.process_alive(os.getpid())
    assert platform.process_alive(os.getpid(), started)
    assert not platform.process_alive(os.getpid(), started - 1)


def test_a_process_that_ended_is_not_alive() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    assert not platform.process_alive(process.pid)


def test_the_boot_of_this_machine_has_a_name() -> None:
    assert platform.boot_id() == platform.boot_id() != ""


def test_a_detached_process_has_a_session_of_its_own() -> None:
    code = "import os; print(os.getsid(0) == os.getpid())"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, **platform.detached()
    )
    assert done.stdout == b"True\n"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ties a process to its parent")
def test_a_child_that_asked_for_it_dies_with_its_parent() -> None:
    child = (
        "import os, time; from nbqueue.platform import die_with_parent; die_with_parent();"
        " print(os.getpid(), flush=True); time.sleep(60)"
    )
    parent = f"import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', {child!r}]); p.wait()"
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        child_fd = os.pidfd_open(pid)
        process.kill()
    assert select.select([child_fd], [], [], 10.0)[0]
    os.close(child_fd)


def test_it_stands_on_the_lowest_floor() -> None:
    code = "import sys, nbqueue.platform; print([n for n in sys.modules if n.startswith('nbqueue.')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert done.stdout.strip() == "['nbqueue._version', 'nbqueue.platform']"


def test_memory_files_do_without_memfd(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a Python that was built for an old libc."""
    monkeypatch.delattr(os, "memfd_create", raising=False)
    fd = platform.memory_file(b"content")
    try:
        assert os.pread(fd, 100, 0) == b"content"
    finally:
        os.close(fd)


def test_what_one_call_does_not_write_is_written_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real: Callable[..., int] = os.pwritev
    monkeypatch.setattr(os, "pwritev", lambda fd, parts, at: real(fd, [b"".join(parts)[:7]], at))
    with (tmp_path / "file").open("wb", buffering=0) as file:
        platform.write_at(file.fileno(), [b"0123456789", b"", bytearray(b"abcdefghij")], 5)
    assert (tmp_path / "file").read_bytes() == bytes(5) + b"0123456789abcdefghij"


def test_preallocated_space_is_there_and_reads_as_zeros(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w+b", buffering=0) as file:
        file.write(b"before")
        platform.preallocate(file.fileno(), 1 << 20)
    assert (tmp_path / "file").read_bytes() == b"before" + bytes((1 << 20) - 6)
    assert (tmp_path / "file").stat().st_blocks * 512 >= 1 << 20


def test_space_is_preallocated_by_writing_where_there_is_no_call_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "other")
    monkeypatch.delattr(os, "posix_fallocate")
    with (tmp_path / "file").open("w+b", buffering=0) as file:
        file.write(b"before")
        platform.preallocate(file.fileno(), (3 << 20) + 5)
    assert (tmp_path / "file").read_bytes() == b"before" + bytes((3 << 20) - 1)


def test_a_containers_share_of_memory_counts(tmp_path, monkeypatch):
    share = tmp_path / "memory.max"
    monkeypatch.setattr(platform, "_MEMORY_LIMITS", (str(share),))
    whole = platform.memory_size()
    assert whole > 2**20
    share.write_text("max\n")
    assert platform.memory_size() == whole
    share.write_text("1048576\n")
    assert platform.memory_size() == 2**20
