"""How much more can be written down: the driver says what fits, and what is kept takes its part."""

import math


class Room:
    """Bytes that new tasks and definitions may take; without limit until the driver says otherwise."""

    def __init__(self) -> None:
        self._left = math.inf
        self._trouble = ""

    def set(self, left: float, trouble: str) -> None:
        """So many bytes are left, and for that reason there are no more."""
        self._left, self._trouble = left, trouble

    def lack(self, size: int) -> str:
        """Why something of that size cannot be kept, "" if it can."""
        if size <= self._left:
            return ""
        return (
            self._trouble or f"the broker's disk has room for {self._left:,.0f} bytes, and this is {size:,}"
        )

    def take(self, size: int) -> None:
        """Something of that size is kept."""
        self._left -= size

    def claim(self, size: int) -> str:
        """Take so much if it is there; why it is not, "" if it is."""
        lack = self.lack(size)
        if not lack:
            self.take(size)
        return lack
