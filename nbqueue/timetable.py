"""When a periodic task fires: pure arithmetic on a ``messages.Timetable``.

::

    crontab(minute=30, hour=2)  ─▶  Timetable  ─▶  following(timetable, anchor, after)  ─▶  Unix time

Every so many seconds are counted from an *anchor*, the moment of the registration.  A calendar names times of
a clock on the wall, as cron does, and means all of its fields at once.  Twice a year such a clock is changed:

- It is put forward: what falls into the hour that is left out fires when the clock has been changed, once.
- It is put back: what falls into the hour that comes twice fires the first time.
- Where every hour is meant (``hour='*'``) there is nothing to make up for: it fires by what the clock shows,
  in the repeated hour again.

Nothing here asks what time it is.
"""

import re
from bisect import bisect_left
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from math import floor, isfinite
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from nbqueue.messages import Timetable

#: seconds between two firings, at least and at most
SHORTEST: Final = 0.01
LONGEST: Final = 100 * 366 * 86_400.0
#: days in which a calendar has to have a day: a Monday, February 29, may be 40 years away
HORIZON: Final = 41 * 366
#: seconds between looks at a zone's offset; no clock is changed twice within so long
_STEP: Final = 86_400
_EPOCH: Final = date(1970, 1, 1).toordinal()
_DAY: Final = 24 * 60
#: name, least and greatest value of each field
FIELDS: Final = (
    ("minute", 0, 59), ("hour", 0, 23),
    ("day_of_week", 0, 6), ("day_of_month", 1, 31), ("month_of_year", 1, 12),
)  # fmt: skip
_OFFSET: Final = re.compile(r"UTC([+-])([01]\d|2[0-3]):([0-5]\d)")


def following(timetable: Timetable, anchor: float, after: float) -> float | None:
    """The first firing later than ``after``, as all times in Unix time; None if there is none."""
    if timetable.every:
        return _step_after(timetable.every, anchor, after)
    return _calendar(timetable).following(after)


def latest(timetable: Timetable, anchor: float, after: float, until: float, count: int) -> list[float]:
    """The last firings, ``count`` at most, that are later than ``after`` and not later than ``until``."""
    if timetable.every:
        number = min(
            count, floor((until - anchor) / timetable.every) - floor((after - anchor) / timetable.every)
        )
        window = (number + 1) * timetable.every
        return list(_between(timetable, anchor, max(after, until - window), until))[-count:]
    window = 3600.0
    while True:  # looks back further and further: a year of minutes would take its time
        found = list(_between(timetable, anchor, max(after, until - window), until))
        if len(found) >= count or until - window <= after:
            return found[-count:]
        window *= 8


def _between(timetable: Timetable, anchor: float, after: float, until: float) -> Iterator[float]:
    at = following(timetable, anchor, after)
    while at is not None and at <= until:
        yield at
        at = following(timetable, anchor, at)


def anchor_of(timetable: Timetable, now: float) -> float:
    """What the firings of an entry are counted from that is registered now."""
    if not timetable.relative:
        return round(now, 3)  # ids of firings show no more
    # as Celery: rounded to days, hours, minutes or seconds, by how long is waited
    seconds = next((unit for unit in (86_400, 3_600, 60, 1) if timetable.every >= unit), 1)
    offset = _offset(zone_of(timetable.zone), floor(now))
    return floor((now + offset) / seconds) * seconds - offset


def stamp(at: float) -> str:
    """A moment, to milliseconds: ``2026-11-28T09:00:00Z``."""
    when = datetime.fromtimestamp(round(at, 3), UTC)
    return when.isoformat(timespec="milliseconds" if when.microsecond else "seconds").replace("+00:00", "Z")


def flaw(timetable: Timetable) -> str:
    """Why a timetable cannot be kept, for a person; "" if it can."""
    try:
        zone_of(timetable.zone)
    except ValueError as error:
        return str(error)
    if timetable.every:
        if isfinite(timetable.every) and SHORTEST <= timetable.every <= LONGEST:
            return ""
        return f"it fires every {SHORTEST:g} s to every 100 years, not every {timetable.every} s"
    for name, least, greatest in FIELDS:
        values = getattr(timetable, name)
        if not values:
            return f"its {name} is empty: it would never fire"
        if len(values) > 60 or not all(least <= value <= greatest for value in values):
            return f"its {name} is {least} to {greatest}, each once"
    if _calendar(timetable).next_day(date(2000, 1, 1).toordinal()) is None:
        return "it would never fire: no month has such a day"
    return ""


@lru_cache(1024)
def zone_of(name: str) -> tzinfo:
    """The time zone of an IANA name, or of a fixed offset such as ``UTC+05:30``.

    Raises
    ------
    ValueError
        It is not known here.
    """
    if name == "UTC":
        return UTC
    if fixed := _OFFSET.fullmatch(name):
        offset = timedelta(hours=int(fixed[2]), minutes=int(fixed[3]))
        return timezone(-offset if fixed[1] == "-" else offset)
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(
            f"no time zone is called {name!r} here; names are such as 'Europe/London', and Python has them"
            " from the system or from the package tzdata"
        ) from None


def _step_after(every: float, anchor: float, after: float) -> float:
    steps = floor((after - anchor) / every) + 1
    at = anchor + steps * every
    return at if at > after else anchor + (steps + 1) * every


def _offset(zone: tzinfo, at: int) -> int:
    """Seconds by which its clock is ahead of UTC."""
    offset = datetime.fromtimestamp(at, zone).utcoffset()
    return 0 if offset is None else round(offset.total_seconds())


@lru_cache(1024)
def _calendar(timetable: Timetable) -> "_Calendar":
    return _Calendar(timetable)


class _Calendar:
    """The times of a clock on the wall, in seconds since 1970 by that clock."""

    def __init__(self, timetable: Timetable) -> None:
        self._zone = zone_of(timetable.zone)
        self._is_fixed = isinstance(self._zone, timezone)
        self._every_hour = len(set(timetable.hour)) == 24
        #: minutes of the day
        self._times = sorted({60 * hour + minute for hour in timetable.hour for minute in timetable.minute})
        self._weekdays = frozenset(timetable.day_of_week)
        self._days = frozenset(timetable.day_of_month)
        self._months = frozenset(timetable.month_of_year)

    def following(self, after: float) -> float | None:
        start = floor(after)
        offset = _offset(self._zone, start)
        wall: int | None = self._first_wall(start, offset)
        while wall is not None and (wall := self.next_wall(wall)) is not None:
            change = self._change(start, wall - offset, offset)
            if change is None:
                return float(wall - offset)
            changed = _offset(self._zone, change)
            if not self._every_hour and wall < change + changed:
                return float(change)  # it was left out
            start, wall = change, change + (changed if self._every_hour else max(changed, offset)) - 1
            offset = changed
        return None

    def _first_wall(self, start: int, offset: int) -> int:
        """What the clock shows; in a repeated hour, where that does not count, when it is over."""
        local = datetime.fromtimestamp(start, self._zone)
        if self._every_hour or not local.fold:
            return start + offset
        before = local.replace(fold=0).utcoffset()
        assert before is not None
        earlier = round(before.total_seconds())
        change = self._bisect(start - (earlier - offset), start, earlier)
        return max(start + offset, change + earlier - 1)

    def next_wall(self, after: int) -> int | None:
        """The next time of the clock, if nobody changes it."""
        day, minute = divmod(after // 60 + 1, _DAY)
        index = bisect_left(self._times, minute)
        if index == len(self._times):
            day, index = day + 1, 0
        found = self.next_day(day + _EPOCH)
        if found is None:
            return None
        if found != day + _EPOCH:
            index = 0
        return ((found - _EPOCH) * _DAY + self._times[index]) * 60

    def next_day(self, ordinal: int) -> int | None:
        """The first day from that on, None if there is none for a long time."""
        last = ordinal + HORIZON
        while ordinal < last:
            day = date.fromordinal(ordinal)
            if day.month not in self._months:
                year, month = divmod(day.year * 12 + day.month, 12)
                ordinal = date(year, month + 1, 1).toordinal()
            elif day.day in self._days and day.isoweekday() % 7 in self._weekdays:
                return ordinal
            else:
                ordinal += 1
        return None

    def _change(self, start: int, end: int, offset: int) -> int | None:
        """The first moment after ``start`` and up to ``end`` at which the offset is another one."""
        if self._is_fixed:
            return None
        while start < end:
            look = min(start + _STEP, end)
            if _offset(self._zone, look) != offset:
                return self._bisect(start, look, offset)
            start = look
        return None

    def _bisect(self, before: int, after: int, offset: int) -> int:
        """The moment between two at which the offset is no longer the one that it was."""
        while after - before > 1:
            middle = (before + after) // 2
            if _offset(self._zone, middle) == offset:
                before = middle
            else:
                after = middle
        return after
