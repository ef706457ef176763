"""What steps take, on its way in portions."""

import pytest

from nbqueue.core import inputs
from nbqueue.messages import Failure, Outcome


def outcome(id: str, size: int) -> Outcome:
    return Outcome(id, 1, "SUCCESS", b"x" * size)


def test_a_key_says_which_inputs_are_wanted() -> None:
    assert inputs.parsed(inputs.key_of("a/b", 7)) == ("a/b", 7)


@pytest.mark.parametrize(
    "key", ["", "d3adb33f", "inputs/", "inputs/a", "inputs/a/", "inputs/a/-1", "inputs/a/" + "9" * 5000]
)
def test_what_is_no_key_of_inputs_is_none(key: str) -> None:
    assert inputs.parsed(key) is None


def test_portions_are_as_large_as_they_may_be_and_have_one_at_least() -> None:
    third = inputs.PORTION_BYTES // 3
    found = inputs.unpack(inputs.pack([outcome(str(n), third) for n in range(10)]))
    assert [one.id for one in found] == ["0", "1", "2"]
    (large,) = inputs.unpack(inputs.pack([outcome("large", 3 * inputs.PORTION_BYTES), outcome("next", 1)]))
    assert large.id == "large"
    assert inputs.pack([]) == b""


def test_a_failure_counts() -> None:
    failed = Outcome(
        "a", 1, "FAILURE", failure=Failure("E", "m", "x" * 100, "y" * 1000, exception=b"z" * 5000)
    )
    assert inputs.size_of(failed) > 6000
