"""Items on their way through the broker."""

from nbqueue import messages as m
from tests.core.test_limits import CLIENT, CONTROL, EXECUTOR, Broker


def running() -> tuple[Broker, int]:
    broker = Broker(worker_heartbeat=1.0, worker_lease=10.0)
    broker.add_executor()
    broker.submit("a")
    (assign,) = broker.heard(EXECUTOR, m.Assign)
    broker.heard(CLIENT, m.Known)
    return broker, assign.assignments[0].token


def test_a_wish_reaches_the_executor_and_items_reach_who_wished() -> None:
    broker, token = running()
    broker.say(CLIENT, m.Stream("a", 0, 5))
    assert broker.heard(CONTROL, m.Pull) == [m.Pull("a", token, 0, 5)]
    broker.say(EXECUTOR, m.Item("a", token, 0, b"x"))
    assert broker.heard(CLIENT, m.Item) == [m.Item("a", token, 0, b"x")]


def test_items_that_nobody_reads_or_of_an_old_run_go_nowhere() -> None:
    broker, token = running()
    broker.say(EXECUTOR, m.Item("a", token, 0, b"x"))
    broker.say(CLIENT, m.Stream("a", 0, 5))
    broker.say(EXECUTOR, m.Item("a", token - 1, 0, b"x"), m.Item("b", token, 0, b"x"))
    assert broker.heard(CLIENT, m.Item) == []


def test_a_wish_that_was_there_before_the_run_is_told_when_it_starts() -> None:
    broker = Broker()
    broker.submit("a")
    broker.say(CLIENT, m.Stream("a", 3, 8))
    broker.add_executor()
    (assign,) = broker.heard(EXECUTOR, m.Assign)
    token = assign.assignments[0].token
    broker.heard(CONTROL, m.Pull)
    broker.say(EXECUTOR, m.Started("a", token))
    assert broker.heard(CONTROL, m.Pull) == [m.Pull("a", token, 3, 8)]


def test_the_slowest_of_several_readers_sets_the_pace_and_each_gets_what_he_lacks() -> None:
    broker, token = running()
    broker.hello("other", m.Hello(m.CLIENT, "other"))
    broker.say(CLIENT, m.Stream("a", 4, 9))
    broker.say("other", m.Stream("a", 0, 5))
    assert broker.heard(CONTROL, m.Pull)[-1] == m.Pull("a", token, 0, 5)
    broker.say(EXECUTOR, *[m.Item("a", token, n, b"x") for n in (3, 4)])
    assert [i.position for i in broker.heard(CLIENT, m.Item)] == [4]
    assert [i.position for i in broker.heard("other", m.Item)] == [3, 4]


def test_when_the_last_reader_stops_the_executor_is_told() -> None:
    broker, _ = running()
    broker.say(CLIENT, m.Stream("a", 0, 5))
    broker.say(CLIENT, m.Stream("a", 0, -1))
    assert broker.heard(CONTROL, m.Pull)[-1].upto == -1
    assert broker.core.tasks.streams.wishes == {}


def test_a_reader_that_is_not_heard_of_for_a_lease_is_forgotten() -> None:
    broker, _ = running()
    broker.say(CLIENT, m.Stream("a", 0, 5))
    broker.tick(5.0)
    assert broker.core.tasks.streams.wishes
    broker.tick(10.0)
    assert broker.core.tasks.streams.wishes == {}


def test_a_client_that_does_not_read_gets_no_items_until_it_asks_again() -> None:
    broker, token = running()
    broker.say(CLIENT, m.Stream("a", 0, 5))
    broker.stop_reading(CLIENT)
    broker.say(EXECUTOR, m.Item("a", token, 0, b"x"))
    broker.stop_reading()
    assert broker.heard(CLIENT, m.Item) == []
    broker.say(CLIENT, m.Stream("a", 0, 5, again=True))
    assert broker.heard(CONTROL, m.Pull)[-1].again


def test_nothing_is_kept_of_the_readers_of_a_task_that_is_done_or_unknown() -> None:
    broker, token = running()
    broker.say(CLIENT, m.Stream("a", 0, 5), m.Stream("unknown", 0, 5))
    broker.say(EXECUTOR, m.Settle([m.Outcome("a", token, "SUCCESS")]))
    broker.say(CLIENT, m.Stream("a", 0, 5))
    assert broker.core.tasks.streams.wishes == {}
