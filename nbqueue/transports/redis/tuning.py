"""What was said at runtime of all tasks of a name, and holds for all workers: how long runs may take, and how
often they start.

It is kept in ``tuned``, signed with its name.  Executors read it when they come and when it changes
(``news``), and whoever ends a run that is past its limit reads it again.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from nbqueue.core.dispatch import limited_to
from nbqueue.exceptions import ProtocolError
from nbqueue.messages import Hello, Task
from nbqueue.transports.redis.desk import Desk
from nbqueue.transports.redis.records import Tuned
from nbqueue.wire.signing import ForgedError

#: what is published in ``news`` when something has changed
CHANGED: Final = b"tuned"
#: seconds that it is kept while no worker comes
_KEPT: Final = 30 * 86_400


def of(desk: Desk, name: str) -> Tuned:
    """What was said of a name."""
    sealed = desk.command(b"HGET", "tuned", name)
    return (_opened(desk, name, sealed) if sealed else None) or Tuned(name)


def everything(desk: Desk) -> dict[str, Tuned]:
    """The same of all names of which something was said."""
    found = {}
    for field, sealed in desk.command(b"HGETALL", "tuned").items():
        name = field.decode(errors="replace")
        if (tuned := _opened(desk, name, sealed)) is not None:
            found[name] = tuned
    return found


def rates(desk: Desk) -> dict[str, float]:
    """Starts a second of the tasks of each name, where they were limited at runtime."""
    return {name: said.rate for name, said in everything(desk).items() if said.rate}


def _opened(desk: Desk, name: str, sealed: bytes) -> Tuned | None:
    try:
        return desk.sealed.open_tuned(name, sealed)
    except (ForgedError, ProtocolError) as error:
        desk.report_forgery(str(error))
        return None


def keep(desk: Desk, tuned: Tuned) -> None:
    """From now on this holds."""
    if tuned == Tuned(tuned.name):
        desk.command(b"HDEL", "tuned", tuned.name)
    else:
        desk.command(b"HSET", "tuned", tuned.name, desk.sealed.tuned(tuned))
        desk.command(b"EXPIRE", "tuned", _KEPT)
    desk.command(b"PUBLISH", "news", CHANGED)


def run_of(task: Task, leased_at: float, tuned: Mapping[str, Tuned], hello: Hello | None) -> Task:
    """A task with the time limits of the run that was given out then: what was said of its name before, its
    own, or those of its executor."""
    said = tuned.get(task.name)
    if said is not None and said.times is not None and leased_at >= said.times.since:
        task = limited_to(task, said.times)
    hard, soft = hello.limits if hello is not None and len(hello.limits) == 2 else (None, None)
    hard = hard if task.time_limit is None else task.time_limit
    soft = soft if task.soft_time_limit is None else task.soft_time_limit
    if (hard, soft) != (task.time_limit, task.soft_time_limit):
        task = msgspec.structs.replace(task, time_limit=hard, soft_time_limit=soft)
    return task
