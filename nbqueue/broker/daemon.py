"""The broker's loop: receive, hand to the core, do as it says, wait for the next.

::

    TCP ROUTER ─┐                                                      ┌─▶ Outgoing ─▶ ROUTERs
    ipc ROUTER ─┼─▶ decode ─▶ core.receive ─▶ actions, by peer ─▶ encode ┘
    the door    │ by key     core.tick       one frame a peer and turn
    the waker ──┘               │
                                └─▶ Keeper ─▶ journal

All in one thread.  A turn takes what has arrived (at most 200 frames a socket), and what goes out to a
peer in answer is one batch: the busier the broker, the larger the batches.  What a turn has changed is
written down at once, by one write, and only then are promises sent: that tasks are accepted, outcomes
final.  Where writing waits for the disk, everything else leaves before.
"""

import contextlib
import math
import os
import socket
import time
from dataclasses import replace
from pathlib import Path
from typing import Final, TypeAlias, cast

import msgspec
import zmq

from nbqueue import platform
from nbqueue._version import __version__
from nbqueue.broker import sockets
from nbqueue.broker.complaints import Complaints, log
from nbqueue.broker.errors import AddressUnavailable, FolderUnusable
from nbqueue.broker.home import Home
from nbqueue.broker.keeper import Keeper
from nbqueue.broker.options import BrokerOptions
from nbqueue.broker.outgoing import Outgoing, Peer
from nbqueue.broker.zap import Door
from nbqueue.core.actions import Action, Keep, Send, promises, relies_on
from nbqueue.core.broker import BrokerCore, BrokerSettings
from nbqueue.core.entries import AnyEntry
from nbqueue.core.permissions import LOCAL, Key
from nbqueue.exceptions import ConfigurationError, ProtocolError
from nbqueue.messages import PROTOCOL, AnyMessage, Assign, Goodbye, Refused, Shutdown
from nbqueue.transports.zmq import NOBLOCK
from nbqueue.wire import codec, keys
from nbqueue.wire.keyring import KeyRing
from nbqueue.wire.keys import Connection

#: What goes to each peer in this turn.
Outbox: TypeAlias = dict[Peer, list[AnyMessage]]

#: Frames taken from one socket in one turn.
_DRAIN: Final = 200
#: Bytes after which no more are: who does not read what these lead to is noticed between turns.
_DRAIN_BYTES: Final = 16 * 2**20
#: Seconds that a turn sleeps at most: what a pause of the broker itself is measured against.
_LONGEST_SLEEP: Final = 1.0
#: Seconds by which a turn may be late before the broker counts as having been paused (SIGSTOP, laptop lid).
_PAUSE: Final = 1.0
#: Seconds by which the wall's clock may differ from what calendars go by.
_CLOCK_SET: Final = 0.5
#: Seconds that an ending broker waits for those whom it told of its end.
_FAREWELL: Final = 0.3
#: Seconds until the core is called again that could not do what was due.
_REST: Final = 1.0
#: Seconds between looks at the file of keys.
_LOOK_AT_KEYS: Final = 1.0
#: Peers remembered as refused; past them, all may be told again.
_REFUSED: Final = 10_000

_REFUSAL: Final = codec.encode_refusal(
    f"this broker speaks protocol {PROTOCOL} (nbqueue {__version__}) and does not understand you:"
    " install the same version of nbqueue on both sides"
)

_NO_LONGER: Final = Refused(
    "this key is good no longer: `nbqueue key` on the broker's machine prints those that are"
)
#: Number of the unix socket among the routers.
_IPC: Final = 1
#: Descriptors that are not for peers: sockets, journal, and newcomers who have yet to be refused.
_OTHER_FILES: Final = 100


def _affordable(settings: BrokerSettings) -> BrokerSettings:
    """No more connections than there are descriptors for: past those, newcomers could not even be refused."""
    most = max(1, platform.file_limit() - _OTHER_FILES)
    if settings.max_connections <= most:
        return settings
    log.warning("max_connections is %d, since this process may open no more files (ulimit -n)", most)
    return replace(settings, max_connections=most)


class Broker:
    """A broker that listens, from its making until :meth:`close`.

    Raises
    ------
    BrokerStartError
        Its subclasses say what is in the way.
    """

    def __init__(self, options: BrokerOptions) -> None:
        bind = sockets.parse_bind(options.bind)
        _check_message_size(options.settings.max_message_bytes)
        #: what is to be let go of at the end, the last first
        self._resources = contextlib.ExitStack()
        try:
            self._open(bind, options)
        except BaseException:
            self.close()
            raise
        self._outgoing = Outgoing(self._routers)
        self._core.behind(self._outgoing.behind)
        self._outbox: Outbox = {}
        #: what is to be written down before promises are sent
        self._entries: list[AnyEntry] = []
        #: promises that wait for it
        self._promises: Outbox = {}
        self._refused: set[Peer] = set()
        self._stop_reason = ""
        self._ended = False
        self._look_at = time.monotonic()
        #: Unix time less the monotonic clock's, as the core has been told
        self._epoch = self._core.welcome.epoch
        #: the core is not called before that, after an error of its own
        self._rests_until = 0.0
        #: peers that know of the end and have not said goodbye
        self._told: set[Peer] = set()
        self._turned_at = time.monotonic()

    def _open(self, bind: sockets.Bind, options: BrokerOptions) -> None:
        """Take the folder, the port and the journal, in this order."""
        self._home = Home(Path(options.data_dir) if options.data_dir else keys.data_dir())
        self._resources.callback(self._home.leave)
        self._waker = platform.Waker()
        self._resources.callback(self._waker.close)
        self._context: sockets.Context = zmq.Context()
        self._resources.callback(self._context.destroy)
        self.connection = self._listen(bind, options.settings.max_message_bytes)
        self._core = BrokerCore(
            _affordable(options.settings),
            boot=self._home.boot,
            epoch=time.time() - time.monotonic(),
            version=__version__,
            host=self.connection.hostname,
            pid=self.connection.pid,
        )
        sync = options.journal_sync == "batch"
        self._keeper = Keeper(self._home.folder / "journal", self._core, sync=sync)
        self._resources.callback(self._keeper.close)
        self._keeper.restore(time.monotonic())

    def _listen(self, bind: sockets.Bind, max_message: int) -> Connection:
        self._complaints = Complaints()
        self._door = Door(self._context, self._home.ring.keys, self._complaints)
        tcp, port = self._listen_tcp(bind, max_message)
        ipc, path = sockets.listen_ipc(self._context, keys.brokers_dir(), port, max_message)
        self._routers = (tcp, ipc)
        self._poller = zmq.Poller()
        for source in (*self._routers, self._door.socket, self._waker):
            self._poller.register(source, zmq.POLLIN)
        return Connection(
            host=bind.host,
            port=port,
            ipc=path,
            server_public=self._home.ring.server_public,
            client_secret=self._home.ring.default.secret,
            hostname=socket.gethostname(),
            boot_id=platform.boot_id(),
            pid=os.getpid(),
            started=platform.process_started(os.getpid()),
            version=__version__,
            data_dir=str(self._home.folder.resolve()),
        )

    def _listen_tcp(self, bind: sockets.Bind, max_message: int) -> tuple[sockets.Router, int]:
        if bind.port == 0 and self._home.last_port:
            with contextlib.suppress(AddressUnavailable):
                again = bind._replace(port=self._home.last_port)
                return sockets.listen_tcp(self._context, again, self._home.ring, max_message)
        return sockets.listen_tcp(self._context, bind, self._home.ring, max_message)

    def announce(self) -> None:
        """Write the connection files: from now on others can find it.

        Raises
        ------
        FolderUnusable
            They cannot be written.
        """
        try:
            self._home.announce(self.connection)
        except FolderUnusable:
            self._home.withdraw()
            raise

    def run(self) -> None:
        """Serve until stopped, by :meth:`stop` or by the core (when idle, or asked to)."""
        self._turned_at = time.monotonic()
        self._collect(self._core.tick(self._turned_at))
        log.info("ready at %s (pid %d, nbqueue %s)", self.connection.url, os.getpid(), __version__)
        while not self._ended:
            self._turn()
        self._part()

    def _part(self) -> None:
        """Stay until those who were told of the end have left: zmq drops what they did not read before."""
        self._home.withdraw()
        patience = time.monotonic() + _FAREWELL
        while self._told and time.monotonic() < patience:
            self._turn()

    def stop(self, reason: str) -> None:
        """Ask the loop to end: peers are told first.  Safe from any thread and from signal handlers."""
        self._stop_reason = reason
        self._waker.wake()

    def close(self) -> None:
        """Let go of sockets and files; waits a second at most for last words to leave."""
        self._resources.close()

    # ── the loop ─────────────────────────────────────────────────────────────────────────────

    def _turn(self) -> None:
        timeout = self._timeout(time.monotonic())
        ready = dict(self._poller.poll(math.ceil(timeout * 1000))) if self._waker.arm() else {}
        self._waker.disarm()
        now = time.monotonic()
        self._mind_pause(now - self._turned_at - timeout)
        self._turned_at = now
        if self._door.socket in ready:
            self._look_at = now  # the key may have been made just now
        self._mind_clock(now)
        self._mind_keys(now)
        if self._door.socket in ready:
            self._door.answer()
        for number, router in enumerate(self._routers):
            if router in ready:
                self._drain(number, now)
        self._tick(now)
        self._deliver(now)
        self._keeper.work()

    def _timeout(self, now: float) -> float:
        """Seconds until something is due."""
        due = [t for t in (self._due, self._outgoing.next_retry, self._keeper.due(now)) if t is not None]
        longest = _FAREWELL / 10 if self._ended else _LONGEST_SLEEP
        return max(0.0, min([now + longest, self._look_at, *due]) - now)

    @property
    def _due(self) -> float | None:
        """When the core wants to be called."""
        due = self._core.next_deadline()
        return None if due is None else max(due, self._rests_until)

    def _mind_pause(self, late: float) -> None:
        if late > _PAUSE:
            log.warning("did not listen for %.1f s: it was stopped, or had too much to do", late)
            self._core.paused(late)

    def _mind_clock(self, now: float) -> None:
        """The monotonic clock stands still while a laptop sleeps; and the wall's may be set."""
        epoch = time.time() - now
        if abs(epoch - self._epoch) > _CLOCK_SET:
            log.info("the clock was set by %+.1f s", epoch - self._epoch)
            self._epoch = epoch
            self._core.wall_clock(epoch)

    # ── keys ─────────────────────────────────────────────────────────────────────────────────

    def _mind_keys(self, now: float) -> None:
        """Heed what `nbqueue key` did, once a second and whenever somebody knocks."""
        if now < self._look_at:
            return
        self._look_at = now + _LOOK_AT_KEYS
        try:
            if (before := self._home.reread_ring()) is not None:
                self._replace_keys(before, now)
            if self.connection.client_secret != self._home.ring.default.secret and not self._ended:
                self._announce_again()
        except (ConfigurationError, FolderUnusable, OSError) as error:
            self._complaints.warn(f"keys were changed, and that cannot be followed: {error}")

    def _replace_keys(self, before: KeyRing, now: float) -> None:
        ring = self._home.ring
        self._door.admit(ring.keys)
        for key in before.keys:
            if key not in ring.keys:
                fate = "got a new secret" if ring.get(key.name) else "was revoked"
                log.info("the key %r %s", key.name, fate)
                reason = (
                    f"the key {key.name!r} {fate}: `nbqueue key` on the broker's machine prints good ones"
                )
                self._collect(self._core.revoke(key.name, reason, now))

    def _announce_again(self) -> None:
        """The connection files hold the default key."""
        connection = msgspec.structs.replace(self.connection, client_secret=self._home.ring.default.secret)
        self._home.announce(connection)
        self.connection = connection

    # ── messages ─────────────────────────────────────────────────────────────────────────────

    def _drain(self, number: int, now: float) -> None:
        router = self._routers[number]
        guarded = number == _IPC  # by its folder
        size = 0
        try:
            for _ in range(_DRAIN):
                if size > _DRAIN_BYTES:
                    break
                routing_id = router.recv(NOBLOCK)
                frame = router.recv(NOBLOCK, copy=False)
                key = LOCAL if guarded else self._door.key_of(frame)
                size += len(frame.buffer)
                frames = [frame.buffer, *(router.recv_multipart(NOBLOCK) if frame.more else ())]
                self._take((number, routing_id), frames, now, key)
        except zmq.Again:
            pass

    def _take(self, peer: Peer, frames: list[memoryview | bytes], now: float, key: Key | None) -> None:
        if key is None:
            self._refuse(peer, codec.encode([_NO_LONGER])[0], "whose key is good no longer", now)
            return
        try:
            messages = codec.decode(frames)
        except ProtocolError as error:
            self._refuse(peer, _REFUSAL, str(error), now)
            return
        for message in messages:
            self._receive(peer, message, now, key)

    def _receive(self, peer: Peer, message: AnyMessage, now: float, key: Key = LOCAL) -> None:
        if isinstance(message, Goodbye):
            self._told.discard(peer)
        try:
            self._collect(self._core.receive(peer, message, now, key))
        except Exception:  # one peer's message must not end the broker of all the others
            log.exception("cannot deal with a %s", type(message).__name__)

    def _refuse(self, peer: Peer, answer: bytes, why: str, now: float) -> None:
        """Tell a peer that cannot be talked with, once; what else it says does not cost more than that."""
        if peer in self._refused:
            return
        if len(self._refused) >= _REFUSED:
            self._refused.clear()
        self._refused.add(peer)
        self._complaints.warn(f"refused a peer: {why}")
        self._outgoing.send(peer, [answer], now)

    def _tick(self, now: float) -> None:
        try:
            self._do_what_is_due(now)
        except Exception:  # as in _receive; not again at once, for what is due then is due now as well
            log.exception("cannot do what is due")
            self._rests_until = now + _REST

    def _do_what_is_due(self, now: float) -> None:
        if self._stop_reason:
            self._core.stop(self._stop_reason)
            self._stop_reason = ""
            self._collect(self._core.tick(now))
        due = self._due
        if due is not None and now >= due:
            self._collect(self._core.tick(now))

    def _collect(self, actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, Send):
                peer = cast(Peer, action.peer)  # the core has the names of peers from us
                self._outbox.setdefault(peer, []).append(action.message)
                if isinstance(action.message, Shutdown | Goodbye):
                    self._told.add(peer)
            elif isinstance(action, Keep):
                self._entries += action.entries
            else:
                log.info("ends: %s", action.reason)
                self._ended = True

    def _deliver(self, now: float) -> None:
        """Send what has gathered; a peer that is gone may make the core say more to others."""
        retry_at = self._outgoing.next_retry
        gone = self._outgoing.retry(now) if retry_at is not None and now >= retry_at else []
        if not self._keeper.syncs:
            self._write(now)
        while self._outbox or gone:
            for peer in gone:
                self._receive(peer, Goodbye(unreachable=True), now)
            outbox, self._outbox = self._outbox, {}
            if self._entries or self._keeper.waiting:
                outbox = self._hold_promises(outbox)
            gone = [peer for peer, messages in outbox.items() if not self._send(peer, messages, now)]
            self._write(now)

    def _write(self, now: float) -> None:
        """Write down what this turn has changed, and let go of the promises that waited for it."""
        entries, self._entries = self._entries, []
        if self._keeper.write(entries, now) and self._promises:
            held, self._promises = self._promises, {}
            for peer, messages in self._outbox.items():
                held.setdefault(peer, []).extend(messages)
            self._outbox = held

    def _hold_promises(self, outbox: Outbox) -> Outbox:
        """The messages that may leave now; the others wait until what they promise is written."""
        leaving: Outbox = {}
        for peer, messages in outbox.items():
            for message in messages:
                box = self._promises if self._waits(peer, message) else leaving
                box.setdefault(peer, []).append(message)
        return leaving

    def _waits(self, peer: Peer, message: AnyMessage) -> bool:
        if isinstance(message, Assign) and any(isinstance(m, Assign) for m in self._promises.get(peer, ())):
            return True  # what an executor has not got although it got something later counts as lost
        if self._entries:  # they are about to be written
            return promises(message)
        return relies_on(message, self._keeper.unwritten)

    def _send(self, peer: Peer, messages: list[AnyMessage], now: float) -> bool:
        frames = codec.encode(messages, limit=codec.MAX_FRAME_BYTES)
        return self._outgoing.send(peer, frames, now)


def _check_message_size(size: int) -> None:
    smallest, largest = 2 * codec.FRAME_BYTES, codec.MAX_MESSAGE_BYTES
    if not smallest <= size <= largest:
        raise ConfigurationError(f"max_message_bytes is {smallest:,} to {largest:,}, not {size:,}")
