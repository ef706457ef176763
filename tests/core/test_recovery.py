"""What a broker makes of the entries of earlier ones."""

import pytest

from nbqueue import messages as m
from nbqueue.core.actions import Keep
from nbqueue.core.broker import BrokerCore, BrokerSettings
from nbqueue.core.entries import (
    AnyEntry,
    Began,
    Defined,
    Ended,
    Lease,
    Leased,
    Printed,
    Stood,
    Took,
    decode,
    encode,
    encode_large,
    singles,
    size,
)
from nbqueue.core.records import DONE, LEASED, READY, Record, Sender
from nbqueue.testing import invariants

SENDER = Sender("c", notebook="n.ipynb")
DEFINED = Defined("d", b"definition")


def took(*ids: str, order: int = 1, at: float = 0.0, **fields: object) -> Took:
    return Took(order, at, SENDER, [m.Task(id, "f", "d", b"", **fields) for id in ids])


def ended(id: str, at: float = 5.0) -> Ended:
    return Ended([m.Outcome(id, 1, "SUCCESS", b"value", at=at)])


def restored(*entries: AnyEntry, epoch: float = 0.0, now: float = 100.0) -> BrokerCore:
    core = BrokerCore(BrokerSettings(), boot=9, epoch=epoch)
    recovery = core.recovery()
    recovery.read(decode(encode([Began(1, 0.0), DEFINED, *entries])))
    recovery.finish(now)
    invariants.check(core)
    return core


def record(core: BrokerCore, id: str) -> Record:
    found = core.tasks.records.get(id)
    assert found is not None
    return found


def test_an_id_that_is_used_again_after_its_first_task_has_expired_is_the_second_task() -> None:
    core = restored(took("a"), ended("a"), took("a", order=2))
    assert record(core, "a").place == READY
    assert record(core, "a").sender == SENDER


def test_entries_may_be_read_twice() -> None:
    entries = [took("a", "b"), ended("a")]
    core = restored(*entries, *entries)
    assert [record(core, id).place for id in "ab"] == [DONE, READY]
    assert core.tasks.records.unfinished == 1


def test_entries_about_what_is_not_known_any_more_are_stepped_over() -> None:
    lease = Lease("gone", 7, 1)
    core = restored(
        Leased("e", 0.0, [lease]), ended("gone"), Printed([m.Output("gone", 7, 0, "stdout", "x")])
    )
    assert len(core.tasks.records) == 0


def test_times_go_on_by_the_wall_clock_whatever_the_clock_of_the_process_says() -> None:
    core = restored(took("a", at=10.0, countdown=60.0), epoch=1_000.0, now=-970.0)
    assert record(core, "a").due == -930.0
    assert core.next_deadline() == -930.0


def test_a_lease_without_a_known_executor_is_given_again() -> None:
    core = restored(took("a"), Leased("nobody", 1.0, [Lease("a", 7, 1)]))
    assert record(core, "a").place == READY != LEASED


def test_a_task_whose_function_was_lost_ends_and_says_so() -> None:
    task = m.Task("a", "f", "lost", b"")
    core = restored(Took(1, 0.0, SENDER, [task]))
    outcome = record(core, "a").outcome
    assert outcome is not None
    assert outcome.failure is not None
    assert "submit it again" in outcome.failure.message


def test_what_waiting_tasks_are_made_of_is_all_there_however_large_it_is() -> None:
    size = 90 * 2**20  # together more than is kept for nobody
    keys = [f"d{n}" for n in range(4)]
    blobs = [Defined(key, bytes(size)) for key in keys]
    tasks = [m.Task(key, "f", key, b"") for key in keys]
    core = restored(*blobs, Took(1, 0.0, SENDER, tasks))
    assert [record(core, key).place for key in keys] == [READY] * 4


def test_a_blob_that_goes_while_a_snapshot_is_made_is_left_out_of_it() -> None:
    core = restored()
    portions = core.standing()
    next(portions)
    core.tasks.blobs._blobs.clear()
    assert not [entry for portion in portions for entry in portion if isinstance(entry, Defined)]
    assert not core.tasks.define(m.Define("d", b""))


def test_portions_of_a_snapshot_are_small_whatever_the_tasks_are() -> None:
    tasks = [m.Task(str(n), "f", "d", bytes(2**20)) for n in range(30)]
    core = restored(Took(1, 0.0, SENDER, tasks))
    portions = [encode(portion) for portion in core.standing()]
    assert max(map(len, portions)) < 8 * 2**20
    again = BrokerCore(BrokerSettings(), boot=10)
    recovery = again.recovery()
    for portion in portions:
        recovery.read(decode(portion))
    recovery.finish(100.0)
    assert [r.task.id for r in again.tasks.records] == [str(n) for n in range(30)]


@pytest.mark.parametrize("entry", [took(*"abcde"), Ended([*ended("a").outcomes, *ended("b").outcomes])])
def test_entries_of_one_task_each_say_the_same(entry: AnyEntry) -> None:
    before = [took(*"abcde")]
    parts = list(singles([entry]))
    assert len(parts) > 1
    assert list(restored(*before, entry).tasks.records) == list(restored(*before, *parts).tasks.records)


LARGE = bytes(2**20)
LARGE_OUTCOME = m.Outcome("a", 1, "SUCCESS", LARGE, runtime=0.1, worker="w", at=1.0)


@pytest.mark.parametrize(
    "entry",
    [
        Took(1, 2.0, SENDER, [m.Task("a", "f", "d", LARGE, countdown=3.0, time_limit=None)]),
        Took(1, 2.0, SENDER, [m.Task("a", "f", "d", b"", LARGE)]),
        Ended([LARGE_OUTCOME]),
        Ended([m.Outcome("a", 1, "FAILURE", failure=m.Failure("E", "m", "text", "", exception=LARGE))]),
        Defined("key", LARGE),
    ],
)
def test_a_large_entry_is_written_from_where_its_value_lies(entry: AnyEntry) -> None:
    parts = encode_large(entry)
    assert size([entry]) == len(LARGE)
    assert any(part is LARGE for part in parts)
    assert decode(b"".join(parts)) == [entry]


def test_a_record_with_a_large_value_is_written_in_parts_too() -> None:
    core = restored(took("a"), Ended([LARGE_OUTCOME]))
    (entry,) = (e for portion in core.standing() for e in portion if isinstance(e, Stood))
    assert size([entry]) == len(LARGE)
    assert decode(b"".join(encode_large(entry))) == [entry]


def test_when_a_run_began_is_known_to_the_next_broker() -> None:
    core = restored(took("a", time_limit=10.0))
    executor = m.Hello(m.EXECUTOR, "e", worker="w", queues=["default"])
    core.receive("e", executor, 101.0)
    (keep, *_) = core.receive("e", m.Started("a", record(core, "a").token), 105.0)
    assert isinstance(keep, Keep)
    assert [e.started_at for e in keep.entries if isinstance(e, Stood)] == [105.0]
