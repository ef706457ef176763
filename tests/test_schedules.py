"""Celery's schedules: what their fields mean, and what they say of themselves."""

import pickle
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from nbqueue.exceptions import ConfigurationError
from nbqueue.schedules import ParseException, crontab, crontab_parser, maybe_schedule, schedule, solar

NOON = datetime(2026, 5, 11, 12, 0, tzinfo=UTC)  # a Monday


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("*/15", {0, 15, 30, 45}),
        ("1,13,30-45/5,50-59/2", {1, 13, 30, 35, 40, 45, 50, 52, 54, 56, 58}),
        ("55-5", {55, 56, 57, 58, 59, 0, 1, 2, 3, 4, 5}),
        ("5, 7", {5, 7}),
        (7, {7}),
        ([3, 4], {3, 4}),
        ({0, 30}, {0, 30}),
        (range(0, 60, 20), {0, 20, 40}),
        ("*", set(range(60))),
        (None, set(range(60))),
    ],
)
def test_minutes(field: Any, values: set[int]) -> None:
    assert crontab(minute=field).minute == values


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("sunday", {0}),
        ("sun", {0}),
        ("thu,fri", {4, 5}),
        ("mon-fri", {1, 2, 3, 4, 5}),
        ("sat-mon", {6, 0, 1}),
        ("Tuesday", {2}),
        ("*/2", {0, 2, 4, 6}),
        (1, {1}),
    ],
)
def test_weekdays(field: Any, values: set[int]) -> None:
    assert crontab(day_of_week=field).day_of_week == values


def test_fields_that_begin_at_one() -> None:
    nightly = crontab(0, 0, day_of_month="2-30/7", month_of_year="*/3")
    assert (nightly.day_of_month, nightly.month_of_year) == ({2, 9, 16, 23, 30}, {1, 4, 7, 10})


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"minute": "60"}, "60 is out of range: this field of a crontab is 0 to 59"),
        ({"minute": "*/0"}, "a step needs a range, and is 1 or more"),
        ({"minute": "5/2"}, "a step needs a range"),
        ({"minute": "1,,2"}, "'' is none of"),
        ({"minute": "-5"}, "'-5' is none of"),
        ({"hour": 24}, "0 to 23"),
        ({"day_of_month": 0}, "1 to 31"),
        ({"day_of_week": "noday"}, "'noday' is no number and no weekday"),
        ({"hour": "mon"}, "'mon' is no number"),
        ({"minute": []}, "its minute is empty"),
        ({"day_of_month": 31, "month_of_year": "2,4"}, "no month has such a day"),
    ],
)
def test_a_field_that_cannot_be_is_refused_where_it_is_written(fields: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigurationError, match=text.replace("*", r"\*")):
        crontab(**fields)


@pytest.mark.parametrize("value", [1.5, True, ["1"], object()])
def test_a_field_of_another_type_is_a_type_error(value: Any) -> None:
    with pytest.raises(TypeError, match="an int, a str or an iterable of ints"):
        crontab(minute=value)


def test_a_parser_says_what_it_cannot_read() -> None:
    assert crontab_parser(24).parse("*/4") == {0, 4, 8, 12, 16, 20}
    with pytest.raises(crontab_parser.ParseException):
        crontab_parser(24).parse("noon")
    assert issubclass(ParseException, ValueError)


def test_a_line_of_cron_is_the_same() -> None:
    assert crontab.from_string("30 7 1-7 */2 mon") == crontab(
        minute=30, hour=7, day_of_month="1-7", month_of_year="*/2", day_of_week=1
    )
    with pytest.raises(ParseException, match="has 4 fields"):
        crontab.from_string("30 7 * *")


def test_equal_schedules_are_equal_and_pickle() -> None:
    for one, other, different in [
        (crontab(minute="*/15"), crontab(minute={0, 15, 30, 45}), crontab(minute=0)),
        (schedule(90), schedule(timedelta(minutes=1.5)), schedule(90, relative=True)),
    ]:
        assert one == other == pickle.loads(pickle.dumps(one))
        assert hash(one) == hash(other)
        assert one != different
    assert schedule(30) == timedelta(seconds=30)


def test_their_texts() -> None:
    assert repr(crontab(minute=0, hour="*/3,8-17")) == "<crontab: 0 */3,8-17 * * * (m/h/dM/MY/d)>"
    assert repr(schedule(30)) == "<freq: 30 seconds>"
    assert schedule(timedelta(hours=1)).timetable().text == "every 1 hour"
    assert crontab(hour=[3, 1], minute=0, day_of_week="mon").timetable().text == "0 1,3 * * mon"


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), "10", None, True, timedelta(0)])
def test_an_interval_is_a_positive_number_of_seconds(value: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"schedule\("):
        schedule(value)


def test_what_is_no_schedule_is_named() -> None:
    assert maybe_schedule(5) == maybe_schedule(timedelta(seconds=5)) == schedule(5)
    assert maybe_schedule(daily := crontab(0, 0)) is daily
    for value in ("daily", None, True):
        with pytest.raises(TypeError, match="a number of seconds, a timedelta, or crontab"):
            maybe_schedule(value)


def test_there_is_no_sun_here_and_it_is_said_what_to_do() -> None:
    with pytest.raises(ConfigurationError, match="eta="):
        solar("sunset", -37.81753, 144.96715)


def test_when_it_is_due_by_a_clock_of_the_callers() -> None:
    half_past = crontab(minute=30, nowfun=lambda: NOON)
    assert half_past.remaining_estimate(NOON) == timedelta(minutes=30)
    assert half_past.is_due(NOON - timedelta(minutes=1)) == (False, 1800.0)
    assert half_past.is_due(NOON - timedelta(hours=1)) == (True, 1800.0)
    steady = schedule(10, nowfun=lambda: NOON)
    assert steady.is_due(NOON - timedelta(seconds=4)) == (False, 6.0)
    assert steady.is_due((NOON - timedelta(seconds=40)).replace(tzinfo=None)) == (True, 10.0)
