"""Whose a task is, and so which ones a key may deal with; what it may do at all says ``core.permissions``.

A client's key may deal with all of them.  A worker's may with those that it has submitted, and may submit
those that belong to what its executors run.
"""

from collections.abc import Iterable

from nbqueue import messages as m
from nbqueue.core import permissions
from nbqueue.core.dispatch import Dispatcher
from nbqueue.core.permissions import Key
from nbqueue.core.records import LEASED, Record
from nbqueue.core.store import Records


class Ownership:
    """Looks at the tasks that there are, and at who runs them."""

    def __init__(self, records: Records, dispatch: Dispatcher) -> None:
        self._records = records
        self._dispatch = dispatch

    def objection(self, key: Key, ids: Iterable[str]) -> str:
        """Why a key may not deal with these tasks, "" if it may; unknown ones belong to nobody."""
        if not key.only_own:
            return ""
        found = (self._records.get(id) for id in ids)
        if all(record is None or _owns(key, record) for record in found):
            return ""
        return permissions.refusal(key)

    def objection_to_submit(self, key: Key, task: m.Task) -> str:
        """Why a task is not one that a key may submit, "" if it is."""
        if not key.only_own or self._may_submit(key, task):
            return ""
        return permissions.refusal(key)

    def _may_submit(self, key: Key, task: m.Task) -> bool:
        known = self._records.get(task.id)
        if known is not None:
            return _owns(key, known)
        before = task.step.after if task.step is not None else ()
        return self._runs(key, task.parent_id) and all(self._may_follow(key, id) for id in before)

    def _may_follow(self, key: Key, id: str) -> bool:
        """Whether something of that key's may come after a task: the key has submitted that, or runs it."""
        record = self._records.get(id)
        return record is None or _owns(key, record) or self._runs(key, id)

    def runs_any(self, key: Key) -> bool:
        """Whether an executor of that key runs something."""
        return any(executor.held and executor.key == key for executor in self._dispatch.executors.values())

    def _runs(self, key: Key, id: str) -> bool:
        """Whether an executor of that key holds a lease on the task."""
        record = self._records.get(id)
        if record is None or record.place != LEASED:
            return False
        executor = self._dispatch.executors.get(record.executor)
        return executor is not None and executor.key == key


def _owns(key: Key, record: Record) -> bool:
    return permissions.sees(key, record.sender.owner)
