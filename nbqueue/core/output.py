"""What a task printed, put together from pieces that may come out of order, and bounded.

A run has two links to the broker, so its last pieces may overtake earlier ones; each piece has a
number.  Past the limit the middle is dropped: the beginning says what was done, the end how it went.
"""

from bisect import insort

from nbqueue.messages import Output


class OutputLog:
    """The pieces of one task's output, in order of (lease token, number)."""

    __slots__ = ("_dropped", "_limit", "_size", "pieces")

    def __init__(self, limit: int) -> None:
        #: in order
        self.pieces: list[Output] = []
        self._limit = limit
        self._size = 0
        self._dropped = 0

    def add(self, piece: Output) -> None:
        """Take a piece in; one that is there already is left out."""
        if not self.pieces or _order(piece) > _order(self.pieces[-1]):
            self.pieces.append(piece)
        elif any(_order(p) == _order(piece) for p in self.pieces):
            return
        else:
            insort(self.pieces, piece, key=_order)
        self._size += len(piece.text)
        while self._size > self._limit and len(self.pieces) > 2:
            self._drop_middle()

    def _drop_middle(self) -> None:
        # the first half of the limit stays as the beginning
        kept, index = 0, 0
        while index < len(self.pieces) - 2 and kept <= self._limit // 2:
            kept += len(self.pieces[index].text)
            index += 1
        gone = self.pieces.pop(index)
        self._size -= len(gone.text)
        self._dropped += len(gone.text)

    @property
    def text(self) -> str:
        """Everything as one text, with a mark where something was dropped."""
        if not self._dropped:
            return "".join(p.text for p in self.pieces)
        # dropped pieces leave a gap in the numbers
        parts: list[str] = []
        last: Output | None = None
        for piece in self.pieces:
            if last is not None and last.token == piece.token and piece.seq > last.seq + 1:
                parts.append(f"\n… {self._dropped} characters of output dropped …\n")
            parts.append(piece.text)
            last = piece
        return "".join(parts)


def _order(piece: Output) -> tuple[int, int]:
    return (piece.token, piece.seq)
