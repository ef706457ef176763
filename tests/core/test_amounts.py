"""How much of something, as people write it."""

from typing import Any

import pytest

from nbqueue.core.amounts import amount
from nbqueue.exceptions import ConfigurationError


@pytest.mark.parametrize(
    ("value", "bytes"),
    [("2GB", 2e9), ("512MiB", 537e6), ("1.5 tb", 1.5e12), ("1e9", 1e9), (5, 5.0), ("2.341GB", 2.35e9)],
)  # fmt: skip
def test_memory_has_a_unit_and_three_digits(value: Any, bytes: float) -> None:
    assert amount("memory", value) == bytes


@pytest.mark.parametrize("value", ["two", "2GX", "-1", True, None, float("nan"), "1..2"])
def test_what_is_no_size_is_refused(value: Any) -> None:
    with pytest.raises(ConfigurationError, match="memory"):
        amount("memory", value)


def test_of_other_things_there_is_a_number() -> None:
    assert amount("gpu", "0.5") == 0.5
    with pytest.raises(ConfigurationError, match="gpu"):
        amount("gpu", "2GB")
