"""When periodic tasks fire: Celery's ``crontab`` and ``schedule``.

>>> crontab(minute="*/15", hour="8-17", day_of_week="mon-fri")
<crontab: */15 8-17 * * mon-fri (m/h/dM/MY/d)>

They are plain values.  The broker is told what they mean (:meth:`schedule.timetable`), and keeps to it.
"""

import math
import numbers
import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, Final, NamedTuple, NoReturn

from nbqueue import timetable as calendar
from nbqueue.exceptions import ConfigurationError
from nbqueue.messages import Timetable
from nbqueue.utils.text import counted

__all__ = ["ParseException", "crontab", "crontab_parser", "maybe_schedule", "schedule", "solar"]

_WEEKDAYS: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_FULL_WEEKDAYS: Final = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")

#: what a field of a crontab may be
Cronspec = int | str | Iterable[int] | None


class ParseException(ConfigurationError):
    """A field of a crontab cannot be read; the message says which part of it."""


class schedstate(NamedTuple):  # noqa: N801 - Celery's name
    """Whether a task is due, and in how many seconds to look again."""

    is_due: bool
    next: float


class BaseSchedule:
    """What all schedules have.  ``nowfun`` returns the time, for :meth:`is_due` and
    :meth:`remaining_estimate`; the broker goes by its own clock."""

    def __init__(self, nowfun: Callable[[], datetime] | None = None, app: Any = None) -> None:
        self.nowfun = nowfun
        self.app = app

    def timetable(self, zone: str = "UTC") -> Timetable:
        """What the broker is told; ``zone`` is the time zone of calendars."""
        raise NotImplementedError

    @property
    def tz(self) -> tzinfo:
        """The application's time zone, UTC without one."""
        found = getattr(self.app, "timezone", None)
        return found if isinstance(found, tzinfo) else UTC

    def now(self) -> datetime:
        return self.nowfun() if self.nowfun is not None else datetime.now(UTC)

    def remaining_estimate(self, last_run_at: datetime) -> timedelta:
        """How long until it is due, if it ran at that time last; times without zone are in UTC."""
        following = self._following(_seconds_of(last_run_at))
        return timedelta(seconds=following - _seconds_of(self.now()))

    def is_due(self, last_run_at: datetime) -> schedstate:
        """Whether it is due, if it ran at that time last, and in how many seconds to look again."""
        remaining = self.remaining_estimate(last_run_at).total_seconds()
        if remaining > 0:
            return schedstate(False, remaining)
        now = _seconds_of(self.now())
        return schedstate(True, self._following(now) - now)

    def _following(self, after: float) -> float:
        zone = getattr(self.tz, "key", "UTC")
        timetable = self.timetable(zone)
        anchor = calendar.anchor_of(timetable, after) if timetable.relative else after
        found = calendar.following(timetable, anchor, after)
        if found is None:
            raise ConfigurationError(f"{self!r} never fires")
        return found


class schedule(BaseSchedule):  # noqa: N801 - Celery's name
    """Every so many seconds.

    Parameters
    ----------
    run_every
        Seconds, or a timedelta.
    relative
        Count from a whole second, minute, hour or day of the clock, instead of from the registration.
    """

    def __init__(
        self,
        run_every: float | timedelta,
        relative: bool = False,
        nowfun: Callable[[], datetime] | None = None,
        app: Any = None,
    ) -> None:
        super().__init__(nowfun, app)
        self.run_every = _duration(run_every)
        self.relative = bool(relative)

    @property
    def seconds(self) -> float:
        return self.run_every.total_seconds()

    @property
    def human_seconds(self) -> str:
        return _in_words(self.seconds)

    def timetable(self, zone: str = "UTC") -> Timetable:
        clock = zone if self.relative else "UTC"
        return Timetable(
            every=self.seconds, relative=self.relative, zone=clock, text=f"every {self.human_seconds}"
        )

    def __repr__(self) -> str:
        return f"<freq: {self.human_seconds}>"

    def __eq__(self, other: object) -> bool:
        if isinstance(other, schedule):
            return (self.run_every, self.relative) == (other.run_every, other.relative)
        return self.run_every == other

    def __hash__(self) -> int:
        return hash(self.run_every)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.run_every, self.relative, self.nowfun)


class crontab_parser:  # noqa: N801 - Celery's name
    """Reads one field of a crontab: ``*``, numbers, ranges (which may wrap around), steps and lists of these.

    >>> sorted(crontab_parser(60).parse("*/15,50-55/5"))
    [0, 15, 30, 45, 50, 55]
    """

    ParseException = ParseException

    def __init__(self, max_: int = 60, min_: int = 0) -> None:
        self.min_ = min_
        #: how many values there are
        self.max_ = max_

    def parse(self, spec: str) -> set[int]:
        """The values that a field means."""
        return {value for part in spec.split(",") for value in self._part(part.strip(), spec)}

    def _part(self, part: str, spec: str) -> list[int]:
        found = re.fullmatch(r"(?:(\*)|(\w+)(?:-(\w+))?)(?:/(\d+))?", part)
        if found is None:
            raise ParseException(
                f"{spec!r} is no crontab field: {part!r} is none of *, 5, 1-5, */2, 1-5/2, mon"
            )
        star, first, last, step = found.groups()
        if step is not None and (int(step) < 1 or (star is None and last is None)):
            raise ParseException(
                f"{spec!r} is no crontab field: in {part!r} a step needs a range, and is 1 or more"
            )
        return (self._all() if star else self._range(first, last))[:: int(step or 1)]

    def _all(self) -> list[int]:
        return list(range(self.min_, self.min_ + self.max_))

    def _range(self, first: str, last: str | None) -> list[int]:
        begin = self._number(first)
        end = begin if last is None else self._number(last)
        if begin <= end:
            return list(range(begin, end + 1))
        return [*range(begin, self.min_ + self.max_), *range(self.min_, end + 1)]

    def _number(self, text: str) -> int:
        if text.isdecimal():
            return self.checked(int(text))
        name = text.lower()
        if self.max_ == 7 and (name in _WEEKDAYS or name in _FULL_WEEKDAYS):
            return _WEEKDAYS.index(name[:3])
        raise ParseException(f"{text!r} is no number" + (" and no weekday" if self.max_ == 7 else ""))

    def checked(self, value: Any) -> int:
        """A value that this field can have."""
        if isinstance(value, bool) or not isinstance(value, numbers.Integral):
            raise TypeError(f"a crontab field is an int, a str or an iterable of ints, not {value!r}")
        number, most = int(value), self.min_ + self.max_ - 1
        if not self.min_ <= number <= most:
            raise ParseException(
                f"{number} is out of range: this field of a crontab is {self.min_} to {most}"
            )
        return number


class crontab(BaseSchedule):  # noqa: N801 - Celery's name
    """By the clock on the wall, as cron does: fires at each minute at which all of the fields fit.

    Parameters
    ----------
    minute
        0 to 59.  Each field is a number, an iterable of numbers, or text: ``"*/15"``, ``"1,13,30-45/5"``.
    hour
        0 to 23.
    day_of_week
        0 to 6, where 0 is Sunday, or names: ``"mon-fri"``.
    day_of_month
        1 to 31.
    month_of_year
        1 to 12.
    """

    def __init__(
        self,
        minute: Cronspec = "*",
        hour: Cronspec = "*",
        day_of_week: Cronspec = "*",
        day_of_month: Cronspec = "*",
        month_of_year: Cronspec = "*",
        nowfun: Callable[[], datetime] | None = None,
        app: Any = None,
    ) -> None:
        super().__init__(nowfun, app)
        given = (minute, hour, day_of_week, day_of_month, month_of_year)
        #: as they were written
        self._written = tuple(_kept(field) for field in given)
        self.minute = _expanded(self._written[0], 60, 0)
        self.hour = _expanded(self._written[1], 24, 0)
        self.day_of_week = _expanded(self._written[2], 7, 0)
        self.day_of_month = _expanded(self._written[3], 31, 1)
        self.month_of_year = _expanded(self._written[4], 12, 1)
        if trouble := calendar.flaw(self.timetable()):
            raise ConfigurationError(f"{self!r}: {trouble}")

    @classmethod
    def from_string(cls, text: str) -> "crontab":
        """Of a line as cron has it, minute, hour, day of month, month, day of week:
        ``crontab.from_string("30 7 * * mon")``."""
        fields = text.split()
        if len(fields) != 5:
            raise ParseException(f"{text!r} has {len(fields)} fields, and a crontab has 5")
        minute, hour, day_of_month, month_of_year, day_of_week = fields
        return cls(minute, hour, day_of_week, day_of_month, month_of_year)

    def timetable(self, zone: str = "UTC") -> Timetable:
        return Timetable(
            minute=tuple(sorted(self.minute)),
            hour=tuple(sorted(self.hour)),
            day_of_week=tuple(sorted(self.day_of_week)),
            day_of_month=tuple(sorted(self.day_of_month)),
            month_of_year=tuple(sorted(self.month_of_year)),
            zone=zone,
            text=self._line,
        )

    @property
    def _line(self) -> str:
        """In cron's order: minute, hour, day of month, month, day of week."""
        minute, hour, day_of_week, day_of_month, month_of_year = map(_shown, self._written)
        return f"{minute} {hour} {day_of_month} {month_of_year} {day_of_week}"

    def __repr__(self) -> str:
        return f"<crontab: {self._line} (m/h/dM/MY/d)>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, crontab):
            return NotImplemented
        return self._values == other._values

    def __hash__(self) -> int:
        return hash(self._values)

    @property
    def _values(self) -> tuple[frozenset[int], ...]:
        fields = (self.minute, self.hour, self.day_of_week, self.day_of_month, self.month_of_year)
        return tuple(frozenset(field) for field in fields)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (*self._written, self.nowfun)


class solar(BaseSchedule):  # noqa: N801 - Celery's name
    """Sunrise and sunset: not here.  A task that fires daily can compute them, and send another one."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise ConfigurationError(
            "there is no solar schedule here: let a task fire once a day with crontab(), compute the time in"
            " it, and send what is to be done with apply_async(eta=…)"
        )


def maybe_schedule(value: Any, relative: bool = False, app: Any = None) -> BaseSchedule:
    """The schedule that is meant by a number of seconds, a timedelta, or a schedule.

    Raises
    ------
    TypeError
        It is none of these.
    """
    if isinstance(value, BaseSchedule):
        if app is not None and value.app is None:
            value.app = app
        return value
    if isinstance(value, timedelta | numbers.Real) and value is not True and value is not False:
        return schedule(value, relative, app=app)  # type: ignore[arg-type]  # a Real is as good as a float
    raise TypeError(f"a schedule is a number of seconds, a timedelta, or crontab(…), not {value!r}")


# ── fields ───────────────────────────────────────────────────────────────────────────────────────


def _kept(field: Any) -> Any:
    """A field as it was written, for good: an iterator could be read once."""
    if field is None:
        return "*"
    return (
        field if isinstance(field, str | numbers.Integral) or not isinstance(field, Iterable) else set(field)
    )


def _expanded(field: Any, count: int, least: int) -> set[int]:
    parser = crontab_parser(count, least)
    if isinstance(field, str):
        return parser.parse(field)
    return {parser.checked(value) for value in (field if isinstance(field, set) else (field,))}


def _shown(field: Any) -> str:
    return ",".join(map(str, sorted(field))) if isinstance(field, set) else str(field).replace(" ", "")


# ── durations ────────────────────────────────────────────────────────────────────────────────────


def _duration(value: Any) -> timedelta:
    seconds = value.total_seconds() if isinstance(value, timedelta) else _number(value)
    if (
        trouble := calendar.flaw(Timetable(every=seconds))
        if seconds > 0
        else "it has to be more than 0 seconds"
    ):
        raise ConfigurationError(f"schedule({value!r}): {trouble}")
    return timedelta(seconds=seconds)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        _no_duration(value)
    return float(value) if math.isfinite(value) else _no_duration(value)


def _no_duration(value: Any) -> NoReturn:
    raise ConfigurationError(f"schedule({value!r}): a number of seconds or a timedelta is expected")


def _in_words(seconds: float) -> str:
    """``1.5 hours``, ``30 seconds``."""
    for size, unit in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= size:
            return counted(seconds / size, unit)
    return counted(float(seconds), "second")


def _seconds_of(when: datetime) -> float:
    return (when if when.tzinfo is not None else when.replace(tzinfo=UTC)).timestamp()
