"""What a broker makes of the entries of earlier ones."""

from nbqueue import messages as m
from nbqueue.core.broker import BrokerCore, BrokerSettings
from nbqueue.core.entries import AnyEntry, Began, Defined, Ended, Lease, Leased, Printed, Took, decode, encode
from nbqueue.core.records import DONE, LEASED, READY, Record, Sender
from nbqueue.testing import invariants

SENDER = Sender("c", notebook="n.ipynb")
DEFINED = Defined("d", b"definition")


def took(*ids: str, order: int = 1, at: float = 0.0, **fields: object) -> Took:
    return Took(order, at, SENDER, [m.Task(id, "f", "d", b"", **fields) for id in ids])  # type: ignore[arg-type]


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
