"""Finished records go in time, and early when there are too many."""

from nbqueue.core.records import Record
from nbqueue.core.store import Records
from nbqueue.messages import Task


def add(records: Records, id: str, payload: bytes = b"") -> Record:
    record = Record(Task(id, "f", "", payload), 0.0, records.next_order())
    records.add(record)
    return record


def test_a_finished_record_expires_and_a_waiting_one_does_not() -> None:
    records = Records(expires=10.0, max_bytes=10**9)
    waiting, done = add(records, "waiting"), add(records, "done")
    records.finished(done, now=5.0)
    assert records.next_expiry() == 15.0
    records.expire(14.9)
    assert records.get("done") is done
    records.expire(15.0)
    assert records.get("done") is None
    assert records.get("waiting") is waiting


def test_zero_means_for_ever() -> None:
    records = Records(expires=0.0, max_bytes=10**9)
    records.finished(add(records, "done"), now=0.0)
    records.expire(1e12)
    assert records.get("done") is not None
    assert records.next_expiry() is None


def test_the_oldest_go_when_they_take_too_much_room() -> None:
    records = Records(expires=0.0, max_bytes=5000)
    for n in range(10):
        records.finished(add(records, str(n), b"x" * 1000), now=0.0)
    assert [r.task.id for r in records] == ["7", "8", "9"]


def test_large_arguments_go_when_the_task_is_done() -> None:
    records = Records(expires=0.0, max_bytes=10**9)
    record = add(records, "large", b"x" * 10**6)
    records.finished(record, now=0.0)
    assert record.size < 1000


def test_the_newest_come_first() -> None:
    records = Records(expires=0.0, max_bytes=10**9)
    for n in range(5):
        add(records, str(n))
    assert [r.task.id for r in records.newest(2)] == ["4", "3"]
