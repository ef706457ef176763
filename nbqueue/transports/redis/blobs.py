"""Blobs, as a link writes and reads them: functions, what they captured, and payloads that are large.

Links listen to channels, and Redis hangs up on listeners to whom more than 32 MB are on their way.  So a blob
is read piece by piece, each asked for when another has come.  A *large payload* is kept apart from its task,
under a name of its own, in pieces; the task refers to it as to its function, and it goes with the task::

    Task(payload) ─ apart ─▶ blob:p.PIECES.NONCE   0, 1, …, seal        Task(payload_key)
    Need(key)     ─ fetch ─▶ Define(key, blob)
"""

import uuid
from typing import Any, Final

import hiredis
import msgspec

from nbqueue import messages as m
from nbqueue.exceptions import ProtocolError
from nbqueue.transports.redis import pieces
from nbqueue.transports.redis.desk import Desk
from nbqueue.transports.redis.pieces import PIECE, Reading
from nbqueue.wire.signing import ForgedError

#: seconds that a blob stays which no task refers to
_STAYS: Final = 3600


class Blobs:
    """See the module's docstring."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        #: that are being read
        self._wanted: set[str] = set()
        #: payloads for which there was no room
        self._refused: set[str] = set()

    # ── writing ──────────────────────────────────────────────────────────────────────────────

    def define(self, key: str, blob: bytes) -> None:
        """Keep a function.  What is there already stays; of what no task needs yet, the hour begins anew."""
        sealed, name = self._desk.sealed.blob(key, blob), self._desk.names(f"blob:{key}")
        self._desk.wire.call(b"SET", name, sealed, b"EX", _STAYS, b"NX", then=_nothing)

    def apart(self, task: m.Task) -> m.Task:
        """Keep the payload of a task apart from it; returns what is left."""
        wire, payload = self._desk.wire, task.payload
        key = f"p.{pieces.count(len(payload))}.{uuid.uuid4().hex}"
        name = self._desk.names(f"blob:{key}")

        def noted(reply: object) -> None:
            if isinstance(reply, hiredis.ReplyError):
                self._refused.add(key)

        wire.call(b"HSET", name, b"seal", b"", then=noted)
        wire.call(b"EXPIRE", name, _STAYS, then=_nothing)  # now, for we may not come to the end
        seal = pieces.write(wire, name, "", payload, noted, paced=False)
        wire.call(b"HSET", name, b"seal", self._desk.sealed.blob(key, pieces.pack_seal(seal)), then=noted)
        return msgspec.structs.replace(task, payload=b"", payload_key=key)

    def drop(self, task: m.Task) -> None:
        """The task was not taken, and so its payload is of no use."""
        if task.payload_key:
            self._desk.wire.call(b"UNLINK", self._desk.names(f"blob:{task.payload_key}"), then=_nothing)

    def was_refused(self, key: str) -> bool:
        """Whether Redis had no room for that payload; says it once."""
        refused = key in self._refused
        self._refused.discard(key)
        return refused

    # ── reading ──────────────────────────────────────────────────────────────────────────────

    def fetch(self, key: str) -> None:
        """Have a blob delivered, b"" if it is not there."""
        if key in self._wanted:  # it is asked for again while it is on its way
            return
        self._wanted.add(key)
        if key.startswith("p."):
            self._desk.wire.call(b"HGET", self._name(key), b"seal", then=lambda r: self._on_seal(key, r))
        else:
            self._ask(key, [])

    def _ask(self, key: str, parts: list[bytes]) -> None:
        start = len(parts) * PIECE

        def took(reply: Any) -> None:
            if isinstance(reply, bytes):
                parts.append(reply)
                if len(reply) == PIECE:  # there may be more
                    self._ask(key, parts)
                    return
            self._open(key, b"".join(parts))

        self._desk.wire.call(b"GETRANGE", self._name(key), start, start + PIECE - 1, then=took)

    def _open(self, key: str, sealed: bytes) -> None:
        blob = b""
        try:
            blob = self._desk.sealed.open_blob(key, sealed) if sealed else b""
        except ForgedError as error:
            self._desk.report_forgery(str(error))
        self._deliver(key, blob)

    def _on_seal(self, key: str, reply: Any) -> None:
        try:
            seal = pieces.unpack_seal(self._desk.sealed.open_blob(key, reply)) if reply else None
        except (ForgedError, ProtocolError, TypeError) as error:
            self._desk.report_forgery(str(error))
            seal = None
        if seal is None:
            self._deliver(key, b"")
            return
        Reading(self._desk.wire, self._name(key), "", seal, lambda reading: self._on_read(key, reading)).ask()

    def _on_read(self, key: str, reading: Reading) -> None:
        blob = b""
        try:
            blob = reading.data() or b""
        except ForgedError as error:
            self._desk.report_forgery(str(error))
        self._deliver(key, blob)

    def _deliver(self, key: str, blob: bytes) -> None:
        self._wanted.discard(key)
        self._desk.deliver(m.Define(key, blob))

    def _name(self, key: str) -> str:
        return self._desk.names(f"blob:{key}")


def _nothing(reply: object) -> None:
    """For commands whose reply tells nothing."""
