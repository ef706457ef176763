"""Which tasks belong together: those before and after a task in its workflows, and those that it submitted.

Nothing of this is kept: a look goes through the newest records once.
"""

from collections import deque
from typing import Any, Final, Protocol

from nbqueue.core.records import Record
from nbqueue.core.store import LOOKED_THROUGH
from nbqueue.states import FAILURE

#: tasks of which one look tells
MOST: Final = 10_000


class Newest(Protocol):
    """What a look goes through."""

    def newest(self, limit: int, /) -> list[Record]: ...

    def get(self, id: str, /) -> Record | None: ...


def children(records: Newest, id: str) -> list[Record]:
    """The tasks that a task has submitted, and those that come after it; of a group's id its members.  The
    oldest first."""
    found = [record for record in records.newest(LOOKED_THROUGH) if id and _is_child(record, id)]
    return found[::-1]


def _is_child(record: Record, id: str) -> bool:
    task = record.task
    return id in (task.parent_id, task.group) or id in record.predecessors


def family(records: Newest, id: str) -> list[tuple[Record, list[tuple[str, str]]]]:
    """All tasks that hang together with one, each with what it comes from: (id, kind), where the kind is
    "value", "error", "replaced" or "submitted".  The oldest first."""
    origins: dict[str, list[tuple[str, str]]] = {}
    relatives: dict[str, list[str]] = {}
    for record in records.newest(LOOKED_THROUGH):
        own = origins[record.task.id] = _origins(record)
        for other, _ in own:
            relatives.setdefault(other, []).append(record.task.id)
    found: dict[str, None] = {}
    queue = deque([id])
    while queue and len(found) < MOST:
        each = queue.popleft()
        if each not in found and records.get(each) is not None:
            found[each] = None
            queue.extend(relatives.get(each, ()))
            queue.extend(other for other, _ in origins.get(each, ()))
    together = [known for each in found if (known := records.get(each)) is not None]
    return [
        (record, [(other, kind) for other, kind in origins.get(record.task.id, ()) if other in found])
        for record in sorted(together, key=_order)
    ]


def _order(record: Record) -> int:
    return record.order


def _origins(record: Record) -> list[tuple[str, str]]:
    task = record.task
    step = task.step
    found: list[tuple[str, str]] = []
    if step is not None:
        kind = "error" if step.on == FAILURE else "value"
        found = [(id, kind) for id in dict.fromkeys(step.after)]
    if record.by:
        found.append((record.by, "replaced"))
    if task.parent_id and not found:
        found.append((task.parent_id, "submitted"))
    return found


def row(record: Record) -> dict[str, Any]:
    """What is told of a task."""
    task = record.task
    return {"id": task.id, "name": task.name, "state": record.state, "group": task.group}
