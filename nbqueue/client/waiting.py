"""What ``get()`` waits for: the end of a task and, if somebody wants to hear of it, what it says before."""

import queue
import time
from collections.abc import Callable
from datetime import timedelta
from numbers import Real
from typing import Any, TypeAlias

from nbqueue.client.records import TaskRecord
from nbqueue.states import READY_STATES

#: state and pickled meta of an ``update_state``
_Told: TypeAlias = tuple[str, bytes]


def seconds_to_wait(timeout: Any) -> float | None:
    """A timeout in seconds, None for as long as it takes; one that has passed is 0.

    Raises
    ------
    TypeError
        It is no number.
    """
    if timeout is None:
        return None
    if isinstance(timeout, timedelta):
        timeout = timeout.total_seconds()
    if isinstance(timeout, bool) or not isinstance(timeout, Real):
        raise TypeError(f"timeout is a number of seconds, or None for as long as it takes, not {timeout!r}")
    return max(0.0, float(timeout))


class News:
    """In place of a ``threading.Event`` that is set when a task is done: hands on what it says before."""

    def __init__(self, record: TaskRecord, on_news: Callable[[_Told], object]) -> None:
        self._record = record
        self._on_news = on_news
        self._told: _Told | None = None
        self._waiting: queue.SimpleQueue[_Told | None] = queue.SimpleQueue()

    def changed(self, _: object = None) -> None:
        """The record has changed; from the I/O thread."""
        told = (self._record.state, self._record.meta)
        if told != self._told and told[0] not in READY_STATES:
            self._told = told
            self._waiting.put(told)

    def set(self) -> None:
        """The task is done."""
        self._waiting.put(None)

    def wait(self, timeout: float) -> bool:
        """Whether it is done within ``timeout`` seconds; calls ``on_news`` in this thread meanwhile."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                told = self._waiting.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                return False
            if told is None:
                return True
            self._on_news(told)
