"""What the broker knows of one periodic task, and what its firings are called."""

from math import inf

import msgspec

from nbqueue import timetable
from nbqueue.core.records import Sender
from nbqueue.messages import Periodic


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
