"""What differs between Linux, macOS and Windows, in one module.

Everything else in nbqueue asks here: how to wake a thread that waits on sockets, how to lock a file,
which machine this is since when, whether a process still lives, and how a process is set apart from
its parent or tied to it.  Linux is measured; what the others do is written down here and nowhere else.
"""

import contextlib
import mmap
import os
import signal
import socket
import stat
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

#: Longest path of a unix socket, in bytes (sun_path less its final zero).
MAX_SOCKET_PATH: Final = 107 if sys.platform == "linux" else 103

#: Whether zmq's ``ipc://`` is there.
HAS_IPC: Final = sys.platform != "win32"

#: The folder that holds this very package.
_PACKAGE_ROOT: Final = str(Path(__file__).resolve().parents[1])


# ── waking a thread ──────────────────────────────────────────────────────────────────────────────


class Waker:
    """Lets any thread end one thread's wait on sockets, for a system call only when it really sleeps.

    The owner waits like this, with :meth:`fileno` among what it polls::

        if waker.arm():
            poll(...)
        waker.disarm()

    ``wake`` sets its flag before it looks whether the owner sleeps, and ``arm`` says that the owner
    sleeps before it looks at the flag: whichever comes second sees the other.  One call is enough for
    a sleep: until the owner is really up, which takes it long next to a busy thread, others only leave
    their flag.
    """

    def __init__(self) -> None:
        self._called = False
        self._armed = False
        self._reader, self._writer = _wake_pair()

    def fileno(self) -> int:
        return self._reader

    def wake(self) -> None:
        """End the owner's wait, or its next one.  Safe from any thread and from signal handlers."""
        self._called = True
        if self._armed:
            self._armed = False
            # a full pipe wakes just as well; a closed one has nobody to wake
            with contextlib.suppress(OSError):
                os.write(self._writer, b"\1\0\0\0\0\0\0\0")

    def arm(self) -> bool:
        """The owner is about to sleep; False if it was called and must not."""
        self._armed = True
        return not self._called

    def disarm(self) -> None:
        """The owner is up, and will look at everything that callers have left for it."""
        self._armed = False
        self._called = False

    def drain(self) -> None:
        """Forget what was written; for an owner whose poll found :meth:`fileno` readable."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._reader, 4096)

    def close(self) -> None:
        """Let go of the descriptors; closing twice is allowed."""
        reader, writer = self._reader, self._writer
        self._reader = self._writer = -1
        for fd in {reader, writer} - {-1}:
            _close_descriptor(fd)


if sys.platform == "linux":

    def _wake_pair() -> tuple[int, int]:
        fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        return fd, fd

    _close_descriptor = os.close
else:

    def _wake_pair() -> tuple[int, int]:
        reader, writer = socket.socketpair()
        for end in (reader, writer):
            end.setblocking(False)
        return reader.detach(), writer.detach()

    def _close_descriptor(fd: int) -> None:
        socket.close(fd)


def cores() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


#: where a container's share of memory stands: control groups of version 2, and of version 1
_MEMORY_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def memory_size() -> int:
    """Bytes of memory that the processes of this machine, or of this container, may use; 0 if unknown."""
    try:
        size = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        import psutil  # on Windows

        size = psutil.virtual_memory().total
    for path in _MEMORY_LIMITS:
        try:
            size = min(size, int(Path(path).read_text("ascii")))
        except (OSError, ValueError):  # no container, or "max"
            continue
    return size


def load_average() -> list[float]:
    """Processes that run or want to, over the last 1, 5 and 15 minutes; nothing where that is not counted."""
    try:
        return [round(load, 2) for load in os.getloadavg()]
    except (AttributeError, OSError):
        return []


def listens(path: str) -> bool:
    """Whether somebody answers on a unix socket: the file alone may be left over, or of another container."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(path) == 0


def in_forked_children(call: Callable[[], object]) -> None:
    """Call this in each child that is forked from this process, where there is fork."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=call)


def free_bytes(folder: Path) -> int:
    """Room on the disk of a folder, for us."""
    if hasattr(os, "statvfs"):
        found = os.statvfs(folder)
        return found.f_bavail * found.f_frsize
    import shutil  # 10 ms to load

    return shutil.disk_usage(folder).free


# ── files ────────────────────────────────────────────────────────────────────────────────────────


class FileLock:
    """One process at a time holds it; the system lets go of it when the process ends, however it ends.

    ``with FileLock(path):`` waits for it; :meth:`acquire` does not.  The file stays, unless its holder
    calls :meth:`remove`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = -1

    def acquire(self, *, wait: bool = False) -> bool:
        """Take the lock and write our pid into the file; False if another process has it.

        Raises
        ------
        OSError
            The file cannot be opened or written.
        """
        while True:
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                if not _lock(fd, wait):
                    os.close(fd)
                    return False
                if self._is_ours(fd):
                    os.ftruncate(fd, 0)
                    os.write(fd, b"%d\n" % os.getpid())
                    self._fd = fd
                    return True
                os.close(fd)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.close(fd)
                raise

    def _is_ours(self, fd: int) -> bool:
        """Whether the open file is still the one of that name: its last holder may have removed it."""
        try:
            return os.path.samestat(os.fstat(fd), os.stat(self.path))
        except FileNotFoundError:
            return False

    def holder(self) -> int:
        """The pid that was written by whoever has the lock; 0 if there is none to read."""
        try:
            return int(self.path.read_text())
        except (OSError, ValueError):
            return 0

    def release(self) -> None:
        """Let go; the file stays."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def remove(self) -> None:
        """Let go, and leave no file; whoever opened it just before finds out that it is gone."""
        self.path.unlink(missing_ok=True)
        self.release()

    def __enter__(self) -> Self:
        self.acquire(wait=True)
        return self

    def __exit__(self, *exc: object) -> None:
        self.release()


if sys.platform == "win32":
    import msvcrt

    def _lock(fd: int, wait: bool) -> bool:
        # far behind the pid, which others may read: Windows' locks keep readers out too
        os.lseek(fd, 1 << 30, os.SEEK_SET)
        while True:
            try:
                # LK_LOCK gives up after ten seconds
                msvcrt.locking(fd, msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)
            except OSError:
                if not wait:
                    return False
            else:
                os.lseek(fd, 0, os.SEEK_SET)
                return True

else:
    import fcntl

    def _lock(fd: int, wait: bool) -> bool:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            return False
        return True


def runtime_base() -> Path:
    """Where this user's short-lived files go: in ``$XDG_RUNTIME_DIR`` if that is usable, else where temporary
    files do."""
    xdg = os.environ.get("XDG_RUNTIME_DIR", "")
    if xdg and os.path.isabs(xdg) and os.access(xdg, os.W_OK | os.X_OK):
        return Path(xdg, "nbqueue")
    return Path(os.environ.get("TMPDIR") or os.environ.get("TEMP") or "/tmp", f"nbqueue-{user_id()}")


def user_id() -> str:
    """What tells this user from others of the machine."""
    return os.environ.get("USERNAME", "user") if sys.platform == "win32" else str(os.getuid())


def private_folder(path: Path) -> Path:
    """Make a folder that only we can use, or see that it is one.

    Raises
    ------
    PermissionError
        There is something of that name that others own, can write to, or that is no folder.
    OSError
        It cannot be made.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if sys.platform != "win32":
        found = path.lstat()
        if not stat.S_ISDIR(found.st_mode):
            raise PermissionError(f"{path} is not a folder (a link, perhaps): remove it")
        if found.st_uid != os.getuid():
            raise PermissionError(f"{path} belongs to user {found.st_uid}, not to us")
        if found.st_mode & 0o077:
            raise PermissionError(
                f"{path} is open to other users (mode {found.st_mode & 0o777:o}): chmod 700 it"
            )
    return path


def write_private(path: Path, content: bytes) -> None:
    """Put a file in place, whole and lasting, that only we can read; or leave what was there.

    Raises
    ------
    OSError
        The disk is full or the folder is not ours to write; the message names the file.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.unlink(missing_ok=True)
        _write_new(temporary, content)
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise OSError(error.errno, f"{path} cannot be written: {error.strerror}") from None


def _write_new(path: Path, content: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(fd, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(fd)


def sync_folder(path: Path) -> None:
    """Make new names in it last, where folders can be synced."""
    if sys.platform != "win32":
        fd = os.open(path, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


#: For ``os.open``, where there are text files.
O_BINARY: Final[int] = getattr(os, "O_BINARY", 0)

#: What can be written to a file.
Buffer = bytes | bytearray | memoryview


def write_at(fd: int, parts: Sequence[Buffer], offset: int) -> None:
    """Write all of the parts, one behind the other, at that place of a file; in one system call if possible.

    Raises
    ------
    OSError
        Some of it may have been written.
    """
    written = _write_once(fd, parts, offset)
    total = sum(map(len, parts))
    if written == total:
        return
    # a signal or a limit came between: what is missing is written, or says why it cannot be
    rest = memoryview(b"".join(parts))
    while written < total:
        written += _write_once(fd, [rest[written:]], offset + written)


if sys.platform == "win32":

    def _write_once(fd: int, parts: Sequence[Buffer], offset: int) -> int:
        os.lseek(fd, offset, os.SEEK_SET)
        return os.write(fd, b"".join(parts))

else:
    #: Buffers that one call takes (IOV_MAX).
    _MOST_PARTS: Final = 1024

    def _write_once(fd: int, parts: Sequence[Buffer], offset: int) -> int:
        return os.pwritev(fd, parts if len(parts) <= _MOST_PARTS else [b"".join(parts)], offset)


def preallocate(fd: int, size: int) -> None:
    """Have the file be that large, with disk behind every byte: writing into it will find room.

    What is there stays; what is added reads as zeros.

    Raises
    ------
    OSError
        There is no room; the file may have grown by a part.
    """
    if sys.platform == "linux":
        os.posix_fallocate(fd, 0, size)
    else:
        # nothing of that kind on macOS and Windows: written zeros are slower, and hold the place as well
        block = bytes(1 << 20)
        for offset in range(os.fstat(fd).st_size, size, len(block)):
            write_at(fd, [block[: size - offset]], offset)


def sync_data(fd: int) -> None:
    """Return when what was written to the file would survive a power failure.

    Raises
    ------
    OSError
        It may not; the system may have dropped what could not be written, and would not say so again.
    """
    if sys.platform == "linux":
        os.fdatasync(fd)  # without the times, which nobody needs
    elif sys.platform == "darwin":
        fcntl.fcntl(fd, fcntl.F_FULLFSYNC)  # its fsync leaves data in the drive's cache
    else:
        os.fsync(fd)


def sync_file(path: Path) -> None:
    """The same for everything that was written to a file so far, by whomever."""
    fd = os.open(path, os.O_RDWR | O_BINARY)
    try:
        sync_data(fd)
    finally:
        os.close(fd)


def memory_file(content: bytes) -> int:
    """A file without a name for processes to share, in memory where the system can; its descriptor.

    Raises
    ------
    OSError
        There is no descriptor or no space left: mapped memory of the file will not find out later.
    """
    fd = _nameless()
    try:
        os.write(fd, content)
    except OSError:
        os.close(fd)
        raise
    return fd


def _nameless() -> int:
    # a Python that was built for an old libc has no memfd
    if sys.platform == "linux" and hasattr(os, "memfd_create"):
        return os.memfd_create("nbqueue")
    import tempfile  # 4 ms, and others do without

    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


# ── machine and processes ────────────────────────────────────────────────────────────────────────


def boot_id() -> str:
    """Names this run of this machine, as far as process ids and socket paths mean the same; "" if unknown.

    Containers of one machine that do not see each other's processes have different ones.
    """
    try:
        return _boot_id()
    except OSError:
        return ""


def process_started(pid: int) -> float:
    """When a process started, in a unit of the system's own: tells a reused pid apart; 0.0 if there is none.

    A zombie counts as ended.
    """
    return _process_started(pid)


if sys.platform == "linux":

    def _boot_id() -> str:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{os.readlink('/proc/self/ns/pid')}"

    def _process_started(pid: int) -> float:
        try:
            line = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            return 0.0
        # after the command's name in parentheses, which may hold anything: state is field 3, starttime 22
        fields = line[line.rindex(")") + 2 :].split()
        return 0.0 if fields[0] in "ZX" else float(fields[19])

else:

    def _boot_id() -> str:
        import subprocess  # slow to load

        command = ["sysctl", "-n", "kern.bootsessionuuid"]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()

    def _process_started(pid: int) -> float:
        import psutil  # takes 20 ms to load, and Linux does without

        try:
            process = psutil.Process(pid)
            return 0.0 if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
        except psutil.Error:
            return 0.0


def process_alive(pid: int, started: float = 0.0) -> bool:
    """Whether a process runs and, with ``started`` (see :func:`process_started`), is still the same one."""
    found = process_started(pid)
    return found != 0.0 and started in (0.0, found)


def detached() -> dict[str, Any]:
    """Arguments of ``subprocess.Popen`` for a process that outlives its parent and the parent's terminal."""
    if sys.platform == "win32":
        import subprocess  # Windows' constants only

        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW}
    return {"start_new_session": True}


def importable(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment for a child process that is to run the nbqueue that we run, installed or not."""
    if _is_packages(_PACKAGE_ROOT):
        return {**environment}
    paths = [_PACKAGE_ROOT, *environment.get("PYTHONPATH", "").split(os.pathsep)]
    return {**environment, "PYTHONPATH": os.pathsep.join(path for path in dict.fromkeys(paths) if path)}


def import_from(folder: str) -> None:
    """Import from that folder too, as its notebook would, but never instead of the standard library."""
    if folder not in sys.path:
        packages = (i for i, path in enumerate(sys.path) if _is_packages(path))
        sys.path.insert(next(packages, len(sys.path)), folder)


def _is_packages(path: str) -> bool:
    return path.endswith(("site-packages", "dist-packages"))


def die_with_parent() -> None:
    """Have this process killed when the thread that started it ends (Linux; elsewhere nothing happens)."""
    if sys.platform != "linux":
        return
    import ctypes  # 10 ms to load; only executors call this

    PR_SET_PDEATHSIG = 1  # noqa: N806 - <linux/prctl.h>
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def file_limit() -> int:
    """How many files this process may have open, connections included."""
    if sys.platform == "win32":
        return 1 << 20
    import resource  # not on Windows

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft if soft != resource.RLIM_INFINITY else 1 << 20


def raise_file_limit() -> None:
    """Allow this process as many open files as it may have: each connection is one."""
    if sys.platform != "win32":
        import resource  # not on Windows

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = hard if hard != resource.RLIM_INFINITY else 1 << 20
        # macOS refuses what is above a limit that it does not tell
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(wanted, 1 << 20)), hard))


def local_zone() -> str:
    """What this machine calls its time zone, from TZ or the link /etc/localtime: an IANA name if all is well;
    "" if it has none, as on Windows."""
    if named := os.environ.get("TZ", "").lstrip(":"):
        return named
    with contextlib.suppress(OSError):
        return os.readlink("/etc/localtime").partition("zoneinfo/")[2]
    return ""


# ── memory ───────────────────────────────────────────────────────────────────────────────────────


def large_buffer(size: int) -> memoryview:
    """Room for so many bytes, in large pages where there are any: touching 100 MB for the first time takes
    60 ms in small ones."""
    if size == 0:
        return memoryview(bytearray())
    room = mmap.mmap(-1, size)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # a kernel that has none
            room.madvise(mmap.MADV_HUGEPAGE)
    return memoryview(room)
