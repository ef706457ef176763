"""What a broker keeps in its data folder: the lock, the boot number, its keys, its connection file.

::

    broker.lock   held for life, with the pid in it: one broker a folder
    boot          how often a broker started here; the upper half of every lease token
    keys.json     made at the first start, changed by `nbqueue key`; keys.lock while somebody does
    port          where it listened last: a broker that may choose takes the same again, so that those who
                  were connected find it without looking
    broker.json   while it listens; also in the runtime folder, by port
"""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from nbqueue import platform
from nbqueue.broker.errors import DataFolderInUse, FolderUnusable
from nbqueue.wire import keyring, keys
from nbqueue.wire.keyring import KeyRing
from nbqueue.wire.keys import Connection

#: Seconds that a broker may take between being no longer found and being gone.
_PARTING: Final = 3.0


class Home:
    """A data folder that is ours until :meth:`leave`.

    Raises
    ------
    DataFolderInUse
        Another broker lives there.
    FolderUnusable
        It cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = platform.FileLock(folder / "broker.lock")
        self._written: list[Path] = []
        with _explained():
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._claim()
            self.boot = self._next_boot()
            self.ring: KeyRing = keyring.ensure(folder)
            self._ring_state = self._look()

    def _claim(self) -> None:
        """Take the lock; one that is held by a broker which cannot be found is about to be let go of."""
        patience = time.monotonic() + _PARTING
        while not self._lock.acquire():
            if keys.running(self.folder) is not None or time.monotonic() > patience:
                raise DataFolderInUse(
                    f"a broker runs already with the data folder {self.folder} (pid {self._lock.holder()}):"
                    " use that one, or name another folder with --data-dir"
                )
            time.sleep(0.01)

    def _next_boot(self) -> int:
        """Count this start, on disk before it is used: no lease token is ever issued twice."""
        path = self.folder / "boot"
        try:
            last = int(path.read_text())
        except FileNotFoundError:
            last = 0
        except ValueError:
            raise FolderUnusable(f"{path} should hold a number; restore it or remove the folder") from None
        platform.write_private(path, b"%d\n" % (last + 1))
        return last + 1

    @property
    def last_port(self) -> int:
        """Where the last broker of this folder listened; 0 if that is not known."""
        try:
            port = int((self.folder / "port").read_text())
        except (OSError, ValueError):  # then another port will do
            return 0
        return port if 0 < port < 65536 else 0

    def _look(self) -> tuple[int, int] | None:
        """What tells one state of the file of keys from another, None while there is none."""
        try:
            stat = keyring.path(self.folder).stat()
        except OSError:
            return None
        return stat.st_ino, stat.st_mtime_ns

    def reread_ring(self) -> KeyRing | None:
        """Have :attr:`ring` be what the file of keys holds now; returns the one before, if that was another.

        Raises
        ------
        ConfigurationError, OSError
            It cannot be read; the keys from before still count.
        """
        state = self._look()
        if state == self._ring_state:
            return None
        ring = keyring.read(self.folder)
        self._ring_state = state
        before, self.ring = self.ring, ring
        return before if before != ring else None

    def announce(self, connection: Connection) -> None:
        """Write the connection files: from now on, the broker can be found."""
        if connection.ipc:
            self._written.append(Path(connection.ipc))  # zmq leaves it there
        with _explained():
            platform.write_private(self.folder / "port", b"%d\n" % connection.port)
            for path in (keys.brokers_dir() / f"{connection.port}.json", self.folder / "broker.json"):
                keys.write_connection(path, connection)
                self._written.append(path)

    def withdraw(self) -> None:
        """Remove the connection files: nobody new finds the broker, and none is started in its place.

        One that breaks down leaves them, as one that is killed does: so others see that it died.
        """
        for path in self._written:
            path.unlink(missing_ok=True)
        self._written.clear()

    def leave(self) -> None:
        """Let another broker in."""
        self._lock.release()


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise FolderUnusable(
            f"{reason}: make room or get access there, or name other folders with --data-dir and"
            " NBQUEUE_RUNTIME_DIR"
        ) from error
