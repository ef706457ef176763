"""A file in the place of standard output and standard error: ``--logfile``.

All that a worker's processes say passes through the supervisor's standard error, so the file is the
supervisor's, unless its name has ``%i`` or ``%I``: then each executor has one of its own.  A file that was
moved away (logrotate) is opened anew within a heartbeat.
"""

import contextlib
import os
import re
import socket
import threading
import time
from typing import Final

from nbqueue.exceptions import ConfigurationError

#: seconds between two looks whether the file is still the one of that name
PERIOD: Final = 2.0


class LogFile:
    """The file of one process; ``index`` 0 is the supervisor.

    Raises
    ------
    ConfigurationError
        It cannot be written.
    """

    def __init__(self, template: str, nodename: str, index: int = 0) -> None:
        self.path = path_of(template, nodename, index)
        self.fd = self._open()

    def _open(self) -> int:
        try:
            return os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        except OSError as error:
            raise ConfigurationError(f"logfile {self.path}: {error.strerror}") from error

    def take_over(self) -> None:
        """Make it this process' standard output and standard error, also after it was moved away."""
        self._redirect()
        threading.Thread(target=self._watch, name="nbqueue logfile", daemon=True).start()

    def write(self, data: bytes) -> None:
        """Append, to the file that has the name now."""
        self.follow()
        os.write(self.fd, data)

    def follow(self) -> bool:
        """Open it anew if it is not the file of that name any more; returns whether that was so."""
        with contextlib.suppress(OSError):
            if os.path.samestat(os.fstat(self.fd), os.stat(self.path)):
                return False
        try:
            new = self._open()
        except ConfigurationError:  # nobody can be told: go on with the old one
            return False
        old, self.fd = self.fd, new
        os.close(old)
        return True

    def _redirect(self) -> None:
        for stream in (1, 2):
            os.dup2(self.fd, stream)

    def _watch(self) -> None:
        while True:
            time.sleep(PERIOD)
            if self.follow():
                self._redirect()


def is_own(template: str) -> bool:
    """Whether each executor has a file of its own."""
    return "%i" in template or "%I" in template


def path_of(template: str, nodename: str, index: int = 0) -> str:
    """The name with its parts put in: ``%n`` and ``%h`` are the node's name and host, as in Celery."""
    name, _, host = nodename.partition("@")
    host = host or socket.gethostname()
    parts = {
        "%h": host,
        "%n": name,
        "%d": host.partition(".")[2],
        "%p": nodename,
        "%i": str(index),
        "%I": f"-{index}" if index else "",
        "%%": "%",
    }
    return re.sub("%[hndpiI%]", lambda found: parts[found[0]], template)
