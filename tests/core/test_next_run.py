"""A task decides about its next run: another call, another queue, or after the others."""

from nbqueue import messages as m
from nbqueue.core import entries
from nbqueue.core.actions import Keep
from nbqueue.core.broker import BrokerCore, BrokerSettings
from nbqueue.states import FAILURE, PENDING, RETRY
from nbqueue.testing import invariants
from tests.core.test_limits import EXECUTOR, WORKER, Broker


def running(*ids: str, **settings: object) -> tuple[Broker, m.Assignment]:
    broker = Broker(**settings)
    broker.add_executor()
    broker.submit(*ids)
    return broker, assigned(broker)[0]


def assigned(broker: Broker) -> list[m.Assignment]:
    return [a for message in broker.heard(EXECUTOR, m.Assign) for a in message.assignments]


def test_the_next_run_has_what_was_changed_and_else_what_was() -> None:
    broker, lease = running("a")
    changes = m.Changes(payload=b"other", priority=7)
    broker.say(EXECUTOR, m.Retry("a", lease.token, 1.0, changes=changes))
    assert broker.core.tasks.records.get("a").state == RETRY
    broker.tick(1.0)
    (again,) = assigned(broker)
    assert (again.task.payload, again.task.priority, again.task.queue) == (b"other", 7, "default")
    assert again.retries == 1


def test_a_task_that_goes_to_another_queue_is_counted_there_and_waits_for_its_workers() -> None:
    broker, lease = running("a")
    broker.say(EXECUTOR, m.Retry("a", lease.token, 0.0, changes=m.Changes(queue="night")))
    broker.tick()
    assert broker.core.tasks.records.queued == {"night": 1}
    assert assigned(broker) == []
    broker.say(EXECUTOR, m.Consume(["default", "night"]))
    assert [a.task.id for a in assigned(broker)] == ["a"]


def test_a_next_run_that_cannot_be_ends_the_task_and_says_why() -> None:
    broker, lease = running("a", max_payload_bytes=100)
    broker.say(EXECUTOR, m.Retry("a", lease.token, 0.0, changes=m.Changes(payload=bytes(101))))
    record = broker.core.tasks.records.get("a")
    assert record.state == FAILURE
    assert "101 bytes" in record.outcome.failure.message
    assert broker.core.tasks.records.queued == {}


def test_what_was_changed_survives_the_broker_by_journal_and_by_snapshot() -> None:
    broker = BrokerCore(BrokerSettings(), boot=1)
    kept: list[list[entries.AnyEntry]] = [[broker.began]]

    def say(peer: str, message: m.AnyMessage) -> list[object]:
        actions = broker.receive(peer, message, 1.0)
        kept.extend(action.entries for action in actions if isinstance(action, Keep))
        return actions

    say("c", m.Hello(m.CLIENT, "c"))
    say("e", m.Hello(m.EXECUTOR, "e", worker="w", queues=["default"], registered=["f"]))
    say("c", m.Submit([m.Task("a", "f", "", b"first")]))
    token = broker.tasks.records.get("a").token
    say("e", m.Retry("a", token, 60.0, changes=m.Changes(payload=b"second", queue="night")))
    for written in (kept, list(broker.standing())):
        again = BrokerCore(BrokerSettings(), boot=2)
        recovery = again.recovery()
        for turn in written:
            recovery.read(entries.decode(entries.encode(turn)))
        recovery.finish(2.0)
        invariants.check(again)
        record = again.tasks.records.get("a")
        assert (record.task.payload, record.task.queue, record.state) == (b"second", "night", RETRY)


def test_a_task_that_rejects_itself_goes_to_the_end_of_the_line_and_keeps_its_retries() -> None:
    broker, lease = running("a", "b", "c")
    broker.say(EXECUTOR, m.Returned([lease.token], rejected=True))
    for id in "bc":
        (following,) = assigned(broker)
        assert following.task.id == id
        broker.say(EXECUTOR, m.Settle([m.Outcome(id, following.token, "SUCCESS", runtime=1.0)]))
    (again,) = assigned(broker)
    assert (again.task.id, again.retries, again.attempt) == ("a", 0, 2)


def test_a_worker_that_consumes_other_queues_gets_what_waits_there_and_no_more_of_the_old() -> None:
    broker = Broker()
    broker.add_executor()
    broker.say(EXECUTOR, m.Consume(["gpu"]))
    broker.submit("a")
    broker.submit("b", queue="gpu")
    assert [a.task.id for a in assigned(broker)] == ["b"]
    assert broker.core.tasks.records.get("a").state == PENDING


def test_queues_that_changed_while_the_executor_was_away_count_from_its_return() -> None:
    broker = Broker()
    broker.add_executor()
    hello = m.Hello(m.EXECUTOR, EXECUTOR, worker=WORKER, queues=["gpu"], registered=["f"])
    broker.hello("another connection", hello)
    broker.submit("a", queue="gpu")
    assert [a.task.id for m_ in broker.heard("another connection", m.Assign) for a in m_.assignments] == ["a"]


def test_an_executor_with_slots_gets_as_many_tasks_at_once_however_long_they_are() -> None:
    broker = Broker()
    broker.hello(WORKER, m.Hello(m.WORKER, WORKER))
    hello = m.Hello(m.EXECUTOR, EXECUTOR, worker=WORKER, queues=["default"], registered=["f"], slots=3)
    broker.hello(EXECUTOR, hello)
    broker.submit(*"abcde")
    first = assigned(broker)
    assert [a.task.id for a in first] == ["a", "b", "c"]
    broker.say(EXECUTOR, m.Settle([m.Outcome("b", first[1].token, "SUCCESS", runtime=5.0)]))
    assert [a.task.id for a in assigned(broker)] == ["d"]


def test_all_that_ran_at_once_in_a_process_that_died_is_charged() -> None:
    broker = Broker(max_task_deaths=1)
    broker.hello(WORKER, m.Hello(m.WORKER, WORKER))
    hello = m.Hello(m.EXECUTOR, EXECUTOR, worker=WORKER, queues=["default"], registered=["f"], slots=2)
    broker.hello(EXECUTOR, hello)
    broker.submit(*"abc")
    one, other = assigned(broker)
    broker.say(WORKER, m.ExecutorLost(EXECUTOR, one.token, -9, others=[other.token]))
    states = [broker.core.tasks.records.get(id).state for id in "abc"]
    assert states == [FAILURE, FAILURE, PENDING]
