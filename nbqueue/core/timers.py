"""Things to be done at a time: one heap.

A timer is never taken out: what it asks for is checked again when it fires, against the token that
it was set for.
"""

import heapq
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

DUE: Final = "due"  # a scheduled task may run
EXPIRY: Final = "expiry"  # a task that has not started will not
SOFT_LIMIT: Final = "soft limit"
HARD_LIMIT: Final = "hard limit"
KILL: Final = "kill"  # a run that is over for its task has had time to end
RATE: Final = "rate"  # a task of a limited name may start
ORDER: Final = "order"  # workers have had time to answer


class Timer(NamedTuple):
    at: float
    number: int  # timers of the same time fire in the order in which they were set
    kind: str
    #: of the task; of the executor for KILL, of the order for ORDER; a task's name for RATE
    id: str
    token: int


class Timers:
    def __init__(self) -> None:
        self._heap: list[Timer] = []
        self._number = 0

    def set(self, at: float, kind: str, id: str, token: int = 0) -> None:
        self._number += 1
        heapq.heappush(self._heap, Timer(at, self._number, kind, id, token))

    def next(self) -> float | None:
        return self._heap[0].at if self._heap else None

    def __len__(self) -> int:
        return len(self._heap)

    def keep(self, wanted: Callable[[Timer], bool]) -> None:
        """Drop the others."""
        self._heap = [timer for timer in self._heap if wanted(timer)]
        heapq.heapify(self._heap)

    def due(self, now: float) -> Iterator[Timer]:
        """Take out what is due; timers that are set meanwhile are seen too."""
        while self._heap and self._heap[0].at <= now:
            yield heapq.heappop(self._heap)
