"""Processes of the local cluster: started detached from the kernel, told their options through a pipe.

A kernel's shutdown kills its process group, so each one gets a session of its own.  Options go
through standard input, never argv: they may hold secrets.  What a process prints goes to a log, whose
last lines say why it did not start.
"""

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import msgspec

from nbqueue import platform

#: Bytes past which a log moves aside (to ``….old``, one generation) when the next process starts.
_LOG_LIMIT = 1_000_000
_TAIL_LINES = 12
_FOREIGN_KEYS = frozenset({"NBQUEUE_KEY", "NBQUEUE_KEY_FILE"})


class Child:
    """A process of ours that outlives us unless told otherwise."""

    def __init__(self, module: str, *, cwd: Path, log: Path) -> None:
        with _open_log(log) as output:
            #: bytes of the log that are of earlier processes
            self.log_start = output.tell()
            self._process = subprocess.Popen(
                # -P: a `queue.py` or `random.py` beside the notebook must not hide the library's
                [sys.executable, "-P", "-m", module],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                cwd=cwd,
                env=_environment(),
                **platform.detached(),
            )
        # Whoever started it must collect it, or the dead process would still be there.
        threading.Thread(target=self._process.wait, name=f"{module} (reaper)", daemon=True).start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._process.poll()

    def configure(self, options: Mapping[str, Any]) -> None:
        """Hand over the options that the process waits for; :attr:`exit_code` shows one that has died."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError), self._process.stdin as pipe:
            pipe.write(msgspec.json.encode(options) + b"\n")

    def terminate(self) -> None:
        """Ask the process to end."""
        self._process.terminate()


def tail(log: Path, start: int = 0) -> str:
    """The last lines of a log, for an error message; nothing of its first ``start`` bytes."""
    try:
        lines = log.read_bytes()[start:].decode(errors="replace").splitlines()
    except OSError as error:
        return f"({error.strerror})"
    return "\n".join(lines[-_TAIL_LINES:]) or "(it is empty)"


def _open_log(log: Path) -> IO[bytes]:
    if log.exists() and log.stat().st_size > _LOG_LIMIT:
        log.replace(log.with_suffix(".log.old"))
    return open(log, "ab", opener=lambda path, flags: os.open(path, flags, 0o600))


def _environment() -> dict[str, str]:
    """Ours, without the key of another broker, and with this package where its children find it."""
    own = {name: value for name, value in os.environ.items() if name not in _FOREIGN_KEYS}
    return platform.importable(own)
