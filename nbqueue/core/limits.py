"""How often tasks may start, and what else was said at runtime of all tasks of a name.

A rate belongs to a name and holds over all workers.  Starts are spaced evenly: at ten a minute there is one
each six seconds, and no burst after a pause::

    start        start        start              start
      ├──interval──┼──interval──┼──interval──┄┄┄┄──┼──interval──
                                             idle: counted anew from the start that ends it

What is waited for is the moment in which the broker hands a task to an executor that is about to be free.
"""

from collections.abc import Container, Iterable
from math import inf
from typing import Final, NamedTuple

from nbqueue.messages import Task

#: seconds by which a start may be late and the next one still come at its own time: timers are that exact
SLACK: Final = 0.010
#: words for rates: how many seconds, and the unit
_UNITS: Final = ((1.0, "s"), (60.0, "m"), (3600.0, "h"))


class Limiter:
    """The starts of the tasks of one name; ``rate`` is in starts a second, more than 0."""

    def __init__(self, name: str, rate: float) -> None:
        self.name = name
        self.rate = rate
        #: when one last started, or was to: what the next is counted from
        self.last = -inf
        #: for which moment a timer is set
        self.timer_at = inf

    @property
    def due(self) -> float:
        """When the next one may start."""
        return self.last + 1.0 / self.rate

    def is_open(self, now: float) -> bool:
        return now >= self.due

    def start(self, now: float) -> None:
        """One starts now."""
        due = self.due
        self.last = due if now - due <= SLACK else now


class TimeLimits(NamedTuple):
    """Seconds that a run may take; None: as long as it takes."""

    soft: float | None
    hard: float | None
    #: when that was said
    since: float = -inf


class Limits:
    """Rates by name, and what was said at runtime, which wins over what tasks bring."""

    def __init__(self) -> None:
        #: set at runtime: starts a second, 0 for as many as there can be
        self.rates: dict[str, float] = {}
        #: set at runtime, for runs that begin from then on
        self.times: dict[str, TimeLimits] = {}
        self.limiters: dict[str, Limiter] = {}

    def limited(self, task: Task) -> bool:
        """Whether a task may have to wait for its rate."""
        return self.rates.get(task.name, task.rate) > 0

    def limiter(self, name: str, rate: float) -> Limiter:
        """The limiter of a name, made on first use with that rate."""
        limiter = self.limiters.get(name)
        if limiter is None:
            limiter = self.limiters[name] = Limiter(name, self.rates.get(name) or rate)
        return limiter

    def heard(self, task: Task) -> bool:
        """A task with a rate was accepted: the latest one's rate holds for all of its name.  Returns whether
        that is another one than before."""
        if not self.limited(task) or task.name in self.rates:
            return False
        limiter = self.limiter(task.name, task.rate)
        before, limiter.rate = limiter.rate, task.rate
        return before != task.rate

    def started(self, task: Task, at: float) -> None:
        """A task was started then, as is heard only now."""
        if self.limited(task):
            limiter = self.limiter(task.name, task.rate)
            limiter.last = max(limiter.last, at)

    def set_rate(self, name: str, rate: float | None) -> None:
        """From now on that rate holds for the name; None: what its tasks bring."""
        if rate is None:
            self.rates.pop(name, None)
            return
        self.rates[name] = rate
        if rate and (limiter := self.limiters.get(name)) is not None:
            limiter.rate = rate

    def set_times(self, name: str, times: TimeLimits | None) -> None:
        """From now on runs of tasks of that name are limited so; None: as they say themselves."""
        if times is None:
            self.times.pop(name, None)
        else:
            self.times[name] = times

    @property
    def names(self) -> Iterable[str]:
        """All names of which there is something to remember."""
        return [*{**self.rates, **self.times, **self.limiters}]

    def prune(self, now: float, used: Container[str]) -> None:
        """Forget limiters that are as good as new ones; ``used`` are names of which tasks wait."""
        for name, limiter in list(self.limiters.items()):
            if name not in used and limiter.is_open(now) and name not in self.rates:
                del self.limiters[name]


def spoken(rate: float) -> str:
    """A rate as people write it: ``10/m``."""
    for seconds, unit in _UNITS:
        if rate * seconds >= 1:
            return f"{rate * seconds:.4g}/{unit}"
    return f"{rate * 3600:.4g}/h"
