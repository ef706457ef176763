"""A file that keeps a second worker of the same purpose from starting."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class AlreadyRunning(Exception):
    """Another process holds the pidfile; ``pid`` is its."""

    def __init__(self, path: Path, pid: int) -> None:
        super().__init__(f"{path} belongs to process {pid}, which is running")
        self.pid = pid


@contextmanager
def pidfile(path: str) -> Iterator[None]:
    """Hold the file for a while; a stale one is taken over.  No path, no file.

    Raises
    ------
    AlreadyRunning
        Its process is alive.
    """
    if not path:
        yield
        return
    file = Path(path)
    _take(file)
    try:
        yield
    finally:
        file.unlink(missing_ok=True)


def _take(file: Path) -> None:
    while True:
        try:
            with file.open("x") as new:
                new.write(f"{os.getpid()}\n")
            return
        except FileExistsError:
            _remove_stale(file)


def _remove_stale(file: Path) -> None:
    text = file.read_text().strip() if file.exists() else ""
    if text.isdigit() and _alive(int(text)):
        raise AlreadyRunning(file, int(text))
    file.unlink(missing_ok=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
