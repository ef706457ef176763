"""What must hold of a broker after every message, whatever happened: for tests."""

from collections import Counter

from nbqueue.core.broker import BrokerCore
from nbqueue.core.records import DONE, LEASED, READY, WAITING, task_size
from nbqueue.states import READY_STATES


def check(core: BrokerCore) -> None:
    """Raise AssertionError, naming the record, if the core's books do not agree with one another."""
    waiting: Counter[object] = Counter()
    for record in core.tasks.records:
        assert (record.place == DONE) == (record.state in READY_STATES), repr(record)
        assert (record.outcome is not None) == (record.place == DONE), repr(record)
        assert record.outcome is None or record.outcome.token == record.token, repr(record)
        if record.place == LEASED:
            holder = core.dispatch.executors.get(record.executor)
            assert holder is not None, repr(record)
            assert holder.held.get(record.token) is record, repr(record)
        elif record.place == READY:
            waiting[core.dispatch.lane(record.task)] += 1
    for lane in core.dispatch.lanes.by_key.values():
        assert lane.size == waiting[lane], (lane.key, lane.size, waiting[lane])
        idle = lane.hungry and not core.dispatch.paused
        assert not (lane.size and idle), (lane.key, "work waits although somebody has room for it")
    for executor in core.dispatch.executors.values():
        assert executor.worker.executors.get(executor.id) is executor
        tokens = list(executor.held)
        assert tokens == sorted(tokens), (executor.id, "leases are held in the order of their tokens")
        charged = sum(record.estimate for record in executor.held.values())
        assert abs(executor.backlog - charged) < 1e-6, (executor.id, executor.backlog, charged)
    records = core.tasks.records
    unfinished = [record.task for record in records if record.place != DONE]
    assert records.unfinished == len(unfinished)
    assert records.queued == Counter(task.queue for task in unfinished)
    assert records.queued_bytes == sum(map(task_size, unfinished))
    _check_steps(core)


def _check_steps(core: BrokerCore) -> None:
    """Who waits waits for somebody; what is needed is there; nobody is counted who is gone."""
    records, workflow = core.tasks.records, core.tasks.workflow
    waiting = 0
    for record in records:
        unfinished = record.place != DONE
        before = dict.fromkeys(record.predecessors) if unfinished else {}
        found = [records.get(id) for id in before]
        left = sum(r is None or r.place != DONE for r in found)
        assert workflow.left(record.task.id) == left, (repr(record), left)
        if record.place == WAITING:
            waiting += 1
            assert left, (repr(record), "waits for nobody")
        for id, other in zip(before, found, strict=True):
            assert workflow.dependents[id][record.task.id] is record, repr(record)
            assert other is not None, (repr(record), id, "it needs a record that is gone")
    for id, steps in workflow.dependents.items():
        assert steps, id
        for step in steps.values():
            assert records.get(step.task.id) is step, (id, repr(step))
            assert step.place != DONE, (id, repr(step))
            assert id in step.predecessors, (id, repr(step))
        needed = records.get(id)
        assert needed is None or (needed.place == DONE) == records.is_held(id), repr(needed)
    assert records.held_bytes >= 0
