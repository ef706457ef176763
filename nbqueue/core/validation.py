"""What cannot be right in a task, whoever sends it: numbers that are none would stop clocks and queues."""

from math import isfinite

from nbqueue.core import workflow
from nbqueue.core.queues import PRIORITIES
from nbqueue.messages import Task


def flaw(task: Task) -> str:
    """Why a task cannot be accepted, for a person; "" if it can."""
    if not 0 <= task.priority < PRIORITIES:
        return f"a priority is 0 to {PRIORITIES - 1}, not {task.priority}"
    # most have none of these
    if task.countdown or task.expires is not None or _limited(task):
        for name in ("countdown", "expires", "time_limit", "soft_time_limit"):
            seconds: float | None = getattr(task, name)
            if seconds is not None and not isfinite(seconds):
                return f"{name} is a number of seconds, not {seconds}"
    return "" if task.step is None else workflow.flaw(task.step)


def _limited(task: Task) -> bool:
    return task.time_limit is not None or task.soft_time_limit is not None
