"""The door: which client keys may connect (ZAP, https://rfc.zeromq.org/spec/27/).

Without a handler of this protocol CURVE encrypts, but lets any key in.  The broker answers in its own
loop, so that there is no thread and no moment without a door.
"""

from typing import Final

import zmq
from zmq.utils import z85

from nbqueue.broker.complaints import Complaints

DOMAIN: Final = b"nbqueue"
_ENDPOINT: Final = "inproc://zeromq.zap.01"
_VERSION: Final = b"1.0"


class Door:
    """Answers the requests of the broker's TCP socket; bind it before that one."""

    def __init__(
        self, context: "zmq.Context[zmq.Socket[bytes]]", client_public: str, complaints: Complaints
    ) -> None:
        self.socket = context.socket(zmq.REP)
        self.socket.linger = 0
        self.socket.bind(_ENDPOINT)
        self._admitted = z85.decode(client_public)
        self._complaints = complaints

    def answer(self) -> None:
        """Answer all that wait."""
        while self.socket.poll(0):
            _, number, domain, address, _, mechanism, *credentials = self.socket.recv_multipart()
            admitted = (domain, mechanism, credentials) == (DOMAIN, b"CURVE", [self._admitted])
            if not admitted:
                self._complaints.warn(f"refused a peer with a wrong key from {address.decode()}")
            status = (b"200", b"OK") if admitted else (b"400", b"unknown key")
            self.socket.send_multipart([_VERSION, number, *status, b"", b""])
