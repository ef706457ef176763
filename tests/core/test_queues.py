"""Tasks that wait in a lane."""

import msgspec

from nbqueue.core.queues import Lane, LaneKey
from nbqueue.core.records import LEASED, READY, Record, Sender
from nbqueue.messages import Task


def record(id: str, order: int, **fields: int) -> Record:
    return Record(Task(id, "f", "d", b"", **fields), 0.0, order, Sender("c"))


def test_a_task_that_comes_back_with_another_priority_takes_nobodys_place() -> None:
    """It was claimed while it waited, and then asked for another run of lower priority."""
    lane = Lane(LaneKey("default", "", "", ""))
    first, second = record("first", 1, priority=9), record("second", 2, priority=0)
    lane.put(first)
    lane.put(second)
    first.place = LEASED
    lane.withdrawn()
    first.task = msgspec.structs.replace(first.task, priority=0)
    first.place = READY
    lane.put(first)
    taken = []
    while (found := lane.take()) is not None:
        found.place = LEASED
        taken.append(found.task.id)
    assert sorted(taken) == ["first", "second"]
    assert lane.size == 0
