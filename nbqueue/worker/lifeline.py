"""What ties an executor to its supervisor: a socket pair, and a request to the kernel.

The supervisor writes the options as one line, later perhaps ``queues a,b`` and ``drain``; the executor writes
``ready``.
End of file on it means that the supervisor is gone: the executor ends at once, whatever it is doing,
because nobody would see it die or hang.
"""

import contextlib
import json
import os
import socket
import threading
from collections.abc import Callable
from typing import Final

from nbqueue.platform import die_with_parent

READY: Final = b"ready\n"
DRAIN: Final = b"drain\n"
QUEUES: Final = b"queues "
#: exit codes of an executor whose supervisor died, of one whose options cannot be, and of one that has run as
#: many tasks, or grown as large, as it may
ORPHANED: Final = 75
MISCONFIGURED: Final = 78
RETIRED: Final = 79


class Lifeline:
    """The executor's end, which it gets as standard input."""

    def __init__(self, fd: int) -> None:
        self._socket = socket.socket(fileno=fd)
        self._file = self._socket.makefile("rb")
        self._told = False

    @classmethod
    def of_process(cls) -> "Lifeline":
        """Take standard input for it, and leave the tasks an empty one."""
        fd = os.dup(0)
        with open(os.devnull, "rb") as nothing:
            os.dup2(nothing.fileno(), 0)
        die_with_parent()
        return cls(fd)

    def options(self) -> bytes:
        """The first line; b"" when the supervisor is gone."""
        return self._file.readline()

    def ready(self) -> None:
        """Tell the supervisor that this executor can be given tasks.  Once is enough."""
        if self._told:
            return
        self._told = True
        with contextlib.suppress(OSError):  # it is gone, which the other thread sees too
            self._socket.sendall(READY)

    def watch(self, drain: Callable[[], None], consume: Callable[[list[str]], None]) -> None:
        """From now on do what the supervisor says, in a thread of its own."""
        threading.Thread(
            target=self._watch, args=(drain, consume), name="nbqueue lifeline", daemon=True
        ).start()

    def _watch(self, drain: Callable[[], None], consume: Callable[[list[str]], None]) -> None:
        with contextlib.suppress(OSError):
            while line := self._file.readline():
                if line == DRAIN:
                    drain()
                elif line.startswith(QUEUES):
                    consume(queues_in(line))
        os._exit(ORPHANED)


def queues_line(queues: list[str]) -> bytes:
    """What the supervisor writes when an executor is to serve these queues."""
    return QUEUES + json.dumps(queues).encode() + b"\n"


def queues_in(line: bytes) -> list[str]:
    """The queues of such a line."""
    return [str(queue) for queue in json.loads(line.removeprefix(QUEUES))]
