"""Eight bytes that an executor shares with its supervisor: the token of the lease that it runs.

The memory outlives the process, so that the supervisor can tell which task was running when it died.
"""

import mmap
import os
from typing import Final

from nbqueue.platform import memory_file

_SIZE: Final = 8


class Slot:
    """The slot in an open file of eight bytes; see :meth:`create`."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._memory = memoryview(mmap.mmap(fd, _SIZE)).cast("Q")

    @classmethod
    def create(cls) -> "Slot":
        """A new one, in a file without a name: pass its ``fd`` on to the process."""
        fd = memory_file(bytes(_SIZE))
        try:
            return cls(fd)
        except OSError:
            os.close(fd)
            raise

    @property
    def token(self) -> int:
        """The lease that runs, 0 for none."""
        return self._memory[0]

    @token.setter
    def token(self, token: int) -> None:
        self._memory[0] = token

    def close_file(self) -> None:
        """Let go of the file; the memory stays."""
        os.close(self.fd)
