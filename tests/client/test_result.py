"""What a result tells of its task."""

import math

import pytest

from nbqueue.client.result import Progress


@pytest.mark.parametrize(
    ("progress", "fraction", "shown"),
    [
        (Progress(12, 60, "reading"), 0.2, "<Progress 12/60 (20%) reading>"),
        (Progress(1.5, 3, ""), 0.5, "<Progress 1.5/3 (50%)>"),
        (Progress(7, None, ""), None, "<Progress 7>"),
        (Progress(7, None, "rows"), None, "<Progress 7 rows>"),
        (Progress(0, 0, ""), None, "<Progress 0/0>"),
        (Progress(9, 3, ""), 1.0, "<Progress 9/3 (100%)>"),
        (Progress(1, math.inf, ""), 0.0, "<Progress 1/inf (0%)>"),
        (Progress(12345678, 23456789, ""), 12345678 / 23456789, "<Progress 12345678/23456789 (53%)>"),
    ],
)
def test_progress_is_readable(progress: Progress, fraction: float | None, shown: str) -> None:
    assert progress.fraction == fraction
    assert repr(progress) == shown
