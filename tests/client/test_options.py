"""Options are checked, and sent as the protocol's own types."""

import datetime
from enum import Enum
from typing import Any

import numpy as np
import pytest

from nbqueue.client.app import App
from nbqueue.client.options import call_options, split
from nbqueue.exceptions import ConfigurationError


class Queue(str, Enum):  # noqa: UP042 - unlike of a StrEnum, str() of it is "Queue.GPU"
    GPU = "gpu"


NAIVE = datetime.datetime(2030, 1, 1)  # noqa: DTZ001 - that is the point


@pytest.mark.parametrize(
    ("name", "value", "sent"),
    [
        ("queue", np.str_("q"), "q"),
        ("queue", Queue.GPU, "gpu"),
        ("task_id", np.str_("1"), "1"),
        ("priority", np.int64(3), 3),
        ("countdown", np.float64(0.5), 0.5),
        ("countdown", np.int64(2), 2.0),
        ("countdown", datetime.timedelta(minutes=2), 120.0),
        ("expires", datetime.timedelta(seconds=0.5), 0.5),
        ("time_limit", datetime.timedelta(hours=1), 3600.0),
        ("expires", np.float32(0.5), 0.5),
        ("time_limit", 3, 3.0),
        ("ignore_result", 1, True),
        ("ignore_result", np.bool_(False), False),
    ],
)
def test_values_become_the_protocols_own_types(name: str, value: Any, sent: object) -> None:
    converted = call_options({}, {name: value})[name]
    assert converted == sent
    assert type(converted) is type(sent)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("queue", 5),
        ("queue", "\udcff"),
        ("task_id", 5),
        ("priority", True),
        ("priority", -1),
        ("priority", 1.5),
        ("countdown", "soon"),
        ("countdown", float("nan")),
        ("countdown", float("inf")),
        ("countdown", -1),
        ("eta", 5.0),
        ("eta", NAIVE),
        ("expires", "soon"),
        ("expires", NAIVE),
        ("time_limit", True),
        ("soft_time_limit", "1"),
        ("soft_time_limit", datetime.timedelta(seconds=-1)),
        ("priority", "5"),
    ],
)
def test_other_values_are_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(ConfigurationError, match=name if value is not NAIVE else "time zone"):
        call_options({}, {name: value})


def test_what_is_no_number_of_seconds_is_told_which_are() -> None:
    with pytest.raises(ConfigurationError, match=r"^time_limit is a number of seconds, 0 or more, not -1$"):
        call_options({}, {"time_limit": -1})


def test_none_leaves_the_default_of_the_task() -> None:
    assert call_options({"queue": "gpu"}, {"queue": None}) == {"queue": "gpu"}


def test_limits_of_the_task_and_of_the_call_must_agree() -> None:
    task = App(broker="memory://options").task(time_limit=10)(print)
    with pytest.raises(ValueError, match="soft_time_limit"):
        task.apply_async(soft_time_limit=20)


def test_a_wrong_option_is_refused_before_anything_is_sent() -> None:
    task = App(broker="memory://options").task(print)
    with pytest.raises(ValueError, match="task_id"):
        task.apply_async(task_id=5)


@pytest.mark.parametrize("classes", [[OSError, ValueError], {OSError, ValueError}, (OSError, ValueError)])
def test_exceptions_to_retry_after_come_in_any_collection(classes: Any) -> None:
    options, _ = split({"name": "f", "autoretry_for": classes})
    assert type(options.autoretry_for) is tuple
    assert set(options.autoretry_for) == {OSError, ValueError}


@pytest.mark.parametrize("classes", [[5], 5, "ValueError", [int]])
def test_what_is_no_exception_is_a_type_error(classes: Any) -> None:
    with pytest.raises(TypeError, match="exception"):
        split({"name": "f", "autoretry_for": classes})


def test_retry_kwargs_say_how_often_and_how_soon() -> None:
    options, _ = split({"name": "f", "retry_kwargs": {"max_retries": np.int64(2), "countdown": 1}})
    assert (options.max_retries, options.default_retry_delay) == (2, 1.0)
    with pytest.raises(TypeError, match="retry_kwargs"):
        split({"name": "f", "retry_kwargs": {"often": 2}})


def test_retries_are_short_for_any_exception_and_a_growing_pause() -> None:
    options, _ = split({"name": "f", "retries": np.int64(2)})
    assert (options.autoretry_for, options.max_retries, options.retry_backoff) == ((Exception,), 2, 1.0)
    options, _ = split({"name": "f", "retries": 2, "autoretry_for": OSError, "retry_backoff": 5})
    assert (options.autoretry_for, options.max_retries, options.retry_backoff) == ((OSError,), 2, 5.0)
    assert split({"name": "f", "retries": None})[0] == split({"name": "f"})[0]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"retries": 3, "max_retries": 3}, "retries and max_retries both say how often"),
        ({"retries": 3, "retry_kwargs": {"max_retries": 3}}, "retries and max_retries both say how often"),
        ({"retries": -1}, "retries is a whole number, 0 or more, not -1"),
    ],
)
def test_retries_that_cannot_be_are_refused(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        split({"name": "f", **options})


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"retrys": 3}, "no option is called retrys; did you mean retries"),
        ({"quue": "q"}, "no option is called quue; did you mean queue"),
        ({"zzz": 3}, "no option is called zzz; there are: .*, max_retries, .*, retries, "),
    ],
)
def test_a_misspelt_option_is_refused_with_the_nearest(options: dict[str, Any], told: str) -> None:
    with pytest.raises(TypeError, match=told):
        split({"name": "f", **options})


@pytest.mark.parametrize("name", ["retries", "max_retries", "bind"])
def test_an_option_of_a_task_is_refused_for_a_call_by_saying_so(name: str) -> None:
    with pytest.raises(TypeError, match=f"an option of the task, not of a call: @task.{name}=…"):
        call_options({}, {name: 1})


def test_no_limit_of_retries_is_none() -> None:
    assert split({"name": "f", "max_retries": None})[0].max_retries is None


def test_backoff_may_be_switched_on() -> None:
    assert split({"name": "f", "retry_backoff": True})[0].retry_backoff == 1.0


@pytest.mark.parametrize(
    ("said", "rate"), [("10/m", 10 / 60), ("0.5/s", 0.5), ("36/h", 0.01), ("10", 10.0), (2, 2.0), ("0", 0.0)]
)  # fmt: skip
def test_a_rate_limit_is_starts_a_second(said: Any, rate: float) -> None:
    assert split({"name": "f", "rate_limit": said})[1]["rate_limit"] == pytest.approx(rate)


def test_no_rate_limit_is_none() -> None:
    assert "rate_limit" not in split({"name": "f", "rate_limit": None})[1]


@pytest.mark.parametrize("said", ["10/d", "often", "-1/s", True, [1], float("inf"), "1/0"])
def test_a_rate_that_is_none_is_refused(said: Any) -> None:
    with pytest.raises(ConfigurationError, match="rate_limit is '10/s'"):
        split({"name": "f", "rate_limit": said})


def test_demands_of_a_call_are_plain_values() -> None:
    call = call_options({}, {"tags": "gpu", "resources": {"gpu": np.int64(1), "memory": "2GB"}})
    assert call == {"tags": ["gpu"], "resources": {"gpu": 1.0, "memory": 2e9}}
    assert call_options(call, {"tags": ("b", "a", "a")})["tags"] == ["a", "b"]


@pytest.mark.parametrize(
    ("option", "value"),
    [("tags", 3), ("tags", [1]), ("resources", "gpu"), ("resources", {"gpu": "much"}), ("resources", {1: 1})],
)
def test_demands_that_cannot_be_are_refused(option: str, value: Any) -> None:
    with pytest.raises(ConfigurationError):
        call_options({}, {option: value})
