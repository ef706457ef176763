"""Memory that an executor shares with its supervisor: a token, of eight bytes, for each lease that it runs.

The memory outlives the process, so that the supervisor can tell which tasks were running when it died.
"""

import mmap
import os
from typing import Final

from nbqueue.platform import memory_file

_SIZE: Final = 8


class Slot:
    """The places in an open file of eight bytes for each; see :meth:`create`."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._memory = memoryview(mmap.mmap(fd, os.fstat(fd).st_size)).cast("Q")

    @classmethod
    def create(cls, places: int = 1) -> "Slot":
        """A new one, in a file without a name: pass its ``fd`` on to the process."""
        fd = memory_file(bytes(_SIZE * places))
        try:
            return cls(fd)
        except OSError:
            os.close(fd)
            raise

    @property
    def token(self) -> int:
        """The lease that runs in the first place, 0 for none."""
        return self._memory[0]

    @token.setter
    def token(self, token: int) -> None:
        self._memory[0] = token

    @property
    def tokens(self) -> list[int]:
        """Of all that runs."""
        return [token for token in self._memory if token]

    def put(self, place: int, token: int) -> None:
        """What runs in that place, 0 for nothing."""
        self._memory[place] = token

    def close_file(self) -> None:
        """Let go of the file; the memory stays."""
        os.close(self.fd)
