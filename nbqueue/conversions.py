"""From what somebody wrote to what it means: settings, options of tasks and calls, words of a command line.

Each function takes a value that code has given, or the text of an environment variable or of a command, and
raises :class:`Unexpected` with what is wanted.
"""

import json
import math
import numbers
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

T = TypeVar("T")

#: of priorities; 0 is the lowest
HIGHEST: Final = 9
_TRUE = frozenset({"true", "yes", "1", "on"})
_FALSE = frozenset({"false", "no", "0", "off"})
#: serializers by every name that they have
SERIALIZERS: Mapping[str, str] = {
    "cloudpickle": "cloudpickle",
    "pickle": "cloudpickle",
    "application/x-python-serialize": "cloudpickle",
    "json": "json",
    "application/json": "json",
    "msgpack": "msgpack",
    "application/x-msgpack": "msgpack",
}


class Unexpected(ValueError):
    """A value is not what is ``wanted``, in words: "a str".  ``advice`` comes after that."""

    def __init__(self, wanted: str, advice: str = "") -> None:
        super().__init__(f"{wanted} is expected{advice}")
        self.wanted = wanted.removesuffix(",")

    def of(self, name: str, value: Any) -> str:
        """The same of what has a name."""
        return f"{name} is {self.wanted}, not {value!r}"


def anything(value: Any) -> Any:
    """As it is."""
    return value


def text(value: Any) -> str:
    if not isinstance(value, str):
        raise Unexpected("a str")
    return str.__str__(value)  # of a subclass such as np.str_; str() of an enum says its member's name


def seconds(value: Any) -> float:
    """0 or more; a timedelta, too."""
    found = _number(float, _in_seconds(value), numbers.Real)
    if found is None or not (math.isfinite(found) and found >= 0):
        raise Unexpected("a number of seconds, 0 or more,")
    return found


def period(value: Any) -> float:
    """More than 0."""
    found = _number(float, _in_seconds(value), numbers.Real)
    if found is None or not (math.isfinite(found) and found > 0):
        raise Unexpected("a positive number of seconds")
    return found


def lifetime(value: Any) -> float:
    """Seconds; None: 0, for ever."""
    return 0.0 if value is None else seconds(value)


def _in_seconds(value: Any) -> Any:
    return value.total_seconds() if isinstance(value, timedelta) else value


def moment(value: Any) -> datetime:
    """With a time zone; text in ISO form."""
    try:
        found = datetime.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        found = None
    if not isinstance(found, datetime):
        raise Unexpected("a datetime with time zone", ", such as 2030-01-01T12:00+01:00")
    return found


def count(value: Any) -> int:
    found = _number(int, value, numbers.Integral)
    if found is None or found < 0:
        raise Unexpected("a whole number, 0 or more,")
    return found


def _number(kind: Callable[[Any], T], value: Any, numeric: type) -> T | None:
    """A number or its text as a Python one, None if it is neither."""
    if isinstance(value, bool) or not isinstance(value, numeric | str):
        return None
    try:
        return kind(value)
    except (ValueError, OverflowError):
        return None


def flag(value: Any) -> bool:
    word = str(value).strip().lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise Unexpected("True or False")


#: pools of workers by every name that they have
POOLS: Mapping[str, str] = {
    "processes": "processes",
    "prefork": "processes",
    "threads": "threads",
    "solo": "solo",
}


def pool(value: Any) -> str:
    """What tasks of a worker run in, by our name or Celery's."""
    if value in POOLS:
        return POOLS[value]
    advice = {
        "gevent": ": threads, or async tasks and --concurrency-async, wait for many things at once",
    }
    advice["eventlet"] = advice["gevent"]
    raise Unexpected("processes (Celery's prefork), threads or solo", advice.get(str(value), ""))


def one_of(*words: str) -> Callable[[Any], str]:
    """One of these words."""

    def convert(value: Any) -> str:
        if value not in words:
            raise Unexpected(" or ".join(words))
        return str(value)

    return convert


def optional(convert: Callable[[Any], T]) -> Callable[[Any], T | None]:
    """The same, or None."""
    return lambda value: None if value is None else convert(value)


def names(value: Any) -> tuple[str, ...]:
    """Several of them: a list, or one text with commas."""
    found = value.split(",") if isinstance(value, str) else value
    if not isinstance(found, list | tuple | set | frozenset) or not all(isinstance(n, str) for n in found):
        raise Unexpected("a list of str")
    return tuple(name.strip() for name in found if name.strip())


def queues(value: Any) -> tuple[str, ...]:
    """Names of queues; kombu's ``Queue`` objects, or a dict by name, count as such."""
    if isinstance(value, Mapping):
        return names(list(value))
    if isinstance(value, list | tuple | set | frozenset):
        return names([getattr(queue, "name", queue) for queue in value])
    return names(value)


def serializer(value: Any) -> str:
    """The one name of a serializer that has several."""
    found = SERIALIZERS.get(value) if isinstance(value, str) else None
    if found is None:
        raise Unexpected("cloudpickle (or pickle), json or msgpack")
    return found


def serializers(value: Any) -> tuple[str, ...]:
    return tuple(dict.fromkeys(serializer(name) for name in names(value)))


def priority(value: Any) -> int:
    return min(count(value), HIGHEST)


def zone(value: Any) -> str:
    """The name of a time zone; an object of one counts, too."""
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError  # few name a zone, and a worker loads this module

    name = getattr(value, "key", getattr(value, "zone", value))
    if not isinstance(name, str):
        name = str(value)  # datetime.timezone.utc is UTC
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise Unexpected("the name of a time zone", ", such as 'Europe/Oslo'") from None
    return name


def structure(value: Any) -> Any:
    """Anything but text; the text of an environment variable is JSON."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        raise Unexpected("JSON", " in an environment variable") from None


def entries(value: Any) -> Any:
    """A dict, by name; the text of an environment variable is JSON."""
    found = structure(value)
    if not isinstance(found, Mapping):
        raise Unexpected("a dict of entries by name")
    return found
