"""One connection to Redis: commands out, replies and pushes in.

redis-py makes the connection (TLS, AUTH, HELLO 3); from then on this reads and writes its socket, with
hiredis to pack and parse: many commands leave in one write, replies come in the order of the commands, and
what is published to us comes between them (RESP3)::

    call(command, then) ─▶ ┐                      ┌─▶ then(reply)      in order
    call(command, then) ─▶ ┴─ flush ══▶ Redis ══▶ take
                                                  └─▶ pushes          (channel, message)

A connection is used until it breaks; then nothing of it is used any more.  Whatever Redis answers that means
"not here" or "not now" (a node that is no master, a script that it lost) breaks it, too: whoever owns it
makes another and says all again.
"""

import contextlib
import select
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final, TypeAlias

import hiredis

from nbqueue.exceptions import AuthenticationError, ConnectionLostError
from nbqueue.transports.redis import scripts
from nbqueue.transports.redis.address import Address, Node
from nbqueue.transports.redis.reach import DENIED, Broken, connected

#: takes a reply: bytes, int, list, None, or a ReplyError
Then: TypeAlias = Callable[[Any], object]
Word: TypeAlias = bytes | memoryview | str | int | float

#: seconds that a reply may take
PATIENCE: Final = 5.0
_READ: Final = 256 * 1024
#: an empty word, as it is written
_EMPTY: Final = b"$0\r\n\r\n"
#: bytes handed to the socket at once
_SLICE: Final = 2**20
#: first words of errors after which another connection may do
_ELSEWHERE: Final = (
    "READONLY", "LOADING", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "NOSCRIPT", "UNBLOCKED", "NOREPLICAS",
    "BUSY",
)  # fmt: skip


class Wire:
    """See the module's docstring.

    Raises
    ------
    Broken
        It cannot be made; so does each method, from then on when there is nothing to be had from it.

    ``with_scripts``: scripts will be called, and are to be known there.
    """

    def __init__(self, address: Address, node: Node | None = None, *, with_scripts: bool = True) -> None:
        self._address = address
        self._connection = connected(address, node)
        self._socket: socket.socket = self._connection._sock  # type: ignore[assignment]  # None before it connects
        self._socket.setblocking(False)
        with contextlib.suppress(OSError):  # not of a unix socket
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reader = hiredis.Reader()
        self._pending: deque[Then] = deque()
        self._out = bytearray()
        #: what goes before that: large data is sent from where it is
        self._before: deque[memoryview] = deque()
        #: what was published to us: (channel, message)
        self.pushes: deque[tuple[bytes, bytes]] = deque()
        #: when the last bytes came
        self.heard = time.monotonic()
        if with_scripts:
            self._load_scripts()

    def fileno(self) -> int:
        return self._socket.fileno()

    @property
    def wants_to_write(self) -> bool:
        return bool(self._out or self._before)

    @property
    def waits(self) -> bool:
        """Whether replies are still to come."""
        return bool(self._pending)

    def close(self) -> None:
        with contextlib.suppress(Exception):
            self._connection.disconnect()

    # ── saying ───────────────────────────────────────────────────────────────────────────────

    def call(self, *words: Word, then: Then) -> None:
        """A command, which leaves with the next :meth:`flush`."""
        if not self._pending:
            self.heard = time.monotonic()
        self._out += _pack(words)
        self._pending.append(then)

    def call_large(self, *words: Word, data: memoryview, then: Then) -> None:
        """The same for a command whose last word is large: it is not copied, and must not change."""
        head = _pack((*words, b""))
        # what was packed counts one word more, an empty one: "$0\r\n\r\n"
        self._out += head[: -len(_EMPTY)] + b"$%d\r\n" % len(data)
        self._before += (memoryview(self._out), data)
        self._out = bytearray(b"\r\n")
        if not self._pending:
            self.heard = time.monotonic()
        self._pending.append(then)

    def script(self, name: str, prefix: str, *arguments: Word, then: Then) -> None:
        """The same for a script."""
        self.call(b"EVALSHA", scripts.digests()[name], 1, prefix, *arguments, then=then)

    def push_command(self, *words: Word) -> None:
        """A command that is answered by a push: SUBSCRIBE."""
        self._out += _pack(words)

    def flush(self) -> None:
        """Send what can be sent at once."""
        while self._before:
            first = self._before[0]
            if not (sent := self._send(first)):
                return
            if sent < len(first):
                self._before[0] = first[sent:]
            else:
                self._before.popleft()
        while self._out:
            if not (sent := self._send(memoryview(self._out))):
                return
            del self._out[:sent]

    def _send(self, data: memoryview) -> int:
        """How many of these bytes could be sent."""
        try:
            return self._socket.send(data[:_SLICE])
        except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
            return 0
        except OSError as error:
            raise self._broken(f"the connection broke: {error}") from None

    # ── hearing ──────────────────────────────────────────────────────────────────────────────

    def take(self) -> bool:
        """Take in what is there: replies to those who wait for them, pushes to :attr:`pushes`.  False if
        nothing was there."""
        if not self._read():
            return False
        while (reply := self._reader.gets()) is not False:
            if isinstance(reply, hiredis.PushNotification):
                if reply[0] == b"message":
                    self.pushes.append((reply[1], reply[2]))
            else:
                self._answer(reply)
        return True

    def _answer(self, reply: Any) -> None:
        if not self._pending:
            raise self._broken(f"it said {str(reply)[:100]}")  # before it hangs up, say
        then = self._pending.popleft()
        if isinstance(reply, hiredis.ReplyError):
            self._check(str(reply))
        then(reply)

    def _read(self) -> bool:
        got = False
        while True:
            try:
                data = self._socket.recv(_READ)
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                break
            except OSError as error:
                raise self._broken(f"the connection broke: {error}") from None
            if not data:
                raise self._broken("it hung up")
            self._reader.feed(data)
            got = True
            if len(data) < _READ and not isinstance(self._socket, ssl.SSLSocket):
                break
        if got:
            self.heard = time.monotonic()
        elif self._pending and time.monotonic() - self.heard > PATIENCE:
            raise self._broken(f"no answer for {PATIENCE:g} s")
        return got

    def ask(self, *words: Word) -> Any:
        """A command and its reply, waited for; what comes before it is dealt with as ever."""
        box: list[Any] = []
        self.call(*words, then=box.append)
        self._await(box)
        if isinstance(box[0], hiredis.ReplyError):
            raise self._broken(f"{words[0]!r}: {box[0]}")
        return box[0]

    def run(self, name: str, prefix: str, *arguments: Word) -> Any:
        """The same for a script."""
        return self.ask(b"EVALSHA", scripts.digests()[name], 1, prefix, *arguments)

    def hear(self) -> None:
        """Send what waits, and take in what comes, waiting for it a while."""
        self.flush()
        if not self.take():
            self._wait_for_socket(PATIENCE)

    def relieve(self, most: int) -> None:
        """Wait until no more than so many bytes are still to be sent."""
        self.flush()
        while len(self._out) + sum(map(len, self._before)) > most:
            self.hear()

    def finish(self) -> None:
        """Wait until everything that was said has been answered."""
        while self._pending:
            self.hear()

    def _await(self, box: list[Any]) -> None:
        while not box:
            self.hear()

    def _wait_for_socket(self, seconds: float) -> None:
        poller = select.poll()
        poller.register(self._socket, select.POLLIN | (select.POLLOUT if self.wants_to_write else 0))
        poller.poll(int(seconds * 1000))

    # ── trouble ──────────────────────────────────────────────────────────────────────────────

    def _check(self, error: str) -> None:
        """Raise if an error concerns more than the command that it answers."""
        word, _, rest = error.partition(" ")
        if word == "ASK":  # no script has begun, and none will before all keys are there
            raise self._broken("the application is being moved to another node")
        if word == "MOVED":
            host, _, port = rest.split(" ")[-1].rpartition(":")
            trouble = ConnectionLostError(f"{self._address.url}: the application is on another node now")
            raise Broken(trouble, (host or self._address.host, int(port)))
        if word in DENIED:
            raise Broken(AuthenticationError(f"{self._address.url}: {error}"))
        if word in _ELSEWHERE:
            raise self._broken(error)

    def _broken(self, reason: str) -> Broken:
        return Broken(ConnectionLostError(f"{self._address.url}: {reason}"))

    def _load_scripts(self) -> None:
        digests, sources = scripts.digests(), scripts.sources()
        there = self.ask(b"SCRIPT", b"EXISTS", *digests.values())
        for (name, digest), known in zip(digests.items(), there, strict=True):
            if not known and self.ask(b"SCRIPT", b"LOAD", sources[name]) != digest:
                raise self._broken(f"it calls the script {name} otherwise than we do")


def _pack(words: tuple[Word, ...]) -> bytes:
    try:
        packed: bytes = hiredis.pack_command(words)  # type: ignore[arg-type]  # its stub wants a tuple of one
    except UnicodeEncodeError:  # what was read from Redis and is no text goes back as it was
        packed = hiredis.pack_command(tuple(map(_as_read, words)))  # type: ignore[arg-type]  # as above
    return packed


def _as_read(word: Word) -> Word:
    return word.encode(errors="surrogateescape") if isinstance(word, str) else word
