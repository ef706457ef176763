"""The words of remote control: what may be said, to whom, and what is answered, as in Celery.

Decided here alike for the ZeroMQ broker (``core.panel``) and for whoever acts for a broker that is Redis.
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from nbqueue.core import census
from nbqueue.core.executors import WorkerState
from nbqueue.core.limits import TimeLimits
from nbqueue.messages import Task

# Topics of Ask
INSPECT: Final = "inspect"
CONTROL: Final = "control"
PURGE: Final = "purge"
REVOKE_STAMPED: Final = "revoke_by_stamped_headers"

#: what workers are asked for, and what they are told to do
ASKED: Final = frozenset({"ping", "stats", "conf", "report"})
TOLD: Final = frozenset({
    "pool_grow", "pool_shrink", "pool_restart", "autoscale", "add_consumer", "cancel_consumer", "shutdown",
})  # fmt: skip
#: what is said of workers or tasks, and kept by the broker
KEPT: Final = frozenset({
    "rate_limit", "time_limit", "revoke", REVOKE_STAMPED, "enable_events", "disable_events",
})  # fmt: skip
#: seconds that workers may be given to answer
LONGEST: Final = 600.0


class Command(NamedTuple):
    """What somebody wants of workers."""

    name: str
    args: dict[str, Any]
    #: names of workers, none for all
    destination: frozenset[str]
    #: seconds that they have to answer
    patience: float

    @property
    def is_passed_on(self) -> bool:
        """Whether only a worker can answer it."""
        return self.name in ASKED or self.name in TOLD


def read(topic: str, said: Mapping[str, Any]) -> Command:
    """The command of a question about ``INSPECT`` or ``CONTROL``.

    Raises
    ------
    ValueError, TypeError
        It makes no sense; the message says why.
    """
    name, args = str(said.get("command", "")), said.get("args") or {}
    timeout = float(said.get("patience", 1.0))
    if not isinstance(args, dict) or not math.isfinite(timeout):
        raise ValueError("args is a dict, and patience a number of seconds")
    allowed = ASKED | census.TOPICS.keys()
    if topic == CONTROL:
        allowed = allowed | TOLD | KEPT
    if name not in allowed:
        raise ValueError(f"no command is called {name!r}; there are: {', '.join(sorted(allowed))}")
    destination = said.get("destination") or ()
    names = [destination] if isinstance(destination, str) else destination
    return Command(name, args, frozenset(map(str, names)), min(max(timeout, 0.0), LONGEST))


def nodes(workers: Iterable[WorkerState], destination: Collection[str]) -> dict[str, WorkerState]:
    """Workers that are there, by name; of several with the same name each has its pid behind it."""
    there = [worker for worker in workers if worker.hello is not None]
    if destination:
        there = [w for w in there if w.name in destination or f"{w.name}#{w.pid}" in destination]
    names = [worker.name for worker in there]
    return {w.name if names.count(w.name) == 1 else f"{w.name}#{w.pid}": w for w in there}


# ── what is said of tasks ────────────────────────────────────────────────────────────────────────


def rate(args: Mapping[str, Any]) -> tuple[str, float | None]:
    """A name, and how often its tasks may start a second: 0 for as often as they can, None for what they say.

    Raises
    ------
    ValueError, TypeError, KeyError
        It is none.
    """
    name, said = str(args["task_name"]), args["rate_limit"]
    if said is None:
        return name, None
    if not 0 <= float(said) < math.inf:
        raise ValueError(f"a rate is a number of starts a second, not {said!r}")
    return name, float(said)


def rate_set(said: float | None) -> dict[str, str]:
    """The answer to that."""
    if said is None:
        return {"ok": "rate limit is again what the tasks say"}
    return {"ok": "new rate limit set successfully" if said else "rate limit disabled successfully"}


def times(args: Mapping[str, Any], now: float) -> tuple[str, TimeLimits]:
    """A name, and how long runs of its tasks may take that begin from ``now`` on.

    Raises
    ------
    ValueError, TypeError, KeyError
        They cannot be.
    """
    name, soft, hard = str(args["task_name"]), args.get("soft"), args.get("hard")
    for limit in (soft, hard):
        if limit is not None and not 0 <= float(limit) < math.inf:
            raise ValueError(f"a time limit is a number of seconds, not {limit!r}")
    if soft is not None and hard is not None and soft > hard:
        raise ValueError(f"soft ({soft:g} s) is above hard ({hard:g} s): it would never be reached")
    return name, TimeLimits(soft, hard, now)


TIMES_SET: Final = {"ok": "time limits set successfully"}


class Revocation(NamedTuple):
    """Tasks that are not wanted any more."""

    ids: list[str]
    #: end them where they run
    terminate: bool
    #: without time to clean up
    at_once: bool


def revocation(args: Mapping[str, Any]) -> Revocation:
    """
    Raises
    ------
    KeyError
        It names no task.
    """
    ids = args["task_id"]
    listed = [str(id) for id in ids] if isinstance(ids, list) else [str(ids)]
    return Revocation(listed, bool(args.get("terminate")), bool(args.get("at_once")))


def revoked(wanted: Revocation, unknown: Sequence[str]) -> dict[str, str]:
    """The answer to that; of the ``unknown`` ones nobody has a record."""
    if len(unknown) == len(wanted.ids):
        return {"error": f"no task is known as {', '.join(unknown)}"}
    text = f"tasks {', '.join(wanted.ids)} {'terminated' if wanted.terminate else 'flagged as revoked'}"
    return {"ok": text + (f"; not known: {', '.join(unknown)}" if unknown else "")}


def stamped(tasks: Iterable[Task], wanted: Mapping[str, list[Any]]) -> list[str]:
    """Ids of those of these tasks, none of which has ended, that carry one of these stamps.

    Raises
    ------
    ValueError
        There is none.
    """
    ids = [task.id for task in tasks if _is_stamped(task, wanted)]
    if not ids:
        raise ValueError(f"no task that has not ended is stamped so: {', '.join(wanted)}")
    return ids


def _is_stamped(task: Task, wanted: Mapping[str, list[Any]]) -> bool:
    """Whether a task carries one of these stamps with one of its values."""
    stamps = task.headers.get("stamps") if task.headers is not None else None
    if not isinstance(stamps, dict):
        return False
    mine = {name: values for name in wanted if isinstance(values := stamps.get(name), list)}
    return any(value in wanted[name] for name, values in mine.items() for value in values)


def events_told(on: bool, *, already: bool) -> dict[str, str]:
    """The answer to ``enable_events`` and ``disable_events``."""
    return {"ok": f"task events {'already ' if already else ''}{'enabled' if on else 'disabled'}"}


NO_WORKER: Final = {"error": "no worker is connected"}
