"""The items of a generator task, as they are yielded: ``for item in result.stream()``.

::

    Stream(position 0, upto 64) ──▶           the worker may send so many
    ◀── Item 0, Item 1, …                     kept here until they are taken
    Stream(position 32, upto 96) ──▶          half of them are taken: go on
    every heartbeat: the same again           and whether some did not arrive

Each item comes once and in order, whatever connection, broker or worker is lost meanwhile: items have
numbers, and those of a run that had to be repeated count from where this reader is.  What has not come when
the task is done is in its result, the list of all.
"""

import asyncio
import threading
import time
import weakref
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Final

from nbqueue import current, exceptions
from nbqueue import messages as m
from nbqueue.wire import payload

#: items that may be on the way, or wait here
WINDOW: Final = 64
#: seconds between two looks whether the broker is still there
GLANCE: Final = 0.2

_END: Final = object()


class ItemStream:
    """An iterator, plain and async, over the items of the task of an AsyncResult; ``timeout`` in seconds for
    each of them.  It is closed when nobody holds it any more."""

    #: somebody reads, and the broker knows it
    is_open = False

    def __init__(self, result: Any, window: int = WINDOW, timeout: float | None = None) -> None:
        if window < 1:
            raise exceptions.ConfigurationError(f"window={window}: at least one item has to be on the way")
        self._result = result
        self._window = window
        self._timeout = timeout
        self._news = threading.Condition()
        self._arrived: deque[bytes] = deque()
        #: number of the next one to arrive, and of the next one to be taken
        self._next = 0
        self._position = 0
        #: what the broker was last told that we can take
        self._upto = 0
        #: one was missing when the next came; or nothing came since we last said that we wait
        self._gap = False
        self._heard = False
        self._on_end = _waker(self)

    # ── the reader's side ────────────────────────────────────────────────────────────────────

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        item = self._take()
        if item is _END:
            raise StopIteration
        return item

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        item = await asyncio.to_thread(self._take)
        if item is _END:
            raise StopAsyncIteration
        return item

    def close(self) -> None:
        """Read no more: the task goes on without waiting for us."""
        if self.is_open:
            self.is_open = False
            self._result.client.close_stream(self._result.id)
            self._result.record.unlisten(self._on_end)

    def __del__(self) -> None:
        try:
            self.close()
        except exceptions.NBQueueError:  # the client is closed, and the task waits for nobody then
            return

    def _take(self) -> Any:
        self._begin()
        deadline = None if self._timeout is None else time.monotonic() + self._timeout
        while True:
            with self._news:
                if self._arrived:
                    data = self._arrived.popleft()
                    self._position += 1
                    break
                if self._result.record.settled:
                    return self._rest()
                self._news.wait(GLANCE)
            self._result.client.check()
            if deadline is not None and time.monotonic() > deadline and not self._arrived:
                raise exceptions.TimeoutError(
                    f"task {self._result.id} has yielded nothing for {self._timeout:g} s"
                )
        if self._upto - self._position <= self._window // 2:
            self._result.client.pull(self._result.id)
        return payload.loads(data, self._result.client.accepted)

    def _begin(self) -> None:
        if self.is_open:
            return
        if current.run.get() is not None:
            raise RuntimeError(
                "a task must not wait for another one: it may hold the executor that the other needs"
            )
        record = self._result.known()
        self.is_open = True
        record.when_settled(self._on_end)
        self._result.client.open_stream(self._result.id, self)

    def _rest(self) -> Any:
        """After the end: what did not come, from the result."""
        self.close()
        value = self._result.get()
        if value is None or self._result.record.outcome is None:
            return _END
        if not isinstance(value, list):
            raise TypeError(f"{self._result.name}() is no generator: it returned {type(value).__name__}")
        if self._position >= len(value):
            return _END
        self._position += 1
        self._next = self._position
        return value[self._position - 1]

    # ── the I/O thread's side ────────────────────────────────────────────────────────────────

    def arrived(self, message: m.Item) -> None:
        """An item has come, perhaps not for the first time, or before one that is missing."""
        with self._news:
            if self._next < message.base:  # nobody has those any more
                self._next = self._position = message.base
            if message.position == self._next and message.value:
                self._arrived.append(message.value)
                self._next += 1
                self._heard, self._gap = True, False
                self._news.notify_all()
            elif message.position > self._next:
                self._gap = True

    def wish(self, *, renewed: bool = False) -> m.Stream:
        """What we have, and how much we can take.  ``renewed``: it is said in time, not because of news."""
        with self._news:
            self._upto = self._position + self._window
            waits = self._next < self._upto and not self._arrived
            again = renewed and (self._gap or (waits and not self._heard))
            if renewed:
                self._heard = False
            return m.Stream(self._result.id, self._position, self._upto, again)


def _waker(stream: ItemStream) -> Callable[[], None]:
    """Wakes who waits for an item, as long as there is a reader: whoever calls it must not hold him."""
    held = weakref.ref(stream)

    def wake() -> None:
        if (reader := held()) is not None:
            with reader._news:
                reader._news.notify_all()

    return wake
