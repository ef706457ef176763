"""What must hold of a broker after every message, whatever happened: for tests."""

from collections import Counter
from collections.abc import Sequence

from nbqueue.core.broker import BrokerCore
from nbqueue.core.records import DONE, LEASED, READY, WAITING, Record, task_size
from nbqueue.states import READY_STATES

#: seconds that work may wait for a timer that is due
_MOMENT = 1e-3


def check(core: BrokerCore, now: float | None = None, *, thorough: bool = True) -> None:
    """Raise AssertionError, naming the record, if the core's books do not agree with one another.

    ``now``: the broker's time, for what has to happen at a time.  ``thorough``: look at those that are done,
    too; what is wrong with one stays wrong, and may be found a little later.
    """
    records = core.tasks.records
    if thorough:
        for record in records:
            if record.place == DONE:
                assert record.state in READY_STATES, repr(record)
                assert record.outcome is not None, repr(record)
                assert record.outcome.token == record.token, repr(record)
    unfinished = [record for record in records if record.place != DONE]
    waiting: Counter[object] = Counter()
    for record in unfinished:
        assert record.state not in READY_STATES, repr(record)
        assert record.outcome is None, repr(record)
        if record.place == LEASED:
            holder = core.dispatch.executors.get(record.executor)
            assert holder is not None, repr(record)
            assert holder.held.get(record.token) is record, repr(record)
        elif record.place == READY:
            waiting[core.dispatch.lane(record.task)] += 1
    for lane in core.dispatch.lanes.by_key.values():
        assert lane.size == waiting[lane], (lane.key, lane.size, waiting[lane])
        idle = lane.is_plain and lane.hungry and not core.dispatch.paused
        assert not (lane.size and idle), (lane.key, "work waits although somebody has room for it")
    for executor in core.dispatch.executors.values():
        assert executor.worker.executors.get(executor.id) is executor
        tokens = list(executor.held)
        assert tokens == sorted(tokens), (executor.id, "leases are held in the order of their tokens")
        charged = sum(record.estimate for record in executor.held.values())
        assert abs(executor.backlog - charged) < 1e-6, (executor.id, executor.backlog, charged)
        demanding = {t: r.task.demand for t, r in executor.held.items() if r.task.demand is not None}
        assert demanding.items() <= executor.worker.demands.items(), executor.id
        if now is not None and executor.has_room and not core.dispatch.paused:
            left = core.dispatch.lanes.choice(executor, now - _MOMENT)
            assert left is None, (executor.id, "has room, and work waits", left.key)
    for worker in core.dispatch.workers.values():
        held = {token for executor in worker.executors.values() for token in executor.held}
        assert worker.demands.keys() <= held, (worker.id, "resources are occupied by nobody")
    assert records.unfinished == len(unfinished)
    assert records.queued == Counter(record.task.queue for record in unfinished)
    assert records.queued_bytes == sum(task_size(record.task) for record in unfinished)
    _check_steps(core, unfinished)


def _check_steps(core: BrokerCore, unfinished: Sequence[Record]) -> None:
    """Who waits waits for somebody; what is needed is there; nobody is counted who is gone."""
    records, workflow = core.tasks.records, core.tasks.workflow
    steps = [r for r in unfinished if r.task.step is not None or r.by]
    assert workflow.steps == {record.task.id for record in steps}
    for record in steps:
        before = dict.fromkeys(record.predecessors)
        found = [records.get(id) for id in before]
        left = sum(r is None or r.place != DONE for r in found)
        assert workflow.left(record.task.id) == left, (repr(record), left)
        assert left or record.place != WAITING, (repr(record), "waits for nobody")
        for id, other in zip(before, found, strict=True):
            assert workflow.dependents[id][record.task.id] is record, repr(record)
            assert other is not None, (repr(record), id, "it needs a record that is gone")
    for id, dependents in workflow.dependents.items():
        assert dependents, id
        for step in dependents.values():
            assert records.get(step.task.id) is step, (id, repr(step))
            assert step.place != DONE, (id, repr(step))
            assert id in step.predecessors, (id, repr(step))
        needed = records.get(id)
        assert needed is None or (needed.place == DONE) == records.is_held(id), repr(needed)
    assert records.held_bytes >= 0
