"""Output that the broker may not have heard: said again when a connection has broken.

Each piece is sent once, and is not acknowledged.  But what is said on a link arrives in order, so the
answer to a Ping proves that all before it has arrived; what came after it is kept::

    Output 1   Output 2   Ping ──▶        ◀── Pong: 1 and 2 were heard
    Output 3 ──▶  the connection breaks      Hello, Output 3 again, …

The broker knows pieces by their numbers: one that it has heard does no harm.
"""

from collections import deque
from collections.abc import Iterable
from typing import Final

from nbqueue.messages import AnyMessage, Output

#: characters that are kept; past them the oldest go
LIMIT: Final = 2**20


class Unheard:
    """See the module's docstring.  ``limit`` in characters."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        #: pieces, each with the number of pings that went before it
        self._pieces: deque[tuple[int, Output]] = deque()
        self._size = 0
        self._pings = 0
        self._pongs = 0

    @property
    def pieces(self) -> list[Output]:
        """All that may not have been heard, oldest first."""
        return [piece for _, piece in self._pieces]

    def sent(self, messages: Iterable[AnyMessage]) -> None:
        """These were sent."""
        for message in messages:
            if isinstance(message, Output):
                self._pieces.append((self._pings, message))
                self._size += len(message.text)
        while self._size > self._limit:
            self._drop()

    def pinged(self) -> None:
        """A Ping was sent."""
        self._pings += 1

    def ponged(self) -> None:
        """A Pong came; the broker may also send one of its own accord, when none is due."""
        if self._pongs == self._pings:
            return
        self._pongs += 1
        while self._pieces and self._pieces[0][0] < self._pongs:
            self._drop()

    def start_over(self) -> None:
        """The connection broke: pings under way will not be answered, and all is to be said again."""
        self._pongs = self._pings
        self._pieces = deque((self._pings, piece) for _, piece in self._pieces)

    def _drop(self) -> None:
        _, piece = self._pieces.popleft()
        self._size -= len(piece.text)
