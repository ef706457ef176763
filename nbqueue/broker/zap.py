"""The door: which keys may connect (ZAP, https://rfc.zeromq.org/spec/27/), and by which one a message came.

Without a handler of this protocol CURVE encrypts, but lets any key in.  The broker answers in its own
loop, so that there is no thread and no moment without a door.

The answer names the peer by its public key, and zmq hands that name over with each frame (``User-Id``).
So no peer is ever taken for one that had its routing id before, and one whose key is good no longer is
not heard any more.
"""

from collections.abc import Iterable
from typing import Final

import zmq
from zmq.utils import z85

from nbqueue.broker.complaints import Complaints
from nbqueue.core.permissions import Key
from nbqueue.wire.keyring import NamedKey

DOMAIN: Final = b"nbqueue"
_ENDPOINT: Final = "inproc://zeromq.zap.01"
_VERSION: Final = b"1.0"


class Door:
    """Answers the requests of the broker's TCP socket; bind it before that one."""

    def __init__(
        self, context: "zmq.Context[zmq.Socket[bytes]]", keys: Iterable[NamedKey], complaints: Complaints
    ) -> None:
        self.socket = context.socket(zmq.REP)
        self.socket.linger = 0
        self.socket.bind(_ENDPOINT)
        self._complaints = complaints
        self.admit(keys)

    def admit(self, keys: Iterable[NamedKey]) -> None:
        """Let these in from now on, and no others."""
        self._keys = {key.public: key.key for key in keys}

    def key_of(self, frame: zmq.Frame) -> Key | None:
        """The key that a frame came by; None if it is good no longer."""
        try:
            return self._keys.get(str(frame.get("User-Id")))
        except zmq.ZMQError:  # it has none
            return None

    def answer(self) -> None:
        """Answer all that wait."""
        while self.socket.poll(0):
            _, number, domain, address, _, mechanism, *credentials = self.socket.recv_multipart()
            name = z85.encode(credentials[0]) if len(credentials) == 1 and len(credentials[0]) == 32 else b""
            admitted = (domain, mechanism) == (DOMAIN, b"CURVE") and name.decode() in self._keys
            if not admitted:
                self._complaints.warn(f"refused a peer with a wrong key from {address.decode()}")
            status = (b"200", b"OK", name) if admitted else (b"400", b"unknown key", b"")
            self.socket.send_multipart([_VERSION, number, *status, b""])
