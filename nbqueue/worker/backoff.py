"""How long to wait before something that keeps failing is tried again."""


class Backoff:
    """Delays that double with each failure, and begin anew after a time without one.  All in seconds."""

    def __init__(self, first: float, longest: float, healthy: float) -> None:
        self._first = first
        self._longest = longest
        self._healthy = healthy
        self._delay = 0.0
        self._failed_at = 0.0

    def failed(self, now: float) -> float:
        """Count a failure; returns for how long to wait.

        Several at the same time, before the wait for the first is over, count as one.
        """
        since, self._failed_at = now - self._failed_at, now
        if not self._delay or since - self._delay > self._healthy:
            self._delay = self._first
        elif since >= self._delay:
            self._delay = min(2 * self._delay, self._longest)
        return self._delay
