"""What every part needs to act for the broker: connection, names, seals, settings, the time, the inbox.

Parts say what is said often without waiting (:meth:`Desk.tell`), and wait for replies where one step follows
from another (:meth:`Desk.run`); either way things happen in the order in which they were said.
"""

import logging
import struct
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

import msgspec

from nbqueue import messages as m
from nbqueue._version import __version__
from nbqueue.core.records import Record
from nbqueue.core.settings import BrokerSettings
from nbqueue.exceptions import ProtocolError
from nbqueue.messages import AnyMessage
from nbqueue.transports.redis import records
from nbqueue.transports.redis.feed import Publisher
from nbqueue.transports.redis.names import Names
from nbqueue.transports.redis.reach import Broken
from nbqueue.transports.redis.records import Origin, Sealed, Turn
from nbqueue.transports.redis.templates import Templates
from nbqueue.transports.redis.wire import Then, Wire, Word
from nbqueue.wire.signing import ForgedError

logger = logging.getLogger(__name__)

#: bytes of a payload: Redis takes no larger word (proto-max-bulk-len), and that of a function is signed
MAX_PAYLOAD: Final = 2**29 - 2**10
#: bytes of what is passed on in one push: Redis hangs up on those who listen to channels and are sent more
#: than 32 MB at once (client-output-buffer-limit)
MAX_EVENT: Final = 8 * 2**20
#: ids that are looked up in one call
LOOK: Final = 64

_LENGTH: Final = struct.Struct(">I")
#: what is raised by what none of us has written
NOT_OURS: Final = (ForgedError, ProtocolError, msgspec.MsgspecError)

said: Final = msgspec.msgpack.Encoder().encode


class Found(msgspec.Struct, frozen=True):
    """A record as it was found."""

    record: Record
    #: its standing in the words in which it is kept: changes are made only while it is the same
    packed: bytes = b""
    #: where an unfinished one comes from
    origin: Origin = Origin("", "", ())
    #: of an unfinished step
    turn: Turn | None = None


class Desk:
    """See the module's docstring."""

    def __init__(
        self,
        wire: Wire,
        names: Names,
        sealed: Sealed,
        settings: BrokerSettings,
        deliver: Callable[[AnyMessage], None],
        url: str,
        memory: dict[str, Any] | None = None,
    ) -> None:
        #: what a part remembers from one connection to the next
        self.memory = {} if memory is None else memory
        self.names = names
        self.sealed = sealed
        self.settings = settings
        self.deliver = deliver
        self.url = url
        self.wire = wire
        #: ids of steps that somebody has to look at: see ``steps.attend``
        self.to_look: deque[str] = deque()
        self._prefix = names.prefix
        #: added to the monotonic clock, gives Redis' time
        self._offset = 0.0
        self.templates = Templates(sealed, lambda name: self.command(b"GET", f"blob:{name}"))
        #: tells of what happens, if anybody listens
        self.events_of = Publisher(self)
        self.set_clock()

    # ── time ─────────────────────────────────────────────────────────────────────────────────

    def set_clock(self) -> None:
        """Look at Redis' clock."""
        before = time.monotonic()
        seconds, micros = self.wire.ask(b"TIME")
        self._offset = int(seconds) + int(micros) / 1e6 - (before + time.monotonic()) / 2

    @property
    def now(self) -> float:
        """Redis' time, as well as it is known."""
        return time.monotonic() + self._offset

    def monotonic(self, at: float) -> float:
        """A time of Redis' on our monotonic clock."""
        return at - self._offset

    @property
    def expires(self) -> int:
        """Milliseconds that results are kept, 0 for ever."""
        return int(self.settings.result_expires * 1000)

    @property
    def payload_limit(self) -> int:
        """Bytes of the largest payload."""
        return min(self.settings.payload_limit, MAX_PAYLOAD)

    def welcome(self) -> m.Welcome:
        settings = self.settings
        return m.Welcome(
            1, __version__, settings.worker_heartbeat, settings.worker_lease, 0.0, "", 0,
            self.payload_limit, settings.max_output_bytes, min(self.payload_limit, MAX_EVENT),
        )  # fmt: skip

    # ── scripts ──────────────────────────────────────────────────────────────────────────────

    def tell(self, script: str, *arguments: Word, then: Then) -> None:
        """Run a script; ``then`` is called with its reply, later."""
        self.wire.script(script, self._prefix, *arguments, then=then)

    def run(self, script: str, *arguments: Word) -> Any:
        """Run a script, and wait for its reply."""
        return self.wire.run(script, self._prefix, *arguments)

    def command(self, name: bytes, key: str, *arguments: Word) -> Any:
        """A command on a key of the application, and its reply."""
        return self.wire.ask(name, self.names(key), *arguments)

    def publish(self, channel: str, message: bytes) -> None:
        """Tell those who listen to a channel."""
        self.wire.call(b"PUBLISH", self.names(channel), message, then=_nothing)

    def subscribe(self, *channels: str) -> None:
        """From now on, hear what is published there; heard before the next reply."""
        self.wire.push_command(b"SUBSCRIBE", *(self.names(channel) for channel in channels))

    def fault(self, reply: Any) -> Broken:
        """What to raise about a reply that should not be."""
        return Broken(ProtocolError(f"{self.url}: {reply}"))

    # ── records ──────────────────────────────────────────────────────────────────────────────

    def look(
        self, ids: Sequence[str], *, watcher: str = "", traces: bool = False
    ) -> list[tuple[str, Found | None]]:
        """The records of these tasks; None for one that there is not.

        Parameters
        ----------
        watcher
            A client that is told of them from now on.
        traces
            Read what they have told, too.
        """
        found: list[tuple[str, Found | None]] = []
        head = said({"watcher": watcher, "traces": traces})
        while len(found) < len(ids):
            part = ids[len(found) : len(found) + LOOK]
            for id, rows in zip(part, self.run("look", head, *part), strict=False):
                found.append((id, self._found(id, *rows)))
        return found

    def _found(
        self, id: str, envelope: bytes | None, packed: bytes | None, result: bytes | None,
        output: list[bytes], live: list[bytes], turn: bytes | None, waits: int,
    ) -> Found | None:  # fmt: skip
        if envelope is not None:
            found = self.read(id, envelope, packed, turn, waits=bool(waits))
        else:
            found = self.ended(id, result)
        if found is not None:
            for sealed in (*output, *live):
                records.add_traces(found.record, self.events(sealed), self.settings.max_output_bytes)
        return found

    def read(
        self,
        id: str,
        envelope: bytes,
        packed: bytes | None,
        turn: bytes | None = None,
        *,
        waits: bool = False,
    ) -> Found | None:
        """An unfinished task, from what is kept of it and how it stands; None, and a report, if it is not
        ours.  Of a step its ``turn``, too, and whether it ``waits`` for others."""
        step, by = None, ""
        try:
            task, at, origin = self.templates.open(id, envelope)
            standing = records.unpack_standing(packed)
            if turn:
                step = records.unpack_turn(turn)
                by = self.sealed.open_replaced(id, step.by) if step.by else ""
        except NOT_OURS as error:
            self.report_forgery(str(error))
            return None
        record = records.record_of(task, at, origin, standing, self.now, step, by, waits=waits)
        return Found(record, packed or b"", origin, step)

    def ended(self, id: str, result: bytes | None) -> Found | None:
        """A finished task."""
        try:
            return (
                Found(records.finished(self.sealed.open_result(id, result))) if result is not None else None
            )
        except (ForgedError, ProtocolError) as error:
            self.report_forgery(str(error))
            return None

    def look_later(self, ids: Iterable[bytes]) -> None:
        """A script says that somebody has to look at these steps."""
        self.to_look.extend(id.decode(errors="surrogateescape") for id in ids)

    def events(self, sealed: bytes) -> list[AnyMessage]:
        """Messages that one of us has written; none, and a report, if they are not."""
        try:
            return self.sealed.open_events(sealed)
        except (ForgedError, ProtocolError) as error:
            self.report_forgery(str(error))
            return []

    def report_forgery(self, text: str) -> None:
        """Something was refused: say so, where people look."""
        logger.error("refused, unread: %s (in Redis at %s)", text, self.url)


def framed(kind: bytes, sealed: bytes) -> bytes:
    """What is published to a client: its kind is "r" for a result, "e" for events, "a" for an answer."""
    return _LENGTH.pack(len(sealed) + 1) + kind + sealed


def frames(message: bytes) -> Iterator[tuple[bytes, bytes]]:
    """What was published as one: kind and content of each."""
    at = 0
    while at < len(message):
        (length,) = _LENGTH.unpack_from(message, at)
        at += _LENGTH.size
        yield message[at : at + 1], message[at + 1 : at + length]
        at += length


def _nothing(reply: object) -> None:
    """For commands whose reply tells nothing."""


class Part(ABC):
    """What a link does for a peer of one role, on one connection."""

    #: whether this is not its first Hello on the connection
    again = False

    def __init__(self, desk: Desk, hello: m.Hello) -> None:
        self.desk = desk
        self.hello = hello

    @abstractmethod
    def greet(self) -> None:
        """Make the peer known, and welcome it."""

    @abstractmethod
    def say(self, message: AnyMessage) -> None:
        """The peer says this."""

    def said(self) -> None:
        """That was all that it says now."""

    def heard(self, channel: bytes, message: bytes) -> None:
        """This was published to us, or to all."""
        if channel == self.desk.events_of.channel:
            self.desk.events_of.refresh()
        else:
            self.pushed(channel, message)

    @abstractmethod
    def pushed(self, channel: bytes, message: bytes) -> None:
        """This was published to us."""

    @abstractmethod
    def turn(self, now: float) -> None:
        """Do what is due, on the monotonic clock."""

    @abstractmethod
    def due(self) -> float:
        """When :meth:`turn` is to be called next, at the latest."""

    def gone(self) -> None:
        """The connection is lost."""

    def refuse(self, message: AnyMessage) -> None:
        kind = type(message).__name__
        self.desk.deliver(m.Refused(f"a broker expects no {kind} of this peer"))
