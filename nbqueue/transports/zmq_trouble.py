"""What is wrong with a connection, told from the events of a zmq socket monitor.

zmq itself retries for ever in silence.  What its events mean was tried against each kind of peer::

    the peer                              events after CONNECTED                     then zmq …
    ────────────────────────────────────  ─────────────────────────────────────────  ──────────
    our broker                            HANDSHAKE_SUCCEEDED
    … of another key                      HANDSHAKE_FAILED_NO_DETAIL(EPIPE)          retries
    … which does not know our key         HANDSHAKE_FAILED_AUTH(400)                 gives up
    says nothing (stopped, HTTP server)   HANDSHAKE_FAILED_NO_DETAIL(EAGAIN)         retries
    hangs up                              HANDSHAKE_FAILED_NO_DETAIL(ECONNRESET)     retries
    zmq without CURVE                     HANDSHAKE_FAILED_PROTOCOL                  gives up
    … when it was faster to hang up       HANDSHAKE_FAILED_NO_DETAIL(EPIPE)          retries
    speaks first (ssh)                    DISCONNECTED alone                         gives up
    nobody                                no CONNECTED, but CLOSED                   retries
    a name without address                no CONNECTED, no CLOSED                    retries
"""

import errno
from typing import Final

import zmq

from nbqueue.exceptions import AuthenticationError, ConnectionLostError, ProtocolError

WATCHED: Final = int(
    zmq.EVENT_CLOSED
    | zmq.EVENT_CONNECT_RETRIED
    | zmq.EVENT_DISCONNECTED
    | zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
)
#: Hang-ups in a row, each in a handshake, after which it is the key: a broker that ends may cause one or two.
_HANG_UPS: Final = 3


class Diagnosis:
    """The state of one connection, from its events."""

    def __init__(self, url: str, *, secured: bool) -> None:
        self.url = url
        #: by CURVE
        self.secured = secured
        #: messages can pass
        self.linked = False
        self._trouble: ConnectionLostError | None = None
        self._hang_ups = 0
        #: an event of this attempt has said what is wrong with it
        self._explained = False

    @property
    def hopeless(self) -> bool:
        """The next attempt will end as the last ones did, unless the broker changes."""
        return self._hang_ups >= _HANG_UPS

    def begin(self) -> None:
        """Another attempt begins that zmq did not announce."""
        self._explained = False

    def after(self, event: int, value: int) -> ConnectionLostError | None:
        """Take in an event; returns what is wrong now, None if nothing is."""
        if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            self.linked, self._explained, self._hang_ups, self._trouble = True, False, 0, None
        elif event == zmq.EVENT_CLOSED:
            self._hang_ups = 0
            self._settle(ConnectionLostError(f"nobody listens at {self.url}"))
        elif event == zmq.EVENT_DISCONNECTED:
            self._disconnected()
        elif event == zmq.EVENT_CONNECT_RETRIED:
            self._retried()
        else:
            self._settle(self._failed(event, value))
        return self._trouble

    def _disconnected(self) -> None:
        if self.linked:
            self.linked = False
            self._settle(ConnectionLostError(f"the connection to the broker at {self.url} broke"))
        elif not self._explained:
            self._settle(ProtocolError(f"what listens at {self.url} is not an nbqueue broker"))

    def _retried(self) -> None:
        if not self._explained:
            self._settle(ConnectionLostError(f"the host of {self.url} has no address: is the name right?"))
        self._explained = False

    def _failed(self, event: int, value: int) -> ConnectionLostError:
        if event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
            return AuthenticationError(
                f"the broker at {self.url} refused the key: `nbqueue key` on its machine prints the right one"
            )
        if event == zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL:
            return ProtocolError(f"what listens at {self.url} speaks ZeroMQ, but is not an nbqueue broker")
        if value in (errno.EAGAIN, errno.ETIMEDOUT):
            return ConnectionLostError(
                f"what listens at {self.url} does not answer: a broker that is stopped, or something else"
            )
        return self._hung_up()

    def _hung_up(self) -> ConnectionLostError:
        self._hang_ups += 1
        if self.secured and self.hopeless:
            return AuthenticationError(
                f"what listens at {self.url} is not the broker of this key, or no nbqueue broker at all:"
                " `nbqueue key` on the broker's machine prints the right one"
            )
        return ConnectionLostError(f"what listens at {self.url} hangs up")

    def _settle(self, trouble: ConnectionLostError) -> None:
        """Keep the first of several that say the same, so that its owner sees news only when there are."""
        self._explained = True
        if str(trouble) != str(self._trouble):
            self._trouble = trouble
