"""What is known of one periodic task: when it fires, what its firings are called, and which of them count.

Decided here alike for the ZeroMQ broker (``core.periodic``) and for whoever acts for a broker that is Redis.
"""

from math import inf
from typing import Final

import msgspec

from nbqueue import timetable
from nbqueue.core.records import Sender
from nbqueue.core.settings import too_large
from nbqueue.core.validation import flaw
from nbqueue.messages import Periodic

#: entries of all applications
MAX_ENTRIES: Final = 10_000
#: missed firings of one entry that are made up for at most, the last ones
MAX_CATCH_UP: Final = 100
#: seconds by which a firing may be late without being missed
LATE: Final = 5.0

ONCE: Final = "once"
SKIP: Final = "skip"
ALL: Final = "all"
#: what may be said of missed firings
MISSED: Final = (ONCE, SKIP, ALL)


class Recurrence(msgspec.Struct):
    """A periodic task: an entry of an application's schedule.  Times are Unix times."""

    app: str
    periodic: Periodic
    #: who registered it
    sender: Sender
    #: what steps of its timetable are counted from
    anchor: float
    #: all firings up to then have taken place, or never will
    handled: float
    #: id of the last firing, "" before the first
    last_id: str = ""
    #: when it fires next, inf for never
    due: float = inf
    #: why it does not fire as it should, "" if it does
    trouble: str = ""
    #: what its task is made of is gone
    lost: bool = False

    @property
    def key(self) -> tuple[str, str]:
        return self.app, self.periodic.name

    def id_of(self, at: float) -> str:
        """The id of a firing."""
        name = f"{self.app}/{self.periodic.name}" if self.app else self.periodic.name
        return f"{name}:{timetable.stamp(at)}"

    def plan(self) -> None:
        """Find out when it fires next, after all that was handled."""
        try:
            due = timetable.following(self.periodic.timetable, self.anchor, self.handled)
        except ValueError as error:  # a time zone that an earlier broker knew
            due, self.trouble = None, str(error)
        self.due = inf if due is None else due

    def firings(self, at: float) -> list[float]:
        """Those up to a time that have not been handled, the last ones if they are many."""
        count = MAX_CATCH_UP if self.periodic.missed == ALL else 1
        return timetable.latest(self.periodic.timetable, self.anchor, self.handled, at, count)

    def counts(self, firing: float, at: float) -> bool:
        """Whether a firing takes place at that time, and was not missed for good."""
        return self.periodic.missed != SKIP or at - firing <= LATE


def registered(
    app: str, periodic: Periodic, sender: Sender, old: Recurrence | None, at: float
) -> Recurrence | None:
    """The entry that is kept from a time on, in place of the ``old`` one of its name; None: that stays."""
    if old is not None and old.periodic == periodic and not old.lost:
        return None
    anchor = timetable.anchor_of(periodic.timetable, at)
    entry = Recurrence(app, periodic, sender, anchor, max(at, anchor))  # the anchor itself is no firing
    if old is not None and old.periodic.timetable == periodic.timetable:  # its times stay what they were
        entry.anchor, entry.handled = old.anchor, old.handled
    if old is not None:
        entry.last_id = old.last_id
    return entry


def flaw_of(periodic: Periodic, limit: int) -> str:
    """What is wrong with an entry, "" if nothing is; ``limit``: bytes that arguments may have."""
    task = periodic.task
    if not periodic.name:
        return "it has no name"
    if periodic.missed not in MISSED:
        return f"missed is {', '.join(MISSED)}, not {periodic.missed!r}"
    if task.step is not None or task.parent_id:
        return "it is part of a workflow: have a task send that, and let this task fire"
    if (size := len(task.payload) + len(task.captured)) > limit:
        return too_large("its arguments", size, limit)
    return flaw(task) or timetable.flaw(periodic.timetable)
