"""Words that several faces say."""

import pytest

from nbqueue.utils.text import counted


@pytest.mark.parametrize(
    ("number", "noun", "text"),
    [
        (1, "process", "1 process"),
        (2, "process", "2 processes"),
        (0, "task", "0 tasks"),
        (10_000, "task", "10,000 tasks"),
        (1.0, "hour", "1 hour"),
        (1.5, "hour", "1.5 hours"),
    ],
)
def test_counts_agree_with_their_nouns(number: float, noun: str, text: str) -> None:
    assert counted(number, noun) == text
