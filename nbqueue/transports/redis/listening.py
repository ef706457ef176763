"""A client that listens to events: what it is told of, and what it says so that others tell."""

from collections.abc import Sequence

from nbqueue import messages as m
from nbqueue.transports.redis.desk import Desk
from nbqueue.transports.redis.feed import CHANNEL, EVENTS


class Listening:
    """See the module's docstring."""

    def __init__(self, desk: Desk, client: str) -> None:
        self._desk = desk
        self._client = client
        #: None: all; an empty set: nothing
        self._types: frozenset[str] | None = frozenset()
        self._subscribed = False
        self.channel = desk.names(EVENTS).encode()

    def listen(self, types: Sequence[str] | None) -> None:
        """Tell it of these from now on, and of no others."""
        desk = self._desk
        self._types = None if types is None else frozenset(types)
        if types is not None and not types:
            self.end()
            return
        if not self._subscribed:
            self._subscribed = True
            desk.subscribe(EVENTS)
        self.go_on()
        desk.command(b"PUBLISH", CHANNEL, b"")
        desk.events_of.refresh()

    def go_on(self) -> None:
        """It still listens."""
        if self._subscribed:
            desk = self._desk
            seconds = 2 * desk.settings.worker_lease
            desk.command(b"ZADD", "listeners", desk.now + seconds, self._client)
            desk.command(b"ZREMRANGEBYSCORE", "listeners", b"-inf", desk.now)
            desk.command(b"EXPIRE", "listeners", int(seconds) + 1)

    def end(self) -> None:
        """It listens no more."""
        if self._subscribed:
            self._subscribed = False
            self._desk.wire.push_command(b"UNSUBSCRIBE", self.channel)
            self._desk.command(b"ZREM", "listeners", self._client)
            self._desk.command(b"PUBLISH", CHANNEL, b"")

    def heard(self, message: bytes) -> None:
        """Somebody tells of something."""
        for told in self._desk.events(message):
            if isinstance(told, m.Events):
                wanted = [e for e in told.events if self._types is None or e.get("type") in self._types]
                if wanted:
                    self._desk.deliver(m.Events(wanted))
