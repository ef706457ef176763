"""Waiting for what other threads and processes do."""

import time
from collections.abc import Callable
from typing import Any


def until(
    condition: Callable[[], Any], what: str | Callable[[], Any] = "waited in vain", timeout: float = 20.0
) -> Any:
    """Look until it is so, and return what was found; fail after so many seconds, and say ``what`` is not."""
    deadline = time.monotonic() + timeout
    while not (found := condition()):
        assert time.monotonic() < deadline, what() if callable(what) else what
        time.sleep(0.02)
    return found
