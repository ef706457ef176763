import pytest

from nbqueue.cli.words import duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (45.9, "45 s"), (200, "3 min 20 s"), (7500, "2 h 5 min"), (273_600, "3 d 4 h"), (-3, "0 s")],
)
def test_durations_show_their_two_largest_units(seconds, text):
    assert duration(seconds) == text
