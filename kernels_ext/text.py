"""A task in one line, for terminals and for whatever shows no widgets.

::

    ✓ train  SUCCESS  1.2 s on w1
    ✗ train  FAILURE  0.3 s on w1  ValueError: no such file
    ● train  STARTED  12 s on w1  20 %  12/60  1.0 it/s, 48 s left
    ◌ train  PENDING  in queue gpu

    ✗ train ×60  57/60 done, 1 failed, 2 running

Everything here is a function of views and of the time that is passed in.
"""

import time
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from nbqueue.states import FAILURE, PENDING, READY_STATES, RETRY, REVOKED, SUCCESS

if TYPE_CHECKING:
    from nbqueue.client.records import View

MARKS = {SUCCESS: "✓", FAILURE: "✗", REVOKED: "⊘", RETRY: "↻", PENDING: "◌"}
#: STARTED, and every custom state of a running task
RUNNING_MARK = "●"
MAX_MESSAGE = 200


def describe(view: "View", now: float | None = None) -> str:
    """One line about a task: mark, name, state, then what is known of time, worker, progress and failure.

    ``now`` is Unix time in seconds; without it, the clock is read.
    """
    now = time.time() if now is None else now
    parts = [
        f"{mark(view.state)} {view.name}",
        view.state,
        _place(view, now),
        _progress(view, now),
        reason(view),
    ]
    return "  ".join(part for part in parts if part)


def describe_group(name: str, views: Iterable["View"]) -> str:
    """One line about a map or a group: how many are done, failed, running and waiting."""
    return describe_counts(name, Counter(view.state for view in views))


def describe_counts(name: str, counts: Counter[str]) -> str:
    """The same, where it is known already how many tasks are in which state."""
    total = counts.total()
    done = sum(counts[state] for state in READY_STATES)
    waiting = counts[PENDING] + counts[RETRY]
    notes = {
        "failed": counts[FAILURE],
        "revoked": counts[REVOKED],
        "running": total - done - waiting,
        "waiting": waiting,
    }
    listed = "".join(f", {count:,} {word}" for word, count in notes.items() if count)
    return f"{_group_mark(counts, total)} {name} ×{total:,}  {done:,}/{total:,} done{listed}"


def mark(state: str) -> str:
    """The character that stands for a state."""
    return MARKS.get(state, RUNNING_MARK)


def duration(seconds: float) -> str:
    """A length of time for people: ``0.45 s``, ``12 s``, ``3 min 20 s``, ``2 h 5 min``."""
    if seconds < 1e-3:
        return "0 ms" if seconds < 5e-4 else "1 ms"
    if seconds < 0.1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 9.95:
        return f"{seconds:.2g} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def elapsed(view: "View", now: float) -> float | None:
    """Seconds since the task started, or that it took; None while it waits."""
    if view.started_at is None:
        return None
    return max(0.0, (now if view.finished_at is None else view.finished_at) - view.started_at)


def _place(view: "View", now: float) -> str:
    seconds = elapsed(view, now)
    if view.state in (PENDING, RETRY):
        retries = f", retry {view.retries}" if view.retries else ""
        return f"in queue {view.queue}{retries}" if view.queue else retries.removeprefix(", ")
    worker = f"on {view.worker}" if view.worker else ""
    return " ".join(part for part in ("" if seconds is None else duration(seconds), worker) if part)


def _progress(view: "View", now: float) -> str:
    if view.current is None or view.state in READY_STATES:
        return ""
    parts = [view.description or "", _count(view.current, view.total), _rate(view, now)]
    return "  ".join(part for part in parts if part)


def _count(current: float, total: float | None) -> str:
    if not total:
        return f"{current:g}"
    return f"{current / total:.0%}".replace("%", " %") + f"  {current:g}/{total:g}"


def _rate(view: "View", now: float) -> str:
    seconds = elapsed(view, now)
    if not view.current or not seconds:
        return ""
    rate = view.current / seconds
    speed = f"{rate:.1f} it/s" if rate >= 1 else f"{duration(1 / rate)}/it"
    if not view.total or view.current >= view.total:
        return speed
    return f"{speed}, {duration((view.total - view.current) / rate)} left"


def reason(view: "View") -> str:
    """The failure's type and the first line of its message; "" without a failure."""
    if view.failure is None:
        return ""
    lines = view.failure.message.splitlines()
    message = f"{view.failure.type}: {lines[0]}" if lines else view.failure.type
    return message if len(message) <= MAX_MESSAGE else message[: MAX_MESSAGE - 1] + "…"


def _group_mark(counts: Counter[str], total: int) -> str:
    if counts[FAILURE]:
        return MARKS[FAILURE]
    if counts[REVOKED]:
        return MARKS[REVOKED]
    if counts[SUCCESS] == total:
        return MARKS[SUCCESS]
    return MARKS[PENDING] if counts[PENDING] == total else RUNNING_MARK
