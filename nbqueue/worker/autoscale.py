"""How many executors a worker should have, by how busy those are that it has.

It looks several times a second which of them run something.  When all were found at work, and most of the
time, for ``RISE`` seconds, half as many more are wanted; those that nobody needed for ``FALL`` seconds go.
"""

from collections.abc import Collection, Hashable
from typing import Final

#: seconds between two looks
LOOK: Final = 0.1
#: seconds of full work after which there are more
RISE: Final = 1.0
#: the part of all looks at which an executor is found at work that counts as full: even one that never
#: rests is between two tasks now and then
FULL: Final = 0.6
#: seconds of too little work after which there are fewer, as in Celery
FALL: Final = 30.0


class Autoscaler:
    """Between ``least`` and ``most`` executors."""

    def __init__(self, most: int, least: int) -> None:
        self.most = most
        self.least = least
        self._began: float | None = None
        self._looks = 0
        self._busy = 0
        #: found at work since it began to count
        self._seen: set[Hashable] = set()
        #: since when so many would have been enough
        self._enough_since: float | None = None
        self._needed = 0

    def look(self, now: float, busy: Collection[Hashable], count: int) -> int:
        """Of ``count`` executors, these are busy at this moment; returns how many there should be."""
        if count < self.least or count > self.most:
            self._start_over()
            return min(self.most, max(self.least, count))
        return self._fewer(now, len(busy), count) or self._more(now, busy, count) or count

    def _more(self, now: float, busy: Collection[Hashable], count: int) -> int:
        if self._began is None:
            self._began = now
        self._looks += count
        self._busy += len(busy)
        self._seen.update(busy)
        if now - self._began < RISE:
            return 0
        full = self._busy >= FULL * self._looks and len(self._seen) >= count
        self._start_over()
        return min(self.most, count + max(1, count // 2)) if full else 0

    def _fewer(self, now: float, busy: int, count: int) -> int:
        if busy >= count:
            self._enough_since = None
            return 0
        if self._enough_since is None:
            self._enough_since, self._needed = now, busy
        self._needed = max(self._needed, busy)
        if now - self._enough_since < FALL:
            return 0
        self._enough_since = None
        # one more than was needed, or all would be at work, and it would grow again
        return min(count, max(self.least, self._needed + 1))

    def _start_over(self) -> None:
        self._began, self._looks, self._busy = None, 0, 0
        self._seen.clear()
