"""One executor process, as its supervisor sees it: started, watched, told to drain, killed.

Two threads wait for what it does (its last words on standard error, its end), and tell the
supervisor's loop that there is something to look at.
"""

import contextlib
import itertools
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from typing import IO, Final

import msgspec

from nbqueue.platform import cores, importable
from nbqueue.wire.keys import Connection
from nbqueue.worker.lifeline import DRAIN, READY, queues_line
from nbqueue.worker.logfile import LogFile, is_own
from nbqueue.worker.options import ExecutorOptions, WorkerOptions
from nbqueue.worker.slot import Slot

#: bytes of its standard error that are kept for the report of its death
TAIL: Final = 4096
#: seconds that its standard error may take to arrive after its end
LAST_WORDS: Final = 0.2

#: how numeric libraries are told the number of their threads
THREAD_VARIABLES: Final = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)

#: ru_maxrss is in bytes on macOS, in KiB elsewhere
_MEMORY_UNIT: Final = 1 if sys.platform == "darwin" else 1024


#: numbers of executors in the names of log files, that are taken
_indices: Final[set[int]] = set()


class Child:
    """A running executor.  ``on_change`` is called in other threads when it became ready or ended."""

    def __init__(
        self,
        options: WorkerOptions,
        worker_id: str,
        on_change: Callable[[], None],
        broker: Connection | None = None,
    ) -> None:
        self.id = os.urandom(8).hex()
        #: the lowest number that no other one has
        self.index = next(n for n in itertools.count(1) if n not in _indices)
        _indices.add(self.index)
        self.slot = Slot.create(options.slots)
        #: the broker has welcomed it
        self.ready = False
        #: None while it runs; minus the signal's number if a signal ended it
        self.exit_code: int | None = None
        #: bytes, known at its end
        self.peak_memory = 0
        self._on_change = on_change
        self._tail = b""
        self._reaping = threading.Lock()
        with contextlib.ExitStack() as undo:
            undo.callback(self.slot.close_file)
            self._lifeline, theirs = socket.socketpair()
            undo.callback(self._lifeline.close)
            with theirs:
                self._process = _spawn(theirs, self.slot.fd, environment(options, os.environ))
            undo.pop_all()
        own = ExecutorOptions(
            worker=options, worker_id=worker_id, executor_id=self.id, slot=self.slot.fd, broker=broker
        )
        self._tell(msgspec.json.encode(own) + b"\n")
        self._pass_on: Callable[[bytes], object] = lambda data: os.write(2, data)
        if is_own(options.logfile):
            self._pass_on = LogFile(options.logfile, options.nodename, self.index).write
        self.slot.close_file()
        assert self._process.stderr is not None
        self._reader = _thread(self._read, self._process.stderr, name=f"stderr of {self.pid}")
        _thread(self._wait, name=f"end of {self.pid}")

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def last_words(self) -> str:
        """The end of what it wrote to standard error."""
        return self._tail.decode(errors="replace").strip()

    def drain(self) -> None:
        """Let it finish what it runs, give back the rest, and end."""
        self._tell(DRAIN)

    def consume(self, queues: list[str]) -> None:
        """Let it serve these queues from now on."""
        self._tell(queues_line(queues))

    def send_signal(self, number: int) -> None:
        """To it and the processes that its task has started; nothing when it has ended."""
        with self._reaping:
            if self.exit_code is None:
                _signal_group(self.pid, number)

    def _tell(self, line: bytes) -> None:
        with contextlib.suppress(OSError):  # it has just died, which _wait notices too
            self._lifeline.sendall(line)

    def _read(self, pipe: IO[bytes]) -> None:
        while data := os.read(pipe.fileno(), 65536):
            self._tail = (self._tail + data)[-TAIL:]
            with contextlib.suppress(OSError):  # our own standard error may be gone
                self._pass_on(data)
        pipe.close()

    def _wait(self) -> None:
        with contextlib.suppress(OSError):
            if self._lifeline.recv(len(READY)):
                self.ready = True
                self._on_change()
        os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        self._reader.join(LAST_WORDS)
        # its pid cannot be another's before it is reaped: nobody signals it from here on
        with self._reaping:
            self._reap()
        self._lifeline.close()
        _indices.discard(self.index)
        self._on_change()

    def _reap(self) -> None:
        info = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        if info is not None and (info.si_code != os.CLD_EXITED or info.si_status != 0):
            _signal_group(self.pid, signal.SIGKILL)  # whatever its task has left running
        _, status, usage = os.wait4(self.pid, 0)
        self.peak_memory = usage.ru_maxrss * _MEMORY_UNIT
        self.exit_code = self._process.returncode = os.waitstatus_to_exitcode(status)


def environment(options: WorkerOptions, inherited: Mapping[str, str]) -> dict[str, str]:
    """An executor's environment: BLAS and OpenMP threads = cores ÷ executors, unless set."""
    threads = str(max(1, cores() // (options.processes * options.slots)))
    return importable({**dict.fromkeys(THREAD_VARIABLES, threads), **inherited})


def _spawn(lifeline: socket.socket, slot: int, env: Mapping[str, str]) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        # -P: a `queue.py` or `random.py` in the folder must not hide the library's
        [sys.executable, "-P", "-m", "nbqueue.worker.executor"],
        stdin=lifeline.fileno(),
        stderr=subprocess.PIPE,
        pass_fds=(slot,),
        env=env,
        start_new_session=True,  # Ctrl-C in a terminal is for the supervisor
    )


def _signal_group(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def _thread(target: Callable[..., None], *args: object, name: str) -> threading.Thread:
    thread = threading.Thread(target=target, args=args, name=name, daemon=True)
    thread.start()
    return thread
