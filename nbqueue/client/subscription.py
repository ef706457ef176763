"""Changes of many tasks, gathered and told at most so often."""

import time
from collections.abc import Callable

OnChange = Callable[[list[int]], object]


class Subscription:
    """Which of the watched results have changed since ``on_change`` was last called.

    The I/O thread collects changes and calls; :meth:`close` ends it from any thread.
    """

    def __init__(self, on_change: OnChange, interval: float) -> None:
        self._on_change = on_change
        self._interval = interval
        self._changed: set[int] = set()
        self._called_at = 0.0
        self.closed = False

    def note(self, index: int) -> None:
        self._changed.add(index)

    @property
    def due(self) -> float | None:
        """When to call next (``time.monotonic``), None if there is nothing to tell."""
        return self._called_at + self._interval if self._changed else None

    def call(self) -> None:
        """Tell what has changed."""
        changed, self._changed = self._changed, set()
        self._called_at = time.monotonic()
        if not self.closed:
            self._on_change(sorted(changed))

    def close(self) -> None:
        self.closed = True
