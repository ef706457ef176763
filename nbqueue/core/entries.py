"""What a broker writes down, so that the next one knows what it knew: the words of its journal.

::

    Began                                  once a start, and first in a snapshot
    Defined, Joined                        blobs, executors
    Took ─▶ Leased ─▶ Ended                the usual life of a task
              │  ▲
              └──┴─ Stood, Printed,        whatever else happens to it
                    Changed
    Forgot
    Tuned                                  what was said of all tasks of a name
    Scheduled ─▶ Fired, Unscheduled        periodic tasks

Each entry says how things stand, never by how much they changed: reading one twice, or one that is
older than what a snapshot holds followed by those after it, leads to the same.  Times are those of the
clock of the start that wrote them; ``Began.epoch`` added to one gives Unix time.
"""

from collections.abc import Iterable, Iterator
from typing import Final, TypeAlias

import msgspec

from nbqueue.core.permissions import LOCAL, Key
from nbqueue.core.records import Sender
from nbqueue.exceptions import ProtocolError
from nbqueue.messages import Failure, Hello, Outcome, Output, Periodic, Task

#: of the entries; another one is not read
FORMAT: Final = 1
#: bytes of a value that is written from where it lies
_LARGE_VALUE: Final = 2**16


class Lease(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """That an executor may run a task.  One a task: to make a named tuple takes six times as long."""

    id: str
    token: int
    attempt: int


class Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What is written is a list of these, one for each turn of the broker."""


class Began(Entry, tag=1):
    """What follows was written by this start of a broker."""

    boot: int
    epoch: float
    format: int = FORMAT


class Defined(Entry, tag=2):
    """A blob; see ``messages.Define``."""

    key: str
    blob: bytes


class Joined(Entry, tag=3):
    """An executor said hello: it may hold leases."""

    hello: Hello
    #: that it came by
    key: Key = LOCAL


class Took(Entry, tag=4):
    """Tasks of one sender were accepted; ``order`` is the first one's."""

    order: int
    at: float
    sender: Sender
    tasks: list[Task]


class Leased(Entry, tag=5):
    """Tasks were given to an executor."""

    executor: str
    at: float
    leases: list[Lease]


class Ended(Entry, tag=6):
    """Tasks have their outcomes."""

    outcomes: list[Outcome]


class Stood(Entry, tag=7):
    """How a task stood: all of its record that may change, but for its output and what a run reports."""

    id: str
    place: str
    state: str
    token: int
    executor: str
    worker: str
    attempt: int
    retries: int
    deaths: int
    losses: int
    leased_at: float
    started_at: float | None
    done_at: float
    due: float
    revoked: bool
    failure: Failure | None
    outcome: Outcome | None
    by: str = ""
    unwanted: bool = False


class Printed(Entry, tag=8):
    """Pieces of the output of tasks."""

    pieces: list[Output]


class Changed(Entry, tag=50):
    """What a task is from now on: it asked for a next run with other arguments, or in another queue."""

    task: Task


class Forgot(Entry, tag=9):
    """Records were deleted because somebody asked for it; those that expire are not mentioned."""

    ids: list[str]


class Tuned(Entry, tag=30):
    """What holds for all tasks of a name, and when one of them was last started at a limited rate."""

    name: str
    #: starts a second that were set at runtime, 0 for as many as there can be; None: none were
    rate: float | None
    #: soft and hard limit of each run, and since when they hold; None: none were set at runtime
    times: tuple[float | None, float | None, float] | None = None
    #: None: not that it mattered
    last: float | None = None
    #: starts a second that its limiter goes by, 0 if it has none
    pace: float = 0.0


class Scheduled(Entry, tag=40):
    """A periodic task, as ``core.firings.Recurrence`` has it; times are Unix times."""

    app: str
    periodic: Periodic
    sender: Sender
    anchor: float
    handled: float
    last_id: str = ""


class Fired(Entry, tag=41):
    """How far a periodic task has come; its firings are written down with it, as tasks that were taken."""

    app: str
    name: str
    handled: float
    last_id: str


class Unscheduled(Entry, tag=42):
    """Periodic tasks are no more."""

    app: str
    names: list[str]


AnyEntry: TypeAlias = (
    Began | Defined | Joined | Took | Leased | Ended | Stood | Printed | Changed | Forgot
    | Tuned | Scheduled | Fired | Unscheduled
)  # fmt: skip

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(list[AnyEntry]).decode


def encode(entries: Iterable[AnyEntry]) -> bytes:
    """Entries as one turn of a journal."""
    return _encode(list(entries))


def encode_large(entry: AnyEntry) -> list[bytes]:
    """One entry as a turn, in parts to be written one after the other: large values are not copied."""
    parts: list[bytes] = [b"\x91"]
    _encode_in_parts(entry, parts)
    return parts


def _encode_in_parts(value: object, parts: list[bytes]) -> None:
    """As the encoder would (github.com/msgpack/msgpack/blob/master/spec.md: bin 32, array 32)."""
    if isinstance(value, bytes) and len(value) >= _LARGE_VALUE:
        parts += [b"\xc6" + len(value).to_bytes(4, "big"), value]
        return
    if isinstance(value, msgspec.Struct) and value.__struct_config__.array_like:
        tag = value.__struct_config__.tag
        items = [*([] if tag is None else [tag]), *msgspec.structs.astuple(value)]
    elif isinstance(value, list | tuple):
        items = list(value)
    else:
        parts.append(_encode(value))
        return
    parts.append(b"\xdd" + len(items).to_bytes(4, "big"))
    for item in items:
        _encode_in_parts(item, parts)


def size(entries: Iterable[AnyEntry]) -> int:
    """Bytes of what may be large in them: definitions, arguments, values and exceptions."""
    found = 0
    for entry in entries:
        match entry:
            case Took():
                found += sum([len(task.payload) + len(task.captured) for task in entry.tasks])
            case Ended():
                found += sum(map(_outcome_size, entry.outcomes))
            case Stood(outcome=Outcome() as outcome):
                found += _outcome_size(outcome)
            case Defined():
                found += len(entry.blob)
    return found


def _outcome_size(outcome: Outcome) -> int:
    failure = outcome.failure
    return len(outcome.value) + (0 if failure is None else len(failure.exception) + len(failure.traceback))


def singles(entries: Iterable[AnyEntry]) -> Iterator[AnyEntry]:
    """The same, of one task each."""
    for entry in entries:
        match entry:
            case Took(order, at, sender, tasks):
                yield from (Took(order + n, at, sender, [task]) for n, task in enumerate(tasks))
            case Ended(outcomes):
                yield from (Ended([outcome]) for outcome in outcomes)
            case _:
                yield entry


def subjects(entries: Iterable[AnyEntry]) -> set[str | int]:
    """The tasks whose state entries tell of, and the tokens of leases that they begin or end."""
    found: set[str | int] = set()
    for entry in entries:
        match entry:
            case Took():
                found.update(task.id for task in entry.tasks)
            case Leased():
                found.update(lease.token for lease in entry.leases)
            case Ended():
                found.update(subject for outcome in entry.outcomes for subject in (outcome.id, outcome.token))
            case Stood():
                found.update((entry.id, entry.token))
    return found


def decode(turn: bytes | memoryview) -> list[AnyEntry]:
    """What :func:`encode` wrote.

    Raises
    ------
    ProtocolError
        It was not written by it, or by that of another version.
    """
    try:
        return _decode(turn)
    except msgspec.MsgspecError as error:
        raise ProtocolError(f"this journal was written by another version of nbqueue: {error}") from None
