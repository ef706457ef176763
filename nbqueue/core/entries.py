"""What a broker writes down, so that the next one knows what it knew: the words of its journal.

::

    Began                                  once a start, and first in a snapshot
    Defined, Joined                        blobs, executors
    Took ─▶ Leased ─▶ Ended                the usual life of a task
              │  ▲
              └──┴─ Stood, Printed         whatever else happens to it
    Forgot

Each entry says how things stand, never by how much they changed: reading one twice, or one that is
older than what a snapshot holds followed by those after it, leads to the same.  Times are those of the
clock of the start that wrote them; ``Began.epoch`` added to one gives Unix time.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple, TypeAlias

import msgspec

from nbqueue.core.permissions import LOCAL, Key
from nbqueue.core.records import Sender
from nbqueue.exceptions import ProtocolError
from nbqueue.messages import Failure, Hello, Outcome, Output, Task

#: of the entries; another one is not read
FORMAT: Final = 1


class Lease(NamedTuple):
    """That an executor may run a task."""

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


class Forgot(Entry, tag=9):
    """Records were deleted because somebody asked for it; those that expire are not mentioned."""

    ids: list[str]


AnyEntry: TypeAlias = Began | Defined | Joined | Took | Leased | Ended | Stood | Printed | Forgot

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(list[AnyEntry]).decode


def encode(entries: Iterable[AnyEntry]) -> bytes:
    """Entries as one turn of a journal."""
    return _encode(list(entries))


def halves(entries: list[AnyEntry]) -> tuple[list[AnyEntry], list[AnyEntry]] | None:
    """The same in two parts, to be written one after the other; None if they cannot be divided."""
    if len(entries) > 1:
        middle = len(entries) // 2
        return entries[:middle], entries[middle:]
    match entries:
        case [Took(order, at, sender, tasks)] if len(tasks) > 1:
            middle = len(tasks) // 2
            return [Took(order, at, sender, tasks[:middle])], [
                Took(order + middle, at, sender, tasks[middle:])
            ]
        case [Ended(outcomes)] if len(outcomes) > 1:
            middle = len(outcomes) // 2
            return [Ended(outcomes[:middle])], [Ended(outcomes[middle:])]
    return None


def subjects(entries: Iterable[AnyEntry]) -> set[str | int]:
    """The tasks whose state entries tell of, and the tokens of leases that they end."""
    found: set[str | int] = set()
    for entry in entries:
        match entry:
            case Took():
                found.update(task.id for task in entry.tasks)
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
