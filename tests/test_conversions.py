"""What is written as a setting, an option or a word of a command, and what it means."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from nbqueue import conversions


@pytest.mark.parametrize(
    ("convert", "written", "meant"),
    [
        (conversions.seconds, timedelta(minutes=1), 60.0),
        (conversions.seconds, "1.5", 1.5),
        (conversions.count, "3", 3),
        (conversions.priority, 12, 9),
        (conversions.moment, "2030-01-01T12:00+00:00", datetime(2030, 1, 1, 12, tzinfo=UTC)),
    ],
)
def test_a_value_and_its_text_mean_the_same(
    convert: Callable[[Any], Any], written: object, meant: object
) -> None:
    assert convert(written) == meant
    assert convert(meant) == meant


@pytest.mark.parametrize(
    ("convert", "written"),
    [
        (conversions.seconds, "soon"),
        (conversions.seconds, -1),
        (conversions.seconds, True),
        (conversions.period, 0),
        (conversions.count, 1.5),
        (conversions.count, "1.5"),
        (conversions.moment, "tomorrow"),
        (conversions.moment, 5),
        (conversions.text, 5),
    ],
)
def test_what_is_wanted_is_told_in_either_form(convert: Callable[[Any], Any], written: object) -> None:
    with pytest.raises(conversions.Unexpected, match=" is expected") as caught:
        convert(written)
    assert caught.value.of("it", written) == f"it is {caught.value.wanted}, not {written!r}"
    assert not caught.value.wanted.endswith(",")
