"""What must hold of a broker after every message, whatever happened: for tests."""

from collections import Counter

from nbqueue.core.broker import BrokerCore
from nbqueue.core.records import DONE, LEASED, READY
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
        assert not (lane.size and lane.hungry), (lane.key, "work waits although somebody has room for it")
    for executor in core.dispatch.executors.values():
        assert executor.worker.executors.get(executor.id) is executor
        tokens = list(executor.held)
        assert tokens == sorted(tokens), (executor.id, "leases are held in the order of their tokens")
        charged = sum(record.estimate for record in executor.held.values())
        assert abs(executor.backlog - charged) < 1e-6, (executor.id, executor.backlog, charged)
    unfinished = sum(record.place != DONE for record in core.tasks.records)
    assert core.tasks.records.unfinished == unfinished
