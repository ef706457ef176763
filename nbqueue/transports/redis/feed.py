"""Events of everything, over Redis: whoever does something says so, if anybody listens.

::

    Listen ─▶ listeners ─ "listeners" ─▶ every link: from now on it makes events     (core.feed)
       ▲                                   │
       └──────────── "events" ─────────────┘    a batch at the end of each turn

While nobody listens, it costs the look at one attribute.  A listener that is gone without a word counts for
no longer than its entry says.
"""

from collections.abc import Sequence
from typing import Any, Final, Protocol

from nbqueue import messages as m
from nbqueue.core.executors import ExecutorState, WorkerState
from nbqueue.core.feed import BATCH, Teller
from nbqueue.core.settings import BrokerSettings
from nbqueue.transports.redis.names import Names
from nbqueue.transports.redis.records import Sealed
from nbqueue.transports.redis.wire import Word

#: the channel on which it is told that somebody listens, or no more, or that a worker is silent
CHANNEL: Final = "listeners"
EVENTS: Final = "events"


class Talks(Protocol):
    """What it needs of a desk."""

    names: Names
    sealed: Sealed
    settings: BrokerSettings

    @property
    def now(self) -> float: ...
    def subscribe(self, *channels: str) -> None: ...
    def publish(self, channel: str, message: bytes) -> None: ...
    def command(self, name: bytes, key: str, *arguments: Word) -> Any: ...


class Publisher(Teller):
    """See the module's docstring; Redis' time is Unix time."""

    def __init__(self, desk: Talks) -> None:
        super().__init__(0.0)
        self._desk = desk
        self.channel = desk.names(CHANNEL).encode()
        #: workers of which no events are told
        self.silent: set[str] = set()
        #: what is to be told at the end of the turn
        self.waiting: list[dict[str, Any]] = []
        self._until = 0.0

    def begin(self) -> None:
        """Hear from now on whether anybody listens."""
        self._desk.subscribe(CHANNEL)
        self.refresh()

    def refresh(self) -> None:
        """Look whether anybody listens, and of whom."""
        last = self._desk.command(b"ZRANGE", "listeners", -1, -1, "WITHSCORES")
        self._until = float(last[0][1]) if last else 0.0
        self.on = self._until > self._desk.now
        silent = self._desk.command(b"SMEMBERS", "silent") if self.on else ()
        self.silent = {id.decode(errors="replace") for id in silent}

    def tell(self, event: dict[str, Any]) -> None:
        self.waiting.append(event)

    def flush(self) -> None:
        """Tell them."""
        if self._desk.now > self._until:
            self.refresh()
        waiting, self.waiting = self.waiting, []
        if not self.on:
            return
        for start in range(0, len(waiting), BATCH):
            batch = m.Events(waiting[start : start + BATCH])
            self._desk.publish(EVENTS, self._desk.sealed.events([batch]))

    def of_worker(self, type: str, hello: m.Hello, load: Sequence[float] = ()) -> None:
        """``worker-online``, ``worker-heartbeat``, ``worker-offline``."""
        desk = self._desk
        worker = WorkerState(hello.id, desk.now)
        worker.hello, worker.load = hello, list(load)
        counts = desk.command(b"HVALS", f"total:{hello.id}")
        worker.total = {"": sum(int(count) for count in counts if count.isdigit())}
        for seat in desk.command(b"HKEYS", f"executors:{hello.id}"):
            executor = ExecutorState(hello, worker)
            worker.executors[seat] = executor
            if desk.command(b"EXISTS", f"held:{seat.decode(errors='surrogateescape')}"):
                executor.held[0] = None  # type: ignore[assignment]  # what it is nobody asks
        self.worker(type, worker, desk.now, desk.settings.worker_heartbeat)
