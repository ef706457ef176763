"""When a timetable fires, beside a look at every single minute."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nbqueue.messages import Timetable
from nbqueue.timetable import anchor_of, flaw, following, latest, stamp, zone_of

#: with hours, half hours and none that are left out; west and east; changed at midnight, at one, at two
ZONES = (
    "UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "Asia/Beirut",
    "America/Havana", "Africa/Casablanca", "Pacific/Auckland", "America/Santiago", "UTC-03:30",
)  # fmt: skip
ALWAYS = {
    "minute": tuple(range(60)),
    "hour": tuple(range(24)),
    "day_of_week": tuple(range(7)),
    "day_of_month": tuple(range(1, 32)),
    "month_of_year": tuple(range(1, 13)),
}


def calendar(zone: str = "UTC", **fields: tuple[int, ...]) -> Timetable:
    return Timetable(**{**ALWAYS, **fields}, zone=zone)


def unix(*when: int, zone: str = "UTC", fold: int = 0) -> float:
    return datetime(*when, tzinfo=zone_of(zone), fold=fold).timestamp()


def fits(timetable: Timetable, wall: datetime) -> bool:
    return (
        wall.minute in timetable.minute
        and wall.hour in timetable.hour
        and wall.isoweekday() % 7 in timetable.day_of_week
        and wall.day in timetable.day_of_month
        and wall.month in timetable.month_of_year
    )


def every_minute(timetable: Timetable, after: float, days: int) -> float | None:
    """The oracle: look at each minute of the next days, and at what the clock shows then."""
    zone = zone_of(timetable.zone)
    hourly = len(timetable.hour) == 24
    minute = timedelta(minutes=1)
    at = datetime.fromtimestamp(after // 60 * 60, UTC)
    before = at.astimezone(zone).replace(tzinfo=None)
    for _ in range(days * 1440):
        at += minute
        wall = at.astimezone(zone)
        shown = wall.replace(tzinfo=None)
        if fits(timetable, shown) and (hourly or not wall.fold):
            return at.timestamp()
        left_out = before + minute
        while left_out < shown and not hourly:
            if fits(timetable, left_out):
                return at.timestamp()
            left_out += minute
        before = shown
    return None


def some(least: int, most: int) -> st.SearchStrategy[tuple[int, ...]]:
    values = st.sets(st.integers(least, most), min_size=1, max_size=4)
    return values.map(lambda found: tuple(sorted(found)))


def any_or(name: str, least: int, most: int) -> st.SearchStrategy[tuple[int, ...]]:
    return st.one_of(st.just(ALWAYS[name]), some(least, most))


calendars = st.builds(
    calendar,
    zone=st.sampled_from(ZONES),
    minute=any_or("minute", 0, 59),
    hour=st.one_of(st.just(ALWAYS["hour"]), some(0, 3), some(0, 23)),
    day_of_week=any_or("day_of_week", 0, 6),
)
#: a day around a change of the clock, or any other
moments = st.one_of(
    st.sampled_from(
        [
            unix(2026, 3, 28, 22), unix(2026, 10, 24, 22), unix(2026, 3, 8, 4), unix(2026, 11, 1, 3),
            unix(2026, 4, 4, 12), unix(2026, 10, 3, 12), unix(2026, 9, 26, 12), unix(2026, 9, 6, 2),
            unix(2027, 3, 27, 20), unix(2026, 10, 24, 18),
        ]
    ),
    st.integers(int(unix(2020, 1, 1)), int(unix(2036, 1, 1))),
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(calendars, moments, st.floats(0, 86_400))
def test_it_fires_when_a_look_at_every_minute_says_so(timetable: Timetable, day: float, more: float) -> None:
    after = day + more
    expected = every_minute(timetable, after, days=8)
    assert expected is not None  # no week lacks a weekday
    assert following(timetable, 0.0, after) == expected


@settings(max_examples=100, deadline=None)
@given(calendars, moments, st.integers(1, 5 * 86_400), st.integers(1, 7))
def test_the_latest_firings_are_the_last_of_all(
    timetable: Timetable, day: float, span: int, count: int
) -> None:
    until, firings = day + span, []
    at = following(timetable, 0.0, day)
    while at is not None and at <= until:
        firings.append(at)
        at = following(timetable, 0.0, at)
    assert latest(timetable, 0.0, day, until, count) == firings[-count:]


@settings(max_examples=500)
@given(
    st.floats(0.01, 1e6), st.floats(1.7e9, 1.9e9), st.floats(0, 1e7), st.integers(1, 5), st.integers(0, 2000)
)
@example(0.1, 1.7e9, 0.3, 1, 1)
def test_steps_go_on_from_their_anchor_and_never_stand_still(
    every: float, anchor: float, more: float, count: int, steps: int
) -> None:
    timetable = Timetable(every=every)
    due = following(timetable, anchor, anchor + more)
    assert due is not None
    assert anchor + more < due <= anchor + more + every * (1 + 1e-6) + 1e-6
    assert latest(timetable, anchor, anchor + more, due, count) == [due]
    found = latest(timetable, anchor, anchor + more, due + steps * every, count)
    assert 0 < len(found) <= count
    assert due + steps * every - found[-1] <= every * (1 + 1e-6) + 1e-6


# ── the clock is changed ─────────────────────────────────────────────────────────────────────────


def firings(timetable: Timetable, after: float, number: int) -> list[str]:
    """As the clock on the wall shows them."""
    shown = []
    at: float | None = after
    for _ in range(number):
        assert at is not None
        at = following(timetable, 0.0, at)
        assert at is not None
        shown.append(datetime.fromtimestamp(at, zone_of(timetable.zone)).strftime("%d. %H:%M%z"))
    return shown


def test_in_spring_what_is_left_out_fires_when_the_clock_has_been_put_forward() -> None:
    nightly = calendar("Europe/Berlin", minute=(10, 30), hour=(2,))
    start = unix(2026, 3, 28, 12, zone="Europe/Berlin")
    assert firings(nightly, start, 3) == ["29. 03:00+0200", "30. 02:10+0200", "30. 02:30+0200"]


def test_in_autumn_what_comes_twice_fires_the_first_time() -> None:
    nightly = calendar("Europe/Berlin", minute=(30,), hour=(2,))
    start = unix(2026, 10, 24, 12, zone="Europe/Berlin")
    assert firings(nightly, start, 2) == ["25. 02:30+0200", "26. 02:30+0100"]
    assert firings(nightly, unix(2026, 10, 25, 2, 10, zone="Europe/Berlin", fold=1), 1) == ["26. 02:30+0100"]


def test_what_fires_each_hour_does_so_in_the_repeated_hour_too() -> None:
    hourly = calendar("Europe/Berlin", minute=(30,))
    start = unix(2026, 10, 25, 1, zone="Europe/Berlin")
    assert firings(hourly, start, 4) == [
        "25. 01:30+0200",
        "25. 02:30+0200",
        "25. 02:30+0100",
        "25. 03:30+0100",
    ]
    spring = unix(2026, 3, 29, 1, zone="Europe/Berlin")
    assert firings(hourly, spring, 2) == ["29. 01:30+0100", "29. 03:30+0200"]


def test_a_day_that_was_left_out_is_made_up_for() -> None:
    """Samoa went over the date line: there was no December 30 in 2011."""
    morning = calendar("Pacific/Apia", minute=(0,), hour=(7,))
    start = unix(2011, 12, 29, 8, zone="Pacific/Apia")
    assert firings(morning, start, 2) == ["31. 00:00+1400", "31. 07:00+1400"]


# ── anchors, names, flaws ────────────────────────────────────────────────────────────────────────


def test_a_leap_day_that_is_a_monday_is_found_however_far_it_is() -> None:
    rare = calendar(minute=(0,), hour=(0,), day_of_week=(1,), day_of_month=(29,), month_of_year=(2,))
    assert following(rare, 0.0, unix(2072, 3, 1)) == unix(2112, 2, 29)


@pytest.mark.parametrize(
    ("every", "zone", "start"),
    [
        (10.0, "UTC", (2026, 5, 1, 12, 34, 56)),
        (90.0, "UTC", (2026, 5, 1, 12, 34, 0)),
        (7200.0, "Asia/Kolkata", (2026, 5, 1, 12, 0, 0)),
        (86_400.0, "Asia/Kolkata", (2026, 5, 1, 0, 0, 0)),
    ],
)
def test_relative_steps_are_counted_from_a_round_time_of_the_clock(
    every: float, zone: str, start: tuple[int, ...]
) -> None:
    now = unix(2026, 5, 1, 12, 34, 56, 789_000, zone=zone)
    assert anchor_of(Timetable(every=every, relative=True, zone=zone), now) == unix(*start, zone=zone)
    assert anchor_of(Timetable(every=every, zone=zone), now) == now


def test_a_firing_is_stamped_to_the_millisecond() -> None:
    assert stamp(unix(2026, 11, 28, 9)) == "2026-11-28T09:00:00Z"
    assert stamp(unix(2026, 11, 28, 9) + 0.25) == "2026-11-28T09:00:00.250Z"


@pytest.mark.parametrize(
    ("timetable", "text"),
    [
        (Timetable(every=0.001), "every 0.01 s"),
        (Timetable(every=-1.0), "every 0.01 s"),
        (Timetable(every=float("nan")), "every 0.01 s"),
        (Timetable(every=float("inf")), "every 0.01 s"),
        (Timetable(), "minute is empty"),
        (calendar(hour=(24,)), "hour is 0 to 23"),
        (calendar(day_of_month=(30,), month_of_year=(2,)), "never fire"),
        (calendar("Middle/Earth"), "no time zone is called 'Middle/Earth'"),
        (calendar("../../etc/passwd"), "no time zone"),
        (calendar("Europe"), "no time zone"),
        (calendar("\0"), "no time zone"),
        (calendar("UTC+99:99"), "no time zone"),
        (calendar(""), "no time zone"),
    ],
)
def test_what_can_never_fire_is_said(timetable: Timetable, text: str) -> None:
    assert text in flaw(timetable)


def test_what_can_fire_has_no_flaw() -> None:
    assert not flaw(Timetable(every=30.0))
    assert not flaw(calendar("Europe/Berlin", minute=(0,)))
    assert zone_of("Europe/Berlin") == ZoneInfo("Europe/Berlin")
