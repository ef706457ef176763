"""A task as it is kept in Redis, and as the core's :class:`~nbqueue.core.records.Record` of it.

::

    tasks     ─ Envelope   what was submitted, by whom, when: signed, never changed, ─┐
                or a Call  the same, where a template has most of it (.templates)     │
    standing  ─ Standing   lease, attempts, state: changed by scripts                ─┼─▶ Record ─▶ decisions
    steps     ─ Turn       of a step: how it lines up when its turn has come         ─┤     of the core
    result:ID ─ Kept       the head of the record and its outcome: signed            ─┘

What is unpickled later (arguments, values, exceptions) only ever comes out of something signed.
"""

from base64 import b64decode, b64encode
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from nbqueue.core.firings import Recurrence
from nbqueue.core.limits import TimeLimits
from nbqueue.core.output import OutputLog
from nbqueue.core.records import DONE, LEASED, READY, SCHEDULED, WAITING, Record, Sender
from nbqueue.exceptions import ProtocolError
from nbqueue.messages import (
    AnyMessage,
    Hello,
    Outcome,
    Output,
    Progress,
    Retrying,
    Step,
    Task,
    Update,
)
from nbqueue.states import PENDING
from nbqueue.wire.codec import pack
from nbqueue.wire.signing import SIZE, ForgedError, Signer

# Kinds of seals
TASK: Final = "task"
CALL: Final = "call"
TEMPLATE: Final = "template"
RESULT: Final = "result"
EVENT: Final = "event"
BLOB: Final = "blob"
HELLO: Final = "hello"
SUMMONS: Final = "order"
SAID: Final = "reply"
TUNED: Final = "tuning"
ENTRY: Final = "periodic task"
REPLACED: Final = "replaced"


class Envelope(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What is kept of a submission."""

    task: Task
    #: id of the client
    client: str
    notebook: str
    #: when it was submitted, in Redis' time
    at: float


class Call(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What is kept of a submission that has the rest in common with others.  Its id, under which it is kept,
    is signed with it."""

    #: what names the template
    template: bytes
    at: float
    payload: bytes
    captured: bytes = b""
    group: str = ""
    parent_id: str = ""
    root_id: str = ""


class Origin(msgspec.Struct, frozen=True, eq=False, gc=False):
    """Where unfinished tasks come from; one for all that have it in common."""

    #: id of the client
    client: str
    notebook: str
    #: that they refer to as long as they have not ended
    blobs: tuple[str, ...]


class Kin(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Where a finished task came from."""

    parent_id: str = ""
    step: Step | None = None
    #: id of the task that it ended as
    by: str = ""


class Kept(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What is kept of a finished task."""

    outcome: Outcome
    name: str
    queue: str
    group: str
    at: float
    notebook: str
    #: None for a task that a client called by itself
    kin: Kin | None = None


class Summons(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An order to one worker."""

    #: its name
    order: str
    #: id of the client that wants it
    client: str
    #: id of the worker
    worker: str
    #: when it was given, in Redis' time
    at: float
    command: str
    args: dict[str, Any]


class Said(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A worker's answer to it."""

    order: str
    worker: str
    data: Any
    #: why not, "" if it was done
    error: str


class Tuned(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What was said at runtime of the tasks of a name."""

    name: str
    times: TimeLimits | None = None
    #: starts a second, 0 for as many as there can be; None for what the tasks say
    rate: float | None = None


class Standing(msgspec.Struct, array_like=True, gc=False):
    """How an unfinished task stands.  Scripts change the fields by their places: see ``claim.lua``."""

    #: of its lease, 0 when nobody has one
    token: int = 0
    executor: str = ""
    attempt: int = 0
    leased_at: float = 0.0
    #: 0 when its run has not been reported
    started_at: float = 0.0
    retries: int = 0
    deaths: int = 0
    losses: int = 0
    #: when it may run again
    due: float = 0.0
    revoked: bool = False
    state: str = PENDING
    worker: str = ""


class Turn(msgspec.Struct, gc=False):
    """How a step lines up when its turn has come, for scripts: see ``workflow.lua``.  Nothing that is signed
    follows from it, but ``by``, which is signed itself."""

    queue: str
    lane: str
    priority: str
    entry: str
    delay: float
    #: below 0: never
    expires: float
    #: how those before it are to end: as ``messages.Step.on``; ``BY`` for one that was replaced
    on: str
    #: the ids of those before it
    after: list[str]
    #: by which it was replaced, sealed; "" by none
    by: str = ""
    #: one before it that has ended otherwise
    bad: str = ""
    #: when it is due, once its turn has come; 0 if nobody needs to know
    due: float = 0.0


#: a replaced task ends as the other does, however that is
BY: Final = "BY"
#: with which a call begins after its MAC, as an array of seven; an envelope is one of four
_CALL_MARK: Final = 0x97

_envelope: Final = msgspec.msgpack.Decoder(Envelope).decode
_call: Final = msgspec.msgpack.Decoder(Call).decode
_kept: Final = msgspec.msgpack.Decoder(Kept).decode
_turn: Final = msgspec.msgpack.Decoder(Turn).decode
_replaced: Final = msgspec.msgpack.Decoder(tuple[str, str]).decode
_standing: Final = msgspec.msgpack.Decoder(Standing).decode
_events: Final = msgspec.msgpack.Decoder(list[AnyMessage]).decode
_hello: Final = msgspec.msgpack.Decoder(Hello).decode
_summons: Final = msgspec.msgpack.Decoder(Summons).decode
_said: Final = msgspec.msgpack.Decoder(Said).decode
_entry: Final = msgspec.msgpack.Decoder(Recurrence).decode
_tuned: Final = msgspec.msgpack.Decoder(Tuned).decode


class Sealed:
    """Reads and writes what an application keeps, signed."""

    def __init__(self, signer: Signer) -> None:
        self._signer = signer

    def envelope(self, envelope: Envelope) -> bytes:
        return self._signer.seal(TASK, pack(envelope))

    def call(self, id: str, call: Call) -> bytes:
        body = pack(call)
        return self._signer.mac(CALL, id.encode() + b"\0" + body) + body

    def template(self, name: str, template: Envelope) -> bytes:
        return self._signer.seal(f"{TEMPLATE} {name}", pack(template))

    def result(self, kept: Kept) -> bytes:
        return self._signer.seal(RESULT, pack(kept))

    def events(self, messages: Sequence[AnyMessage]) -> bytes:
        return self._signer.seal(EVENT, pack(messages))

    def hello(self, hello: Hello) -> bytes:
        return self._signer.seal(HELLO, pack(hello))

    def blob(self, key: str, blob: bytes) -> bytes:
        return self._signer.seal(f"{BLOB} {key}", blob)

    def replaced(self, id: str, by: str) -> str:
        """That a task was replaced by another, as text."""
        return b64encode(self._signer.seal(REPLACED, pack((id, by)))).decode()

    def open_replaced(self, id: str, sealed: str) -> str:
        """By which one it was."""
        try:
            found: tuple[str, str] = self._read(REPLACED, b64decode(sealed), _replaced)
        except ValueError:
            raise ForgedError(f"by what {id!r} was replaced is no seal") from None
        if found[0] != id:
            raise ForgedError(f"that {found[0]!r} was replaced is kept as if it had been {id!r}")
        return found[1]

    def open_envelope(self, id: str, sealed: bytes) -> Envelope:
        """
        Raises
        ------
        ForgedError
            It was not signed by us, or for another id.
        """
        envelope: Envelope = self._read(TASK, sealed, _envelope)
        if envelope.task.id != id:
            raise ForgedError(f"the task kept as {id!r} is {envelope.task.id!r}")
        return envelope

    @staticmethod
    def is_call(sealed: bytes) -> bool:
        """Whether it says that it is a call, not an envelope."""
        return len(sealed) > SIZE and sealed[SIZE] == _CALL_MARK

    def open_call(self, id: str, sealed: bytes) -> Call:
        """The same for a call."""
        body = sealed[SIZE:]
        self._signer.check(CALL, sealed[:SIZE], id.encode(errors="surrogateescape") + b"\0" + body)
        call: Call = _decoded(CALL, body, _call)
        return call

    def open_template(self, name: str, sealed: bytes) -> Envelope:
        template: Envelope = self._read(f"{TEMPLATE} {name}", sealed, _envelope)
        return template

    def open_result(self, id: str, sealed: bytes) -> Kept:
        """The same for a result."""
        kept = self.open_news(sealed)
        if kept.outcome.id != id:
            raise ForgedError(f"the result kept as {id!r} is that of {kept.outcome.id!r}")
        return kept

    def open_news(self, sealed: bytes) -> Kept:
        """A result that was told of, whatever its id."""
        kept: Kept = self._read(RESULT, sealed, _kept)
        return kept

    def open_events(self, sealed: bytes) -> list[AnyMessage]:
        events: list[AnyMessage] = self._read(EVENT, sealed, _events)
        return events

    def open_hello(self, sealed: bytes) -> Hello:
        hello: Hello = self._read(HELLO, sealed, _hello)
        return hello

    def summons(self, summons: Summons) -> bytes:
        return self._signer.seal(SUMMONS, pack(summons))

    def open_summons(self, sealed: bytes) -> Summons:
        summons: Summons = self._read(SUMMONS, sealed, _summons)
        return summons

    def said(self, said: Said) -> bytes:
        return self._signer.seal(SAID, pack(said))

    def open_said(self, sealed: bytes) -> Said:
        said: Said = self._read(SAID, sealed, _said)
        return said

    def tuned(self, tuned: Tuned) -> bytes:
        return self._signer.seal(TUNED, pack(tuned))

    def open_tuned(self, name: str, sealed: bytes) -> Tuned:
        tuned: Tuned = self._read(TUNED, sealed, _tuned)
        if tuned.name != name:
            raise ForgedError(f"what was said of {tuned.name!r} is kept as {name!r}")
        return tuned

    def entry(self, entry: Recurrence) -> bytes:
        return self._signer.seal(ENTRY, pack(entry))

    def open_entry(self, sealed: bytes) -> Recurrence:
        entry: Recurrence = self._read(ENTRY, sealed, _entry)
        return entry

    def open_blob(self, key: str, sealed: bytes) -> bytes:
        return bytes(self._signer.open(f"{BLOB} {key}", sealed))

    def _read(self, kind: str, sealed: bytes, decode: Any) -> Any:
        return _decoded(kind, self._signer.open(kind, sealed), decode)


def _decoded(kind: str, body: bytes | memoryview, decode: Any) -> Any:
    try:
        return decode(body)
    except msgspec.MsgspecError as error:
        raise ProtocolError(f"a {kind} in Redis was written by another version of nbqueue: {error}") from None


def pack_standing(standing: Standing) -> bytes:
    return pack(standing)


def unpack_standing(packed: bytes | None) -> Standing:
    return _standing(packed) if packed else Standing()


def unpack_turn(packed: bytes) -> Turn:
    return _turn(packed)


def record_of(
    task: Task, at: float, origin: Origin, standing: Standing, now: float, turn: Turn | None = None,
    by: str = "", *, waits: bool = False,
) -> Record:  # fmt: skip
    """An unfinished task, submitted ``at`` then, as the core sees it.

    ``turn``, ``by`` and ``waits`` are of a step: by which one it was replaced, whether it waits for others.
    """
    record = Record(task, at, 0, Sender(origin.client, "", origin.notebook))
    began = turn.due if turn is not None else 0.0
    record.due, record.by = standing.due or began or at + max(0.0, task.countdown), by
    if standing.token:
        record.place = LEASED
    elif waits:
        record.place = WAITING
    else:
        record.place = SCHEDULED if record.due > now else READY
    record.state, record.token, record.executor = standing.state, standing.token, standing.executor
    record.worker, record.attempt, record.retries = standing.worker, standing.attempt, standing.retries
    record.deaths, record.losses, record.revoked = standing.deaths, standing.losses, standing.revoked
    record.leased_at, record.started_at = standing.leased_at, standing.started_at or None
    return record


def standing_of(record: Record) -> Standing:
    """What is written of an unfinished record."""
    leased = record.place == LEASED
    return Standing(
        token=record.token if leased else 0,
        executor=record.executor if leased else "",
        attempt=record.attempt,
        leased_at=record.leased_at,
        started_at=record.started_at or 0.0,
        retries=record.retries,
        deaths=record.deaths,
        losses=record.losses,
        due=record.due if record.place == SCHEDULED else 0.0,
        revoked=record.revoked,
        state=record.state,
        worker=record.worker,
    )


def finished(kept: Kept) -> Record:
    """A finished task as the core sees it; of its arguments nothing is known any more."""
    outcome = kept.outcome
    kin = kept.kin or Kin()
    task = Task(
        outcome.id, kept.name, "", b"", queue=kept.queue, group=kept.group, parent_id=kin.parent_id,
        step=kin.step,
    )  # fmt: skip
    record = Record(task, kept.at, 0, Sender("", "", kept.notebook), DONE, outcome.state, outcome.token)
    record.by = kin.by
    record.worker, record.retries, record.done_at = outcome.worker, outcome.retries, outcome.at
    record.outcome = outcome
    return record


def kept_of(record: Record, outcome: Outcome) -> Kept:
    """What is kept of a record that has ended."""
    return kept_as(outcome, record.task, record.at, record.sender.notebook, record.by)


def kept_as(outcome: Outcome, task: Task, at: float, notebook: str, by: str = "") -> Kept:
    """The same of a task, submitted ``at`` then, that ended as ``by`` if that is not empty."""
    kin = None
    if task.parent_id or task.step is not None or by:
        kin = Kin(task.parent_id, task.step, by)
    return Kept(outcome, task.name, task.queue, task.group, at, notebook, kin)


def add_traces(record: Record, traces: Iterable[AnyMessage], limit: int) -> None:
    """Put what its runs have told into a record; ``limit`` in characters of output."""
    for message in traces:
        match message:
            case Output():
                if record.output is None:
                    record.output = OutputLog(limit)
                record.output.add(message)
            case Progress():
                record.progress = message
            case Update():
                record.update = message
            case Retrying():
                record.failure = message.failure


def blobs_of(task: Task) -> list[str]:
    """What must be there for the task to run."""
    return [key for key in (task.definition, task.captured_key, task.payload_key) if key]
