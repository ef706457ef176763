"""What goes out to peers, each with a bounded queue of its own.

A ROUTER drops silently what it cannot deliver, unless told otherwise (``ROUTER_MANDATORY``): then a
peer that is gone shows as EHOSTUNREACH, one that does not read as EAGAIN.  For the latter frames are
kept and tried again.  When there are many the peer counts as *behind*: the core then makes no more news
for it, so that a stopped kernel cannot fill the broker.  Past another bound, for what it brings about by
itself without ever reading, the peer counts as gone; when it speaks again it is told that it is not known,
and starts afresh.
"""

import errno
from collections import deque
from collections.abc import Sequence
from typing import Final, TypeAlias

import zmq

from nbqueue.transports.zmq import NOBLOCK

#: number of the socket, routing id on it
Peer: TypeAlias = tuple[int, bytes]

_FIRST: Final = NOBLOCK | int(zmq.SNDMORE)
#: Bytes kept for a peer that does not read.
KEPT_BYTES: Final = 256 * 2**20
#: Bytes kept past which a peer is behind, until none are.
BEHIND_BYTES: Final = 4 * 2**20
#: What a kept frame costs besides its bytes.
_OVERHEAD: Final = 200
#: Seconds until the next try, at first and at most.
_SOON: Final = 0.002
_LATE: Final = 0.1


class Outgoing:
    """Frames on their way to peers."""

    def __init__(self, sockets: "Sequence[zmq.Socket[bytes]]", kept_bytes: int = KEPT_BYTES) -> None:
        self._sockets = sockets
        self._limit = kept_bytes
        self._kept: dict[Peer, _Kept] = {}
        #: peers that do not read
        self.behind: set[Peer] = set()
        self._delay = _SOON
        #: when to call :meth:`retry`, None if nothing is kept
        self.next_retry: float | None = None

    def send(self, peer: Peer, frames: Sequence[bytes], now: float) -> bool:
        """Send frames, or keep them; False if the peer is gone, and all for it dropped."""
        kept = self._kept.get(peer)
        if kept is None:
            sent = self._push(peer, frames)
            if sent == len(frames) or sent < 0:
                return sent >= 0
            kept = self._kept[peer] = _Kept()
            frames = frames[sent:]
            self._delay = _SOON
            self.next_retry = now + _SOON
        kept.add(frames)
        if kept.bytes > self._limit:
            self.forget(peer)
            return False
        if kept.bytes > BEHIND_BYTES:
            self.behind.add(peer)
        return True

    def retry(self, now: float) -> list[Peer]:
        """Try again what was kept; returns the peers that are gone."""
        progress, gone = False, []
        for peer, kept in list(self._kept.items()):
            sent = self._push(peer, kept.frames)
            progress = progress or sent != 0
            if sent < 0:
                gone.append(peer)
            else:
                kept.remove(sent)
            if sent < 0 or not kept.frames:
                self.forget(peer)
        self._delay = _SOON if progress else min(2 * self._delay, _LATE)
        self.next_retry = now + self._delay if self._kept else None
        return gone

    def forget(self, peer: Peer) -> None:
        """Drop what is kept for a peer."""
        self._kept.pop(peer, None)
        self.behind.discard(peer)
        if not self._kept:
            self.next_retry = None

    def _push(self, peer: Peer, frames: "Sequence[bytes] | deque[bytes]") -> int:
        """How many of the frames zmq took; -1 if the peer is gone."""
        number, routing_id = peer
        sock = self._sockets[number]
        sent = 0
        try:
            for frame in frames:
                sock.send(routing_id, _FIRST)
                sock.send(frame, NOBLOCK)
                sent += 1
        except zmq.ZMQError as error:
            if error.errno == errno.EHOSTUNREACH:
                return -1
            if error.errno != errno.EAGAIN:
                raise
        return sent


class _Kept:
    """The frames of one peer that wait, oldest first."""

    def __init__(self) -> None:
        self.frames: deque[bytes] = deque()
        self.bytes = 0

    def add(self, frames: Sequence[bytes]) -> None:
        self.frames.extend(frames)
        self.bytes += sum(len(frame) + _OVERHEAD for frame in frames)

    def remove(self, count: int) -> None:
        for _ in range(count):
            self.bytes -= len(self.frames.popleft()) + _OVERHEAD
