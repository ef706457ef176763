"""``app.events``: what happens at a broker, as it happens, with Celery's names.

::

    broker ── Events ─▶ I/O thread ─▶ Stream (bounded) ─▶ for event in app.events(): …

The broker makes events only while a stream is open.  One that is read too slowly loses the oldest; an event
of type ``events-lost`` then says how many.
"""

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, Self

from nbqueue.client.client import Client
from nbqueue.client.monitor import State
from nbqueue.exceptions import TimeoutError

Event = dict[str, Any]

#: events that wait to be read
KEPT: Final = 50_000
#: the type of the event that says that some were lost; its field ``count`` says how many
LOST: Final = "events-lost"


class Stream:
    """An iterator over events.  Close it (or leave its ``with``, or forget it) when nobody reads any more."""

    def __init__(self, client: Client, types: Iterable[str] | None, timeout: float | None) -> None:
        self.types = None if types is None else sorted(set(types))
        self._client = client
        self._timeout = timeout
        self._waiting: deque[Event] = deque()
        self._lost = 0
        self._news = threading.Condition()
        self._closed = False
        client.listen(self)

    def put(self, events: list[Event], lost: int) -> None:
        """More events, from the I/O thread."""
        with self._news:
            self._lost += lost
            for event in events:
                if self.types is None or event["type"] in self.types:
                    self._waiting.append(event)
            while len(self._waiting) > KEPT:
                self._waiting.popleft()
                self._lost += 1
            self._news.notify()

    def __iter__(self) -> Iterator[Event]:
        return self

    def __next__(self) -> Event:
        """The next event.

        Raises
        ------
        StopIteration
            There was none for ``timeout`` seconds, or the stream was closed.
        ConnectionLostError
            The broker is gone.
        """
        event = self.take(self._timeout)
        if event is None:
            self.close()
            raise StopIteration
        return event

    def take(self, timeout: float | None = None) -> Event | None:
        """The next event, None if there is none within ``timeout`` seconds."""
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        with self._news:
            while not (self._waiting or self._lost or self._closed):
                left = min(0.5, deadline - time.monotonic())
                if left <= 0:
                    return None
                if not self._news.wait(left):
                    self._client.check()
            if self._lost:
                lost, self._lost = self._lost, 0
                return {"type": LOST, "timestamp": time.time(), "count": lost}
            return self._waiting.popleft() if self._waiting else None

    def close(self) -> None:
        """Hear of no more."""
        if not self._closed:
            self._closed = True
            self._client.unlisten(self)
            with self._news:
                self._news.notify()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class Receiver:
    """Celery's form: ``Receiver(handlers={"task-failed": on_failure, "*": on_any}).capture()``."""

    def __init__(self, client: Callable[[], Client], handlers: Mapping[str, Callable[[Event], Any]]) -> None:
        self.handlers = dict(handlers)
        self._client = client

    def capture(self, limit: int | None = None, timeout: float | None = None, wakeup: bool = True) -> None:
        """Call the handlers with ``limit`` events, or for ever.

        Raises
        ------
        TimeoutError
            There was none for ``timeout`` seconds.
        """
        types = None if "*" in self.handlers else self.handlers
        count = 0
        with Stream(self._client(), types, None) as stream:
            while limit is None or count < limit:
                event = stream.take(timeout)
                if event is None:
                    raise TimeoutError(f"no event for {timeout:g} s")
                count += 1
                handler = self.handlers.get(event["type"]) or self.handlers.get("*")
                if handler is not None:
                    handler(event)


class Events:
    """``app.events``."""

    def __init__(self, client: Callable[[], Client]) -> None:
        self._client = client

    def __call__(self, types: str | Iterable[str] | None = None, timeout: float | None = None) -> Stream:
        """Events of these types, or all, from now on: ``for event in app.events(): …``

        The iteration ends when there was none for ``timeout`` seconds; None: never.
        """
        return Stream(self._client(), [types] if isinstance(types, str) else types, timeout)

    def Receiver(  # noqa: N802 - Celery's name
        self, connection: Any = None, handlers: Mapping[str, Callable[[Event], Any]] | None = None, **_: Any
    ) -> Receiver:
        """Events passed to functions by type, ``"*"`` for all others; ``connection`` is not needed."""
        return Receiver(self._client, handlers or {})

    def State(self, *args: Any, **kwargs: Any) -> State:  # noqa: N802 - Celery's name
        """What is known from events that it is given: ``state.event(event)``; see :class:`State`."""
        return State(*args, **kwargs)
