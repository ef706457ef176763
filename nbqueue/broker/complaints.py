"""A log of what strangers do, which they cannot fill."""

import logging
import time
from typing import Final

log = logging.getLogger("nbqueue.broker")

#: Seconds for which the same complaint is not repeated.
_QUIET: Final = 60.0
#: Different complaints remembered; past them, all is forgotten and may be said again.
_REMEMBERED: Final = 1000


class Complaints:
    """Warnings about peers, each at most once a minute."""

    def __init__(self) -> None:
        self._said: dict[str, float] = {}

    def warn(self, text: str) -> None:
        now = time.monotonic()
        if now - self._said.get(text, -_QUIET) < _QUIET:
            return
        if len(self._said) >= _REMEMBERED:
            self._said.clear()
        self._said[text] = now
        log.warning("%s", text)
