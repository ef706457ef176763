"""What cannot be right in a task, whoever sends it: numbers that are none would stop clocks and queues."""

from math import isfinite
from typing import Final

from nbqueue.core import workflow
from nbqueue.core.queues import PRIORITIES
from nbqueue.messages import Demand, Task

#: starts a second: one in thirty years
SLOWEST: Final = 1e-9
#: tags and resources of one task
MAX_DEMANDS: Final = 100


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
    if task.rate and not (isfinite(task.rate) and task.rate >= SLOWEST):
        return f"a rate is a number of starts a second, {SLOWEST:g} or more, or 0, not {task.rate}"
    wrong = _flaw_of_demand(task.demand) if task.demand is not None else ""
    return wrong or ("" if task.step is None else workflow.flaw(task.step))


def _flaw_of_demand(demand: Demand) -> str:
    if len(demand.tags) + len(demand.resources) > MAX_DEMANDS:
        return f"a task demands {MAX_DEMANDS} tags and resources at most"
    for name, amount in demand.resources.items():
        if not (isfinite(amount) and amount >= 0):
            return f"of a resource, {name!r}, a task demands a number of 0 or more, not {amount}"
    return ""


def _limited(task: Task) -> bool:
    return task.time_limit is not None or task.soft_time_limit is not None
