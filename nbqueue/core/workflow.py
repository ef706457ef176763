"""Who waits for whom, and what becomes of those who wait when a task ends.

A step of a workflow is a task like any other, submitted after those that it waits for; its place is WAITING
until they have ended::

    chain(a, b)          b after [a], takes 0
    chord([a, b], c)     c after [a, b], takes [0, 1]
    a, link_error=e      e after [a] on FAILURE, takes 0

    predecessor ended ─▶ consequence ─▶ nothing yet: others are awaited
                                     ├▶ all have ended as wanted: it may run
                                     └▶ an outcome: it will never run

An outcome that was handed down names the task that it comes from (``Outcome.origin``), so that an errback is
called for the failure of its own task, and of no other.

What a step may still take from a task is kept until the step is done: it may have to run again.
"""

from collections.abc import Iterator, Set
from typing import Final, Protocol

import msgspec

from nbqueue.core.records import DONE, Record
from nbqueue.core.store import Records
from nbqueue.messages import SAVED, Failure, Outcome, Step
from nbqueue.states import FAILURE, REVOKED, SUCCESS

_ENDS: Final = {FAILURE: "failed", REVOKED: "was revoked", SUCCESS: "succeeded"}
#: lists within lists of a step's input
MAX_DEPTH: Final = 32


class Known(Protocol):
    """Records by id."""

    def get(self, id: str, /) -> Record | None: ...


class Workflow:
    """The unfinished steps of all workflows."""

    def __init__(self) -> None:
        #: unfinished steps by their ids, by the id of each task that they wait for, or have waited for
        self.dependents: dict[str, dict[str, Record]] = {}
        #: how many of its predecessors have not ended, by the id of an unfinished step
        self._left: dict[str, int] = {}

    def join(self, step: Record, records: Records) -> str:
        """A step is there, and unfinished; returns the id of a predecessor that is not, "" if all are."""
        unknown, left = "", 0
        for id in dict.fromkeys(step.predecessors):
            self.dependents.setdefault(id, {})[step.task.id] = step
            record = records.get(id)
            if record is None:
                unknown = unknown or id
            left += record is None or record.place != DONE
        self._left[step.task.id] = left
        return unknown

    def expect(self, step: Record) -> None:
        """The same, before all tasks are there that it may wait for; :meth:`join` is still to be called."""
        for id in dict.fromkeys(step.predecessors):
            self.dependents.setdefault(id, {})[step.task.id] = step

    def leave(self, step: Record) -> Iterator[str]:
        """A step is done, or replaced; yields the ids of tasks that nobody needs any more."""
        self._left.pop(step.task.id, None)
        for id in dict.fromkeys(step.predecessors):
            others = self.dependents.get(id)
            if others is not None and others.pop(step.task.id, None) is not None and not others:
                del self.dependents[id]
                yield id

    def ended(self, record: Record) -> list[Record]:
        """A task has ended; returns the steps that are concerned."""
        left = self._left
        # of an earlier broker's steps, some may not have joined yet
        concerned = [s for id, s in self.dependents.get(record.task.id, {}).items() if id in left]
        for step in concerned:
            left[step.task.id] -= 1
        return concerned

    @property
    def steps(self) -> Set[str]:
        """Ids of all that have joined and not left."""
        return self._left.keys()

    def left(self, id: str) -> int:
        """How many tasks a step still waits for."""
        return self._left.get(id, 0)


# ── what becomes of a step ───────────────────────────────────────────────────────────────────────


def consequence(step: Record, ended: Record, records: Known, now: float) -> Outcome | None:
    """How a step ends because of a task that it waited for, None if it does not."""
    outcome, place = ended.outcome, step.task.step
    assert outcome is not None, ended
    if step.by:
        return _passed_on(step, outcome, now, origin="")
    assert place is not None, step
    if place.on == FAILURE:
        own_failure = outcome.state == FAILURE and not outcome.origin
        return None if own_failure else _uncalled(step, ended, now)
    if outcome.state == SUCCESS:
        return None
    if place.optional:
        return _uncalled(step, ended, now)
    is_link = not isinstance(place.takes, list) and len(place.after) == 1
    if is_link or _all_from(outcome.origin, place, records):
        return _passed_on(step, outcome, now, origin=outcome.origin or ended.task.id)
    return _chord_error(step, ended, now)


def depends_on_others(step: Record, ended: Record, records: Known) -> bool:
    """Whether it makes a difference to how a step ends what becomes of the others that it waits for: they may
    all end for the same task.  To be asked if there is a :func:`consequence`."""
    place = step.task.step
    if step.by or place is None or place.on == FAILURE or place.optional or len(place.after) == 1:
        return False
    if ended.outcome is None or not ended.outcome.origin:
        return False
    return any((found := records.get(id)) is not None and found.place != DONE for id in place.after)


def _all_from(origin: str, place: Step, records: Known) -> bool:
    """Whether all that a step waits for were not run, for the end of the same task."""
    if not origin:
        return False
    found = (records.get(id) for id in place.after)
    return all(r is not None and r.outcome is not None and r.outcome.origin == origin for r in found)


def _passed_on(step: Record, outcome: Outcome, now: float, *, origin: str) -> Outcome:
    """The outcome of another task, as that of a step."""
    return msgspec.structs.replace(
        outcome, id=step.task.id, token=step.token, at=now, retries=step.retries, origin=origin
    )


def _uncalled(step: Record, ended: Record, now: float) -> Outcome:
    assert ended.outcome is not None
    text = f"not called for: {title(ended)} {_ENDS[ended.outcome.state]}"
    return broker_outcome(
        step, REVOKED, "TaskRevokedError", text, now, origin=ended.outcome.origin or ended.task.id
    )


def _chord_error(step: Record, ended: Record, now: float) -> Outcome:
    assert ended.outcome is not None
    failure = ended.outcome.failure
    what = f": {failure.type}: {failure.message}" if failure is not None else ""
    text = f"{title(ended)} {_ENDS[ended.outcome.state]}{what}"
    return broker_outcome(step, FAILURE, "ChordError", text, now)


def title(record: Record) -> str:
    """``tasks.add[6f1c…]``"""
    return f"{record.task.name}[{record.task.id}]"


def broker_outcome(
    record: Record, state: str, error: str, text: str, now: float, origin: str = ""
) -> Outcome:
    """An outcome that no run produced: the broker's own."""
    failure = Failure(error, "nbqueue.exceptions", text, f"nbqueue.exceptions.{error}: {text}\n")
    runtime = now - record.started_at if record.started_at is not None else 0.0
    return Outcome(
        record.task.id, record.token, state, b"", failure, runtime, "", now, record.retries, origin=origin
    )


# ── what cannot be right in a step, whoever sends it ─────────────────────────────────────────────


def flaw(step: Step) -> str:
    """Why a step cannot be accepted, for a person; "" if it can."""
    if step.on not in (SUCCESS, FAILURE, SAVED):
        return f"a step is on {SUCCESS} or {FAILURE} of others, not on {step.on!r}"
    if not all(step.after):
        return "a step names those before it by their ids, of which none is empty"
    lists = [(step.takes, 0)]
    while lists:
        takes, depth = lists.pop()
        if isinstance(takes, list) and depth < MAX_DEPTH:
            lists += [(item, depth + 1) for item in takes]
        elif not _is_index(takes, len(step.after)) and not (takes is None and depth == 0):
            return f"a step takes indices of those before it, in lists at most {MAX_DEPTH} deep"
    return ""


def _is_index(value: object, count: int) -> bool:
    return type(value) is int and 0 <= value < count
