"""What a step takes from those before it, on its way to the executor.

Small outcomes go along in the ``Assignment``.  Of others the executor asks for portions, by ``Need`` with a
key of this form, answered by ``Define``::

    inputs/<id of the step>/<number of the first>  ─▶  some outcomes in the order of ``Step.after``, packed
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from nbqueue.messages import Outcome

#: bytes that go along with an assignment
MAX_ALONG: Final = 64 * 2**10
#: bytes after which a portion ends
PORTION_BYTES: Final = 4 * 2**20
#: of an outcome beside its value
OUTCOME_BYTES: Final = 150

_PREFIX: Final = "inputs/"

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(list[Outcome]).decode


def key_of(id: str, start: int) -> str:
    """How to ask for the inputs of a step, from that number on."""
    return f"{_PREFIX}{id}/{start}"


def parsed(key: str) -> tuple[str, int] | None:
    """The step and the number of a key, None if it is one of a blob."""
    if not key.startswith(_PREFIX):
        return None
    id, _, start = key[len(_PREFIX) :].rpartition("/")
    return (id, int(start)) if start.isdecimal() and len(start) < 10 else None


def size_of(outcome: Outcome) -> int:
    """Bytes that an outcome takes on its way, about."""
    failure = outcome.failure
    extra = 0 if failure is None else len(failure.traceback) + len(failure.exception) + len(failure.message)
    return OUTCOME_BYTES + len(outcome.value) + extra


def pack(outcomes: Iterable[Outcome]) -> bytes:
    """As many outcomes as a portion has, and one at least; b"" if there are none."""
    portion, size = [], 0
    for outcome in outcomes:
        portion.append(outcome)
        size += size_of(outcome)
        if size > PORTION_BYTES:
            break
    return _encode(portion) if portion else b""


def unpack(data: bytes) -> list[Outcome]:
    """The outcomes of a portion."""
    return _decode(data)
