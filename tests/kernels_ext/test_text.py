"""A task in one line."""

import pytest

from kernels_ext import text
from nbqueue.client.records import View
from nbqueue.messages import Failure

VIEW = View(
    id="1",
    name="train",
    state="PENDING",
    worker="",
    queue="default",
    retries=0,
    submitted_at=100.0,
    started_at=None,
    finished_at=None,
    current=None,
    total=None,
    description="",
    output="",
    failure=None,
    accepted=True,
    has_value=False,
)
RUNNING = VIEW._replace(state="STARTED", worker="w1", started_at=100.0)
FAILURE = Failure(type="ValueError", module="builtins", message="no such file\nsecond line", traceback="")


@pytest.mark.parametrize(
    ("view", "line"),
    [
        (VIEW, "◌ train  PENDING  in queue default"),
        (VIEW._replace(state="RETRY", retries=2), "↻ train  RETRY  in queue default, retry 2"),
        (RUNNING, "● train  STARTED  12 s on w1"),
        (
            RUNNING._replace(current=12, total=60),
            "● train  STARTED  12 s on w1  20 %  12/60  1.0 it/s, 48 s left",
        ),
        (RUNNING._replace(current=3), "● train  STARTED  12 s on w1  3  4 s/it"),
        (RUNNING._replace(current=0, total=4), "● train  STARTED  12 s on w1  0 %  0/4"),
        (
            RUNNING._replace(state="PROGRESS", current=1, total=2, description="fold"),
            "● train  PROGRESS  12 s on w1  fold  50 %  1/2  12 s/it, 12 s left",
        ),
        (RUNNING._replace(state="SUCCESS", finished_at=101.2), "✓ train  SUCCESS  1.2 s on w1"),
        (
            RUNNING._replace(state="FAILURE", finished_at=100.3, failure=FAILURE),
            "✗ train  FAILURE  0.3 s on w1  ValueError: no such file",
        ),
        (VIEW._replace(state="REVOKED"), "⊘ train  REVOKED"),
    ],
)
def test_what_is_known_of_a_task_stands_in_one_line(view, line):
    assert text.describe(view, now=112.0) == line


def test_a_long_message_is_cut():
    view = RUNNING._replace(state="FAILURE", finished_at=100.3, failure=Failure("E", "m", "x" * 1000, ""))
    assert len(text.describe(view, now=112.0)) < 300


def test_a_group_is_counted():
    views = [VIEW, RUNNING, RUNNING._replace(state="SUCCESS"), RUNNING._replace(state="FAILURE")]
    assert text.describe_group("train", views) == "✗ train ×4  2/4 done, 1 failed, 1 running, 1 waiting"
    assert text.describe_group("train", [VIEW] * 1000) == "◌ train ×1,000  0/1,000 done, 1,000 waiting"
    assert text.describe_group("train", [RUNNING._replace(state="SUCCESS")]) == "✓ train ×1  1/1 done"
    assert text.describe_group("train", []) == "✓ train ×0  0/0 done"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0 ms"), (0.0007, "1 ms"), (0.02, "20 ms"), (0.45, "0.45 s"), (1.23, "1.2 s"), (9.96, "10 s"),
        (12, "12 s"), (59.6, "1 min"), (61, "1 min 1 s"), (3600, "1 h"), (7500, "2 h 5 min"),
    ],
)  # fmt: skip
def test_times_are_rounded_for_people(seconds, shown):
    assert text.duration(seconds) == shown
