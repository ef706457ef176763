"""Everything that is kept in Redis: the keys of one application, who owns them, and how long they stay.

All keys begin with ``nbq:{APP}:``.  The braces are a *hash tag*: in a Redis Cluster the whole application is
in one slot, and so on one shard.  The application's name is part of the URL, ``redis://…?app=NAME``.

========================  ======  ====================================================  =====================
key                       type    holds                                                 goes
========================  ======  ====================================================  =====================
``tasks``                 hash    id → envelope or call, of unfinished tasks            with each outcome
``standing``              hash    id → how it stands, of those that were given out      with each outcome
``watchers``              hash    id → clients that asked for it, beside its sender     with each outcome
``live:ID``               hash    its last progress and custom state                    with the outcome
``output:ID``             list    what it printed                                       ``result_expires``
``result:ID``             string  the record of a finished task                         ``result_expires``
``value:ID``              hash    large values, or all of a result backend's, by run    ``result_expires``
``steps``                 hash    step of a workflow → how it lines up, when it may     with each outcome
``left``                  hash    step → of how many others it has to wait              when it may run
``waiting``               hash    queue → steps that wait for others                    when it is 0
``after:ID``              hash    step → how the task is to end for it to run           with its last step
``call:ID``               string  the envelope of a task that failed, for its errback   1 min, or last step
``wishes:ID``             hash    client → which items of the task it reads             a lease later
``blob:HASH``             string  a function, or what it captured                       1 h after its task
``blob:t.HASH``           string  a template: what many calls have in common            1 h after its task
``blob:p.N.NONCE``        hash    a large payload, in pieces                            with its task
``references``            hash    hash → unfinished tasks that need the blob            when it is 0
``lanes``                 hash    lane → tasks that wait in it                          with the last worker
``ready:LANE:PRIORITY``   list    entries of tasks that wait                            when it is empty
``due``                   zset    entries of tasks that wait for their time             when they are due
``timers``                zset    expiry, time limits, grace: when each is due          when it is due
``queued``, ``running``   hash    queue → unfinished tasks, tasks that executors have   when it is 0
``idle:LANE``             zset    executors that wait for tasks                         with the executor
``alive``                 zset    worker → until when it counts as alive                with the worker
``workers``               hash    worker → its Hello                                    with the worker
``executors:WORKER``      hash    executor → its Hello                                  with the executor
``held:EXECUTOR``         hash    lease token → task id, "" for a lease that is void    with the executor
``beats``                 zset    executor → when it was last heard of                  with the executor
``clients``               zset    client → when it was last heard of                    a lease later
``loads``                 hash    worker → its last heartbeat: load of its machine      with the worker
``total:WORKER``          hash    name → tasks that ended there                         with it, or 1 d
``silent``                set     workers of which no events are told                   with it, or 30 d
``tuned``                 hash    name → limits that were set at runtime                30 d after all workers
``periodic``              hash    application, name → a periodic task                   when it is removed
``firings``               zset    periodic tasks: when each fires next                  when it is removed
``keeper``                string  the worker that sees to it that they fire             a lease later
``listeners``             zset    client that is told of events → until when            2 leases later
``starts``                hash    name → when a task with a rate last started           1 d later
``occupied:WORKER``       hash    lease token → what its task occupies                  with the worker
``awaits:WORKER``         hash    lane → since when its first task lacks room there     with the worker
``recent``, ``recent:N``  list    the newest ids, of all and of one notebook            ``result_expires``
``token``                 string  the last lease token                                  1 d after all workers
========================  ======  ====================================================  =====================

A result that a step may take has no time to live until that step is done: then ``result_expires`` begins.  If
it is forgotten before, ``after:ID`` has a field "", and it goes with the step.

Channels: ``c:CLIENT`` (news of its tasks), ``x:EXECUTOR`` (there is a task for you), ``k:EXECUTOR`` (its
control link), ``w:WORKER`` (its supervisor), ``o:WORKER`` (orders to it), ``news`` (there is a new lane, or
another limit), ``firings`` (there is another periodic task), ``listeners``
(somebody wants to be told of events, or no more), ``events``.

An *entry* is four characters that stand for the function, one for how many bytes the task has ("A" for 0, "B"
for 1, "C" for 2 and 3, "D" for 4 to 7, …), and its id: so a script that gives tasks out knows how long they
take, and how much they are, without reading them.  A *lane* is what the tasks in it demand of their executor
(``core.queues.LaneKey``), as one text.
"""

import hashlib
from base64 import b64encode
from functools import lru_cache
from typing import Final

from nbqueue.core.queues import LaneKey
from nbqueue.messages import Task

#: between the parts of a lane; no part has one
_SEPARATOR: Final = "\x1f"
#: between tags, and between resources
_LIST: Final = "\x1e"
_SIZES: Final = "".join(chr(ord("A") + bits) for bits in range(64))


class Names:
    """Keys and channels of an application."""

    def __init__(self, app: str) -> None:
        self.app = app
        self.prefix = f"nbq:{{{app}}}:"

    def __call__(self, name: str) -> str:
        return self.prefix + name


def lane_of(task: Task) -> str:
    """The lane of a task, as it is written."""
    if task.demand is not None or task.rate:
        return _special(task)
    if task.definition:
        return _SEPARATOR.join((task.queue, task.python, task.env, ""))
    return _SEPARATOR.join((task.queue, "", "", task.name))


def _special(task: Task) -> str:
    """The lane of a task that demands something, or starts at a limited rate."""
    key = LaneKey.of(task, limited=task.rate > 0)
    resources = (f"{name}={amount!r}" for name, amount in key.resources)
    rate = repr(task.rate) if key.limited else "0.0"
    return _SEPARATOR.join((*key[:4], _LIST.join(key.tags), _LIST.join(resources), key.limited, rate))


def unfit(task: Task) -> str:
    """Why what a task demands cannot be written as a lane, "" if it can."""
    if task.demand is None and not task.rate:
        return ""
    words = [task.name, *(() if task.demand is None else (*task.demand.tags, *task.demand.resources))]
    wrong = next((word for word in words if not word or not word.isprintable()), None)
    return "" if wrong is None else f"{wrong!r} is no name for a tag, a resource or a task with a rate"


def lane_key(lane: str) -> LaneKey:
    """What a lane demands.

    Raises
    ------
    ValueError
        It is not one of ours.
    """
    queue, python, env, name, *more = lane.split(_SEPARATOR)
    if not more:
        return LaneKey(queue, python, env, name)
    tags, resources, limited, _ = more
    amounts = (each.rpartition("=") for each in resources.split(_LIST) if each)
    wanted = tuple((resource, float(amount)) for resource, _, amount in amounts)
    return LaneKey(queue, python, env, name, tuple(filter(None, tags.split(_LIST))), wanted, limited)


def rate_of(lane: str) -> float:
    """Starts a second of a lane's tasks, as they say; 0 for as many as there can be."""
    parts = lane.split(_SEPARATOR)
    return float(parts[7]) if len(parts) == 8 else 0.0


def queue_of(lane: bytes) -> str:
    """The queue of a lane; "" if it is not one of ours."""
    try:
        return lane_key(lane.decode()).queue
    except ValueError:
        return ""


@lru_cache(10_000)
def tag(function: str) -> str:
    """Four characters that stand for a function (the key of its definition, or its name)."""
    return b64encode(hashlib.blake2b(function.encode(), digest_size=3).digest()).decode()


def entry_of(task: Task) -> str:
    """How a task is named in the lists of those that wait."""
    return f"{tag_of(task)}{size_of(task)}{task.id}"


def id_of_due(member: bytes) -> bytes:
    """The id of an entry in ``due``; b"" if it is not one of ours."""
    return member.partition(b"\0")[2][6:]


def size_of(task: Task) -> str:
    """One character for the bytes of its payload, as powers of two."""
    return _SIZES[(len(task.payload) + len(task.captured)).bit_length()]


def tag_of(task: Task) -> str:
    """What stands for its function; for another one if it fills its executor whatever it takes, as
    ``core.executors.Durations`` has it."""
    function = task.definition or task.name
    fills = task.time_limit is not None or task.soft_time_limit is not None or not task.acks_late
    fills = fills or task.demand is not None or task.rate > 0
    return tag(function + "!" if fills else function)
