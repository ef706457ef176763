"""What may be said of a task and of a call: names, types and limits, checked before anything is sent.

Values go out as the protocol's own types (``np.float64(0.1)`` as 0.1): one field of another type would
make the broker refuse the whole batch that it travels in.
"""

import datetime
import difflib
import math
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias, TypedDict, TypeVar, cast

from nbqueue import conversions as to
from nbqueue.client.publish import checked
from nbqueue.core.amounts import amount
from nbqueue.core.validation import SLOWEST
from nbqueue.exceptions import ConfigurationError
from nbqueue.wire.payload import TaskOptions

T = TypeVar("T")
#: or a timedelta
Seconds: TypeAlias = "float | datetime.timedelta"


class CallOptions(TypedDict, total=False):
    """What may be said of a call; times in seconds, or as timedeltas."""

    task_id: str
    #: 0 to 9, 9 first
    queue: str
    priority: int
    #: wait so long before the first run
    countdown: Seconds
    #: or until then: a datetime with time zone
    eta: datetime.datetime
    #: REVOKED if not started within so long, or by then
    expires: "Seconds | datetime.datetime"
    time_limit: Seconds
    soft_time_limit: Seconds
    #: keep the state, drop the value
    ignore_result: bool
    #: tags that the worker must have been given: "gpu", or a list of them
    tags: "str | Iterable[str]"
    #: how much of what its worker has the task occupies: {"gpu": 1, "memory": "2GB"}
    resources: Mapping[str, Any]
    #: starts of tasks of that name over all workers, "10/m"; of the latest call, if they differ
    rate_limit: "str | float"
    #: "cloudpickle", "json" or "msgpack": how the arguments are written
    serializer: str
    #: False: raise at once while the broker is away, instead of sending when it is back
    retry: bool
    #: signatures to be called with its value, and about its failure
    link: Any
    link_error: Any
    #: plain values by name, for the task to read: ``self.request.headers``
    headers: dict[str, Any]


def call_options(defaults: CallOptions, options: Mapping[str, Any]) -> CallOptions:
    """The defaults of a task with the options of a call, as they are sent; None leaves the default.

    Raises
    ------
    TypeError
        There is no option of that name.
    ConfigurationError
        It cannot have that value, or not together with another.
    """
    given = {name: value for name, value in options.items() if value is not None}
    return agreeing({**defaults, **_converted(given, _CALL)})


def agreeing(merged: Mapping[str, Any]) -> CallOptions:
    """The same options; raises ConfigurationError if one makes no sense beside another."""
    hard, soft = merged.get("time_limit"), merged.get("soft_time_limit")
    if hard is not None and soft is not None and soft > hard:
        raise ConfigurationError(
            f"soft_time_limit ({soft:g} s) is above time_limit ({hard:g} s): it would never be reached"
        )
    return cast(CallOptions, merged)


def split(options: Mapping[str, Any]) -> tuple[TaskOptions, CallOptions]:
    """The options of ``@task``: what workers have to know, and what holds for each call.

    Raises
    ------
    TypeError, ConfigurationError
        As :func:`call_options`.
    """
    retry = options.get("retry_kwargs") or {}
    if unknown := retry.keys() - {"max_retries", "countdown"}:
        raise TypeError(
            f"retry_kwargs has no {', '.join(sorted(unknown))}; there are: max_retries, countdown"
        )
    said = {k: v for k, v in options.items() if k != "retry_kwargs" and (v is not None or k == "max_retries")}
    said |= {"default_retry_delay" if k == "countdown" else k: v for k, v in retry.items()}
    converted = _converted(_spelt_out(said), {**_TASK, **_DEFAULTS}, also=_SHORT)
    task = {k: v for k, v in converted.items() if k in _TASK}
    call = {k: v for k, v in converted.items() if k in _DEFAULTS}
    return TaskOptions(**task), agreeing(call)


def routed(options: Mapping[str, Any]) -> CallOptions:
    """The options of a route, as they are sent.  Raises as :func:`call_options`."""
    return cast(CallOptions, _converted({k: v for k, v in options.items() if v is not None}, _DEFAULTS))


def in_zone(options: CallOptions, zone: datetime.tzinfo | None) -> CallOptions:
    """The options with the time zone added to times that have none; None: they must have one.

    Raises
    ------
    ConfigurationError
        A time is there twice, or not at all: it is the night in which the clocks are changed.
    """
    if zone is None:
        return options
    return cast(CallOptions, {name: _localized(name, value, zone) for name, value in options.items()})


def _localized(name: str, value: Any, zone: datetime.tzinfo) -> Any:
    if name not in ("eta", "expires") or not isinstance(value, datetime.datetime) or value.tzinfo is not None:
        return value
    first, second = (value.replace(tzinfo=zone, fold=fold) for fold in (0, 1))
    if first.utcoffset() != second.utcoffset():
        raise ConfigurationError(
            f"{name}={value} is ambiguous: that night the clocks are changed; say its tzinfo"
        )
    return first


def _spelt_out(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of ``@task``, without the short ``retries=3``; what is said beside it wins."""
    said = dict(options)
    if "retries" in said:
        if "max_retries" in said:
            raise ConfigurationError("retries and max_retries both say how often: give one of them")
        often = _count("retries", said.pop("retries"))
        said = {"autoretry_for": (Exception,), "max_retries": often, "retry_backoff": 1, **said}
    return said


def seconds_from_now(when: "float | datetime.datetime") -> float:
    """How long until then: times travel as durations, so that no two clocks need agree."""
    return max(0.0, when.timestamp() - time.time()) if isinstance(when, datetime.datetime) else when


# ── conversions ──────────────────────────────────────────────────────────────────────────────────


def _converted(
    options: Mapping[str, Any], table: Mapping[str, Callable[[str, Any], Any]], also: tuple[str, ...] = ()
) -> dict[str, Any]:
    __tracebackhide__ = True
    if pointless := _POINTLESS.keys() & options.keys():
        for name in sorted(pointless):
            _tell_pointless(name)
        options = {name: value for name, value in options.items() if name not in pointless}
    if unknown := sorted(options.keys() - table.keys()):
        raise TypeError(f"no option is called {', '.join(unknown)}; {_advice(unknown[0], [*table, *also])}")
    return {name: table[name](name, value) for name, value in options.items()}


def _advice(unknown: str, known: list[str]) -> str:
    if unknown in _TASK or unknown in _SHORT:
        return f"{unknown} is an option of the task, not of a call: @task({unknown}=…)"
    near = difflib.get_close_matches(unknown, known, n=1)
    return f"did you mean {near[0]}?" if near else f"there are: {', '.join(sorted(known))}"


def _tell_pointless(name: str) -> None:
    if name not in _told:
        _told.add(name)
        warnings.warn(f"the option {name} has no effect: {_POINTLESS[name]}", stacklevel=6)


def _named(convert: Callable[[Any], T]) -> Callable[[str, Any], T]:
    """The conversion of an option, from that of a value."""

    def converted(name: str, value: Any) -> T:
        try:
            return convert(value)
        except to.Unexpected as error:
            raise ConfigurationError(error.of(name, value)) from None

    return converted


def _number(convert: Callable[[Any], T]) -> Callable[[str, Any], T]:
    """The same of a number; its text, which may stand in an environment variable, is a slip in code."""
    return _named(lambda value: convert(None if isinstance(value, str) else value))


_text = _named(to.text)
_seconds = _number(to.seconds)
_count = _number(to.count)
_serializer = _named(to.serializer)


def _moment(name: str, value: Any) -> datetime.datetime:
    moment = _number(to.moment)(name, value)
    if moment.tzinfo is None:
        raise ConfigurationError(f"{value} has no time zone: use datetime.now(timezone.utc) + timedelta(…)")
    return moment


def _seconds_or_moment(name: str, value: Any) -> float | datetime.datetime:
    return _moment(name, value) if isinstance(value, datetime.datetime) else _seconds(name, value)


def text(name: str, value: Any) -> str:
    """A plain str, of a str or of a subclass such as ``np.str_``."""
    plain = _text(name, value)
    try:
        plain.encode()
    except UnicodeEncodeError:
        raise ConfigurationError(f"{name} has characters that cannot be sent: {value!r}") from None
    return plain


_UNITS: Mapping[str, float] = {"s": 1.0, "m": 60.0, "h": 3600.0}


def _starts(value: Any) -> float:
    """Starts a second of ``"10/m"``, ``"0.5/s"``, ``"10"`` or a number; 0 for as many as there can be."""
    often, _, unit = value.partition("/") if isinstance(value, str) else (value, "", "s")
    try:
        starts = math.nan if isinstance(often, bool) else float(often) / _UNITS[unit.strip() or "s"]
    except (TypeError, ValueError, KeyError, OverflowError):
        starts = math.nan
    if not (starts == 0 or SLOWEST <= starts < math.inf):
        raise to.Unexpected("'10/s', '10/m', '10/h', a number of starts a second, or 0 for no limit,")
    return starts


rate = _named(_starts)


def _tags(name: str, value: Any) -> list[str]:
    words = [value] if isinstance(value, str) else value
    if not isinstance(words, Iterable) or isinstance(words, Mapping):
        raise ConfigurationError(f"{name} is a str or a list of them, not {value!r}")
    return sorted({text(name, word) for word in words})


def _resources(name: str, value: Any) -> dict[str, float]:
    if not isinstance(value, Mapping):
        raise ConfigurationError(f"{name} is a dict such as {{'gpu': 1, 'memory': '2GB'}}, not {value!r}")
    return {text(name, key): amount(text(name, key), quantity) for key, quantity in value.items()}


def _count_or_none(name: str, value: Any) -> int | None:
    return None if value is None else _count(name, value)


def _priority(name: str, value: Any) -> int:
    priority = _count(f"{name} ({to.HIGHEST} first)", value)
    if priority > to.HIGHEST:
        warnings.warn(f"priority {priority} counts as {to.HIGHEST}, the highest", stacklevel=6)
    return to.priority(priority)


def _flag(name: str, value: Any) -> bool:
    return bool(value)


def _base(name: str, value: Any) -> Any:
    if value is not None and not (
        isinstance(value, type) and getattr(value, "__nbqueue_definition__", None) is True
    ):
        raise TypeError(f"{name} is a subclass of nbqueue.Task, not {value!r}")
    return value


def _backoff(name: str, value: Any) -> float:
    return float(value) if isinstance(value, bool) else _seconds(name, value)  # True: one second, as Celery


def _exceptions(name: str, value: "type | Iterable[type]") -> tuple[type[BaseException], ...]:
    classes = (value,) if isinstance(value, type) or not isinstance(value, Iterable) else tuple(value)
    for each in classes:
        if not (isinstance(each, type) and issubclass(each, BaseException)):
            raise TypeError(f"{name} is a tuple of exception classes; {each!r} is none")
    return cast(tuple[type[BaseException], ...], classes)


_CALL: Mapping[str, Callable[[str, Any], Any]] = {
    "task_id": text,
    "queue": text,
    "priority": _priority,
    "countdown": _seconds,
    "eta": _moment,
    "expires": _seconds_or_moment,
    "time_limit": _seconds,
    "soft_time_limit": _seconds,
    "ignore_result": _flag,
    "tags": _tags,
    "resources": _resources,
    "rate_limit": rate,
    "serializer": _serializer,
    "retry": _flag,
    "headers": lambda name, value: checked(value),
}
#: what a task may say of its calls
_DEFAULTS = {
    **{name: convert for name, convert in _CALL.items() if name not in ("task_id", "eta", "retry")},
    "acks_late": _flag,
}
#: what else may be said of a task, in other words
_SHORT = ("retries", "retry_kwargs")
_TASK: Mapping[str, Callable[[str, Any], Any]] = {
    "name": text,
    "bind": _flag,
    "max_retries": _count_or_none,
    "autoretry_for": _exceptions,
    "default_retry_delay": _seconds,
    "retry_backoff": _backoff,
    "retry_backoff_max": _seconds,
    "retry_jitter": _flag,
    "dont_autoretry_for": _exceptions,
    "throws": _exceptions,
    "base": _base,
}
#: what a class of tasks may say, in its body
CLASS_OPTIONS = (*_TASK, *_DEFAULTS, *_SHORT)

_NO_EXCHANGES = "there are no exchanges; queue= says where a task goes"
_ALWAYS = "it is always so"
_OF_SENDER = "it is that of the task which sends"
_CONNECTION = "a process has one connection, which is kept"
#: options of Celery's that mean nothing here, and why
_POINTLESS: Mapping[str, str] = {
    "abstract": "a class without run() is a base of tasks, and no task",
    "connection": _CONNECTION,
    "correlation_id": "a result is found by the task's id",
    "expiration": "expires= says until when it may start",
    "group_id": "a group gives its tasks its id",
    "immediate": "the broker keeps a task until somebody can run it",
    "lazy": "a task is made when it is defined, and its options are looked up when it is used",
    "mandatory": "queues are made on use",
    "parent_id": _OF_SENDER,
    "producer": _CONNECTION,
    "publisher": _CONNECTION,
    "reply_to": "the broker keeps results",
    "resultrepr_maxsize": "views show values as they are, shortened",
    "root_id": _OF_SENDER,
    "route_name": "task_routes go by the task's name",
    "shadow": "views show the task's name",
    "shared": "@shared_task makes a task of whichever application is current",
    "acks_on_failure_or_timeout": "a run that ended has an outcome, and is not delivered again",
    "add_to_parent": "parent_id of the task says where it comes from",
    "argsrepr": "arguments are shown as they are, read without running code of theirs",
    "compression": "arguments are sent as they are",
    "kwargsrepr": "arguments are shown as they are, read without running code of theirs",
    "delivery_mode": "the broker keeps what it has accepted in its journal",
    "exchange": _NO_EXCHANGES,
    "exchange_type": _NO_EXCHANGES,
    "reject_on_worker_lost": "the setting max_task_deaths says how often a task may lose its worker",
    "retry_policy": "a client goes on trying until its broker is back",
    "routing_key": _NO_EXCHANGES,
    "send_events": "events are sent when somebody listens",
    "store_errors_even_if_ignored": _ALWAYS,
    "track_started": _ALWAYS,
    "trail": "parent_id of each task says where it comes from",
}
#: those of which this process has heard
_told: set[str] = set()
