"""Links to a broker daemon over ZeroMQ: a unix socket on the broker's own machine, TCP with CURVE elsewhere.

::

    send ──▶ (kept here while zmq takes no more) ──▶ DEALER ══▶ the broker's ROUTER
    receive ◀── one poll over ─┬─ DEALER            messages
                               ├─ its monitor       what became of the connection: zmq_trouble
                               └─ a Waker           other threads

zmq reconnects by itself, and what it holds for a connection ends with it (``ZMQ_IMMEDIATE``): a broker
that was restarted is never handed words meant for the one before.  One that came back elsewhere is
found by the connection file in its data folder, if that is on this machine.
"""

import contextlib
import os
import struct
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import zmq

from nbqueue import platform
from nbqueue.exceptions import ConnectionLostError, ProtocolError
from nbqueue.messages import AnyMessage
from nbqueue.transports.base import Link, Transport
from nbqueue.transports.zmq_trouble import WATCHED, Diagnosis
from nbqueue.wire import codec, keys
from nbqueue.wire.keys import Connection

#: Number and value, as a socket monitor sends them; zmq.utils.monitor would load asyncio.
_EVENT: Final = struct.Struct("=HI")
#: Plain numbers: the enums' own operators take longer than sending does.
NOBLOCK: Final = int(zmq.NOBLOCK)
_POLLIN: Final = int(zmq.POLLIN)
_POLLOUT: Final = int(zmq.POLLOUT)
#: Frames taken in one receive().
_DRAIN: Final = 200
#: Frames that zmq holds for a connection in each direction; a batch is one frame.
HIGH_WATER: Final = 64
#: Bytes kept here past that; then sending waits for the broker, or gives up on the connection.
_KEPT_BYTES: Final = 256 * 2**20
#: Milliseconds without any progress after which a broker that reads nothing counts as gone.
_STALL: Final = 1000
#: Milliseconds that closing waits for the last words to leave.
_LINGER: Final = 1000
#: Milliseconds for a connection to come about, for the broker to answer over it, and for what was sent to be
#: received, before another is tried.  TCP itself tries at longer and longer intervals, and would need as long
#: to come back as it was cut; with these, it is back 5 s after at the latest.
_CONNECT: Final = 2000
_HANDSHAKE: Final = 3000
_UNHEARD: Final = 5000
#: Seconds until another try after a failure on which zmq itself gives up.
_REDIAL: Final = 1.0


class ZmqTransport(Transport):
    """Links to the broker of a URL, or of a connection that is known already."""

    def __init__(self, broker: str | Connection) -> None:
        self._connection = broker if isinstance(broker, Connection) else None
        self.url = broker.url if isinstance(broker, Connection) else broker
        keys.parse_url(self.url)

    def connect(self) -> Link:
        return ZmqLink(self._connection or keys.find(self.url))


class ZmqLink(Link):
    """A DEALER socket.  A forked child cannot use it, and has to connect for itself."""

    def __init__(self, connection: Connection) -> None:
        self._pid = os.getpid()
        self._connection = connection
        secured = not (connection.is_here and connection.ipc and platform.listens(connection.ipc))
        self._endpoint = _endpoint(connection, secured=secured)
        self._diagnosis = Diagnosis(connection.url, secured=secured)
        self._kept: deque[bytes] = deque()
        self._kept_bytes = 0
        self._redial_at: float | None = None
        #: what the broker, or who takes its place, said that is not of our protocol
        self._refusal: ProtocolError | None = None
        self._closed = False
        self._waker = platform.Waker()
        # of its own: links do not share a thread for encryption, and a close waits for no other's last words
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._dealer = _dealer(self._context, connection, curve=self._diagnosis.secured)
        self._monitor = self._dealer.get_monitor_socket(WATCHED)
        self._poller = zmq.Poller()
        for source in (self._dealer, self._monitor, self._waker):
            self._poller.register(source, _POLLIN)
        self._dealer.connect(self._endpoint)

    # ── Link ─────────────────────────────────────────────────────────────────────────────────

    def send(self, messages: Sequence[AnyMessage]) -> None:
        self._check_usable()
        if messages:
            for frame in codec.encode(messages):
                self._send(frame)

    def receive(self, timeout: float | None) -> list[AnyMessage]:
        self._check_usable()
        if self._kept:  # messages may come without a pause, and then there is no wait to do it in
            self._flush()
        messages = self._drain()
        if not messages:
            self._wait(timeout)
            messages = self._drain()
        self._waker.disarm()
        return messages

    def wake(self) -> None:
        self._waker.wake()

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if os.getpid() == self._pid:
            self._part()

    def _check_usable(self) -> None:
        if self._closed:
            raise ConnectionLostError("this link is closed")
        if os.getpid() != self._pid:
            raise ConnectionLostError(
                f"this link belongs to process {self._pid}, from which this one was forked"
            )

    # ── sending ──────────────────────────────────────────────────────────────────────────────

    def _send(self, frame: bytes) -> None:
        if not self._kept:
            try:
                self._dealer.send(frame, NOBLOCK)
            except zmq.Again:
                pass
            else:
                return
        self._keep(frame)

    def _keep(self, frame: bytes) -> None:
        if self._kept and self._kept_bytes + len(frame) > _KEPT_BYTES:
            self._make_room(len(frame))
        if not self._kept:
            self._poller.register(self._dealer, _POLLIN | _POLLOUT)
        self._kept.append(frame)
        self._kept_bytes += len(frame)

    def _make_room(self, size: int) -> None:
        """Wait for a broker that is slow; give up on a connection that takes nothing at all."""
        while self._kept and self._kept_bytes + size > _KEPT_BYTES:
            if not self._diagnosis.linked or not self._dealer.poll(_STALL, _POLLOUT):
                self._start_over()
                return
            self._flush()

    def _flush(self) -> None:
        with contextlib.suppress(zmq.Again):
            while self._kept:
                self._dealer.send(self._kept[0], NOBLOCK)
                self._kept_bytes -= len(self._kept.popleft())
        if not self._kept:
            self._poller.register(self._dealer, _POLLIN)

    def _forget_kept(self) -> None:
        self._kept.clear()
        self._kept_bytes = 0
        self._poller.register(self._dealer, _POLLIN)

    def _start_over(self) -> None:
        """Drop all under way, Hello included: the broker does not know the new connection, and says so."""
        self._forget_kept()
        self._dial()

    def _dial(self) -> None:
        self._redial_at = None
        self._hang_up()
        if (connection := self._moved()) is not None:
            self._follow(connection)
        self._diagnosis.begin()
        self._dealer.connect(self._endpoint)

    def _moved(self) -> Connection | None:
        """Where the broker is now, if it came back at another address."""
        known = self._connection
        if not known.data_dir or not known.is_here:
            return None
        found = keys.running(Path(known.data_dir))
        if found is None or _endpoint(found, secured=self._diagnosis.secured) == self._endpoint:
            return None
        return found

    def _follow(self, connection: Connection) -> None:
        self._connection = connection
        self._endpoint = _endpoint(connection, secured=self._diagnosis.secured)
        self._diagnosis.url = connection.url
        if self._diagnosis.secured:
            _secure(self._dealer, connection)

    def _hang_up(self) -> None:
        with contextlib.suppress(zmq.ZMQError):  # zmq may have given it up already
            self._dealer.disconnect(self._endpoint)

    # ── receiving ────────────────────────────────────────────────────────────────────────────

    def _drain(self) -> list[AnyMessage]:
        messages: list[AnyMessage] = []
        with contextlib.suppress(zmq.Again):
            for _ in range(_DRAIN):
                messages += self._decode(self._dealer.recv(NOBLOCK))
        return messages

    def _decode(self, frame: bytes) -> list[AnyMessage]:
        try:
            messages = codec.decode([frame])
        except ProtocolError as error:
            self.trouble = self._refusal = error
            return []
        self.trouble = self._refusal = None
        return messages

    def _wait(self, timeout: float | None) -> None:
        """Sleep until there are messages, news of the connection, a call of wake(), or the time is over."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while self._waker.arm():
            ready = dict(self._poller.poll(self._pause(deadline)))
            dealer = ready.get(self._dealer, 0)
            if dealer & _POLLOUT:
                self._flush()
            if self._waker.fileno() in ready:
                self._waker.drain()
                return
            if dealer & _POLLIN or (self._monitor in ready and self._heed_monitor()):
                return
            now = time.monotonic()
            if self._redial_at is not None and now >= self._redial_at:
                self._dial()
            if deadline is not None and now >= deadline:
                return

    def _pause(self, deadline: float | None) -> int | None:
        """Milliseconds until something is due, rounded up."""
        due = min((t for t in (deadline, self._redial_at) if t is not None), default=None)
        return None if due is None else max(0, int((due - time.monotonic()) * 1000 + 0.999))

    def _heed_monitor(self) -> bool:
        """Take in what happened to the connection; True if that is news for the owner."""
        before = self.trouble
        with contextlib.suppress(zmq.Again):
            while True:
                self._heed(*_EVENT.unpack(self._monitor.recv_multipart(NOBLOCK)[0]))
        return self.trouble is not before

    def _heed(self, event: int, value: int) -> None:
        was_linked = self._diagnosis.linked
        trouble = self._diagnosis.after(event, value)
        if was_linked and not self._diagnosis.linked:
            self._forget_kept()
            self._refusal = None
        self.trouble = self._refusal or trouble
        if event == zmq.EVENT_DISCONNECTED:
            self._redial_at = time.monotonic() + _REDIAL
        elif event == zmq.EVENT_CONNECT_RETRIED:
            if self._diagnosis.hopeless:  # zmq would go on at its shortest interval, with a handshake each
                self._hang_up()
            elif self._moved() is not None:
                self._dial()
            else:
                self._redial_at = None

    # ── closing ──────────────────────────────────────────────────────────────────────────────

    def _part(self) -> None:
        if self._diagnosis.linked or self._dealer.poll(0, _POLLOUT):
            self._flush()
        self._dealer.disable_monitor()
        self._monitor.close(0)
        self._dealer.close(_LINGER)
        self._context.term()
        self._waker.close()


def _endpoint(connection: Connection, *, secured: bool) -> str:
    if not secured:
        return f"ipc://{connection.ipc}"
    return connection.url.replace("zmq://", "tcp://").replace("//localhost:", "//127.0.0.1:")


def _dealer(
    context: "zmq.Context[zmq.Socket[bytes]]", connection: Connection, *, curve: bool
) -> "zmq.Socket[bytes]":
    dealer = context.socket(zmq.DEALER)
    dealer.linger = 0
    dealer.immediate = True
    dealer.sndhwm = dealer.rcvhwm = HIGH_WATER
    dealer.maxmsgsize = codec.MAX_FRAME_BYTES
    dealer.reconnect_ivl, dealer.reconnect_ivl_max = 20, 1000
    if curve:
        tune_tcp(dealer)
        dealer.connect_timeout, dealer.handshake_ivl = _CONNECT, _HANDSHAKE
        _secure(dealer, connection)
    return dealer


def _secure(dealer: "zmq.Socket[bytes]", connection: Connection) -> None:
    """From its next connection on, speak to that broker over TCP."""
    dealer.ipv6 = ":" in connection.host
    dealer.curve_serverkey = connection.server_public.encode()
    dealer.curve_secretkey = connection.client_secret.encode()
    dealer.curve_publickey = connection.client_public.encode()


def tune_tcp(sock: "zmq.Socket[bytes]") -> None:
    """Notice that the other machine is gone: within five seconds of the first word that it does not confirm,
    within a quarter of a minute if there is nothing to say.  A stopped process is not gone.

    Sooner than TCP would: it tries again at intervals that double, and so a cable that was mended after ten
    seconds would be found mended after another ten.  A new connection is tried every few seconds.
    """
    sock.tcp_keepalive = 1
    sock.tcp_keepalive_idle, sock.tcp_keepalive_intvl, sock.tcp_keepalive_cnt = 10, 2, 3
    sock.tcp_maxrt = _UNHEARD
