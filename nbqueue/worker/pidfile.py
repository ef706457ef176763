"""A file that keeps a second worker of the same purpose from starting."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nbqueue.exceptions import ConfigurationError
from nbqueue.platform import FileLock


class AlreadyRunning(Exception):
    """Another process holds the pidfile."""


@contextmanager
def pidfile(path: str) -> Iterator[None]:
    """Hold the file for a while; one that nobody holds any more is taken over.  No path, no file.

    Raises
    ------
    AlreadyRunning
        A process that is running holds it.
    ConfigurationError
        It cannot be written.
    """
    if not path:
        yield
        return
    lock = FileLock(Path(path))
    _take(lock)
    try:
        yield
    finally:
        lock.remove()


def _take(lock: FileLock) -> None:
    try:
        taken = lock.acquire()
    except OSError as error:
        raise ConfigurationError(f"pidfile {lock.path}: {error.strerror}") from error
    if not taken:
        raise AlreadyRunning(f"{lock.path} belongs to process {lock.holder()}, which is running")
