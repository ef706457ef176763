"""What a task printed, put together from pieces that may come out of order, and bounded.

Each piece of a run has a number, so that pieces which come twice or overtake one another find their
place.  Past the limit the middle is dropped: the beginning says what was done, the end how it went.
"""

from bisect import bisect_left, insort
from collections import deque
from typing import Final

from nbqueue.messages import Output

#: what a piece costs beside its text, in characters
PIECE: Final = 100


class OutputLog:
    """The pieces of one task's output, in order of (lease token, number), within ``limit`` characters."""

    __slots__ = ("_dropped", "_head", "_head_size", "_limit", "_tail", "_tail_size")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        #: the first half, which stays
        self._head: list[Output] = []
        self._head_size = 0
        #: the second half, whose oldest pieces go
        self._tail: deque[Output] = deque()
        self._tail_size = 0
        self._dropped = 0

    @property
    def pieces(self) -> list[Output]:
        """What is kept, in order."""
        return [*self._head, *self._tail]

    @property
    def size(self) -> int:
        """Characters that keeping it costs, about."""
        return self._head_size + self._tail_size

    def add(self, piece: Output) -> None:
        """Take a piece in; one that is there already is left out."""
        newest = self._tail[-1] if self._tail else self._head[-1] if self._head else None
        if newest is not None and _order(piece) <= _order(newest):
            self._insert(piece)
        elif not self._tail and self._head_size + _cost(piece) <= self._limit // 2:
            self._head.append(piece)
            self._head_size += _cost(piece)
        else:
            self._tail.append(piece)
            self._tail_size += _cost(piece)
            self._shorten()

    def _insert(self, piece: Output) -> None:
        """A piece that was overtaken; rare, and never far from its place."""
        half: list[Output] | deque[Output] = self._head
        if self._tail and (not self._head or _order(piece) > _order(self._head[-1])):
            half = self._tail
        place = bisect_left(half, _order(piece), key=_order)
        if place < len(half) and _order(half[place]) == _order(piece):
            return
        insort(half, piece, key=_order)
        if half is self._head:
            self._head_size += _cost(piece)
        else:
            self._tail_size += _cost(piece)
            self._shorten()

    def _shorten(self) -> None:
        while self._tail_size > self._limit // 2 and len(self._tail) > 1:
            gone = self._tail.popleft()
            self._tail_size -= _cost(gone)
            self._dropped += len(gone.text)

    @property
    def text(self) -> str:
        """Everything as one text, with a mark where something was dropped."""
        # copied at once: a client's threads read what its I/O thread writes
        head = "".join(p.text for p in list(self._head))
        tail = "".join(p.text for p in list(self._tail))
        if not self._dropped:
            return head + tail
        return f"{head}\n… {self._dropped:,} characters of output dropped …\n{tail}"


def _order(piece: Output) -> tuple[int, int]:
    return (piece.token, piece.seq)


def _cost(piece: Output) -> int:
    return len(piece.text) + PIECE
