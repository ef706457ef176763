"""How much of something: ``2``, ``"0.5"``, and of memory ``"2GB"`` or ``"512MiB"``."""

import math
import numbers
import re
from typing import Any, Final

from nbqueue.exceptions import ConfigurationError

#: what is counted in bytes
MEMORY: Final = "memory"
_TEXT: Final = re.compile(r"\s*([\d.]+(?:e[+-]?\d+)?)\s*([kmgtp]?i?b?)\s*", re.IGNORECASE)
_PREFIXES: Final = "kmgtp"
#: digits that an amount of memory has: the broker has a queue for each amount that is waited for
_DIGITS: Final = 3


def amount(resource: str, value: Any) -> float:
    """A number of 0 or more.  Of memory: bytes, or text with a unit, rounded up to three digits.

    Raises
    ------
    ConfigurationError
        It is none.
    """
    number = _number(value, with_unit=resource == MEMORY)
    if not 0 <= number < math.inf:
        form = "bytes, or '2GB'," if resource == MEMORY else "a number of 0 or more"
        raise ConfigurationError(f"of {resource!r}, {form} is expected, not {value!r}")
    return _rounded_up(number) if resource == MEMORY else number


def _number(value: Any, *, with_unit: bool) -> float:
    """NaN if it is none."""
    if isinstance(value, bool):
        return math.nan
    if isinstance(value, numbers.Real):
        return float(value)
    found = _TEXT.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        return math.nan
    unit = found[2].lower()
    if unit and not with_unit:
        return math.nan
    try:
        number = float(found[1])
    except ValueError:
        return math.nan
    prefix = unit.rstrip("b")
    base = 1024.0 if prefix.endswith("i") else 1000.0
    power: int = _PREFIXES.index(prefix[0]) + 1 if prefix.rstrip("i") else 0
    return float(number * base**power)


def _rounded_up(number: float) -> float:
    if number <= 0:
        return 0.0
    step: float = 10.0 ** (math.floor(math.log10(number)) - _DIGITS + 1)
    return max(1.0, math.ceil(number / step - 1e-6) * step)
