"""Finished records go in time, and early when there are too many; unfinished ones are counted."""

from typing import Any

from nbqueue.core.records import Record, Sender, task_size
from nbqueue.core.settings import BrokerSettings
from nbqueue.core.store import Records
from nbqueue.messages import Outcome, Task


def new_records(needed: frozenset[str] | set[str] = frozenset(), **limits: Any) -> Records:
    """``needed``: ids of which clients wait to be told."""
    return Records(BrokerSettings(**limits), lambda record: record.task.id in needed)


def add(records: Records, id: str, payload: bytes = b"") -> Record:
    record = Record(Task(id, "f", "", payload), 0.0, records.next_order(), Sender("c"))
    records.add(record)
    return record


def test_a_finished_record_expires_and_a_waiting_one_does_not() -> None:
    records = new_records(result_expires=10.0)
    waiting, done = add(records, "waiting"), add(records, "done")
    records.finished(done, now=5.0)
    assert records.next_expiry() == 15.0
    records.expire(14.9)
    assert records.get("done") is done
    records.expire(15.0)
    assert records.get("done") is None
    assert records.get("waiting") is waiting


def test_zero_means_for_ever() -> None:
    records = new_records(result_expires=0.0)
    records.finished(add(records, "done"), now=0.0)
    records.expire(1e12)
    assert records.get("done") is not None
    assert records.next_expiry() is None


def finish(records: Records, *ids: str) -> None:
    for id in ids:
        record = records.get(id)
        assert record is not None
        records.finished(record, now=0.0)
        records.make_room()


def ten(records: Records, payload: bytes = b"") -> list[str]:
    return [add(records, str(n), payload).task.id for n in range(10)]


def ids(records: Records) -> list[str]:
    return [record.task.id for record in records]


def test_the_oldest_go_when_they_take_too_much_room() -> None:
    records = new_records(max_result_bytes=6500)
    finish(records, *ten(records, b"x" * 1000))
    assert ids(records) == ["7", "8", "9"]


def test_the_oldest_go_when_there_are_too_many() -> None:
    records = new_records(max_results=3)
    finish(records, *ten(records))
    assert ids(records) == ["7", "8", "9"]


def test_one_result_is_kept_however_large_it_is() -> None:
    records = new_records(max_result_bytes=1)
    finish(records, *ten(records))
    assert ids(records) == ["9"]


def test_a_result_that_a_client_waits_for_does_not_go_and_the_records_are_full() -> None:
    needed = {"0", "1"}
    records = new_records(needed, max_results=2)
    finish(records, *ten(records))
    assert set(ids(records)) == needed
    assert not records.full
    needed.add("more")
    finish(records, add(records, "more").task.id)
    assert records.full
    needed.clear()
    records.make_room()
    assert len(records) == 2
    assert not records.full


def test_a_needed_result_costs_little_to_step_over() -> None:
    """A hundred thousand that wait to be told do not make each further one look at all of them."""
    looks = 0

    def needed(record: Record) -> bool:
        nonlocal looks
        looks += 1
        return True

    records = Records(BrokerSettings(max_results=10), needed)
    finish(records, *(add(records, str(n)).task.id for n in range(1000)))
    assert len(records) == 1000
    assert looks <= 8 * 1000


def refusal(records: Records, task: Task) -> str:
    return records.refusal(task, task_size(task))


def test_a_queue_takes_no_more_than_its_number_of_tasks() -> None:
    records = new_records(max_queued=10)
    ten(records)
    one_more = Task("more", "f", "", b"")
    assert "queue 'default' is full" in refusal(records, one_more)
    assert "max_queued" in refusal(records, one_more)
    assert refusal(records, Task("more", "f", "", b"", queue="another")) == ""
    finish(records, "0")
    assert refusal(records, one_more) == ""


def test_all_queues_together_take_no_more_than_their_number_of_bytes() -> None:
    large = Task("large", "f", "", b"x" * 5000)
    records = new_records(max_queued_bytes=3 * task_size(large))
    for n in range(3):
        assert refusal(records, large) == ""
        add(records, str(n), b"x" * 5000)
    assert "max_queued_bytes" in refusal(records, large)
    assert "max_queued_bytes" in refusal(records, Task("small", "f", "", b"", queue="another"))
    finish(records, "0")
    assert refusal(records, large) == ""


def test_large_arguments_go_when_the_task_is_done() -> None:
    records = new_records(result_expires=0.0)
    record = add(records, "large", b"x" * 10**6)
    records.finished(record, now=0.0)
    assert record.size < 1100


def test_the_newest_come_first() -> None:
    records = new_records(result_expires=0.0)
    for n in range(5):
        add(records, str(n))
    assert [r.task.id for r in records.newest(2)] == ["4", "3"]


def test_what_steps_need_is_held_apart_and_counts_with_what_is_unfinished() -> None:
    awaited: set[str] = set()
    limits = BrokerSettings(max_results=2, result_expires=10.0, max_queued_bytes=20_000)
    records = Records(limits, lambda record: False, awaited)
    awaited.add("0")
    kept = add(records, "0", b"x" * 9000)
    finish(records, "0")
    assert (records.is_held("0"), records.unfinished, records.held_bytes >= 1000) == (True, 0, True)
    others = [add(records, f"other {n}").task.id for n in range(10)]
    finish(records, *others)
    records.expire(1e9)
    assert records.get("0") is kept
    kept.outcome = None
    awaited.clear()
    records.release("0")
    assert (records.is_held("0"), records.held_bytes) == (False, 0)
    records.expire(1e9)
    assert records.get("0") is None


def test_what_is_finished_already_may_be_needed_later() -> None:
    awaited: set[str] = set()
    records = Records(BrokerSettings(result_expires=10.0), lambda record: False, awaited)
    add(records, "0")
    finish(records, "0")
    awaited.add("0")
    records.hold("0")
    records.hold("unknown")
    records.expire(1e9)
    assert records.get("0") is not None
    records.forget("0")
    assert records.get("0") is not None, "only release() lets it go"


def test_the_values_that_steps_wait_for_leave_less_room_for_new_tasks() -> None:
    awaited = {"0"}
    records = Records(BrokerSettings(max_queued_bytes=20_000), lambda record: False, awaited)
    record = add(records, "0")
    record.outcome = Outcome("0", 0, "SUCCESS", b"x" * 18_000)
    records.finished(record, now=0.0)
    assert "max_queued_bytes" in refusal(records, Task("1", "f", "", b"x" * 1500))
    awaited.clear()
    records.release("0")
    assert not refusal(records, Task("1", "f", "", b"x" * 1500))
