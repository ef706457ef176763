"""The broker's promises, in a simulated cluster where everything that can break does."""

import pytest

from nbqueue import messages as m
from nbqueue.client.records import TaskRecord
from nbqueue.core.broker import BrokerSettings
from nbqueue.states import FAILURE, PENDING, REVOKED, STARTED, SUCCESS
from nbqueue.testing.simulation import SimulatedClient, World


def settled(*records: TaskRecord) -> bool:
    return all(record.settled for record in records)


def measure(world: World, client: SimulatedClient) -> None:
    """Run the usual function a few times, so that it is known to be short and travels in batches."""
    quick = [client.submit(duration=0.001) for _ in range(10)]
    assert world.run_until(lambda: settled(*quick), limit=5)


def test_a_submitted_task_runs_and_its_client_hears_of_it() -> None:
    world = World()
    world.add_worker()
    record = world.add_client().submit(duration=1.0)
    assert world.run_until(lambda: record.state == STARTED, limit=2)
    assert record.worker == "worker-0"
    assert world.run_until(lambda: record.settled, limit=2)
    assert record.state == SUCCESS


def test_a_task_waits_for_a_worker_that_comes_later() -> None:
    world = World()
    record = world.add_client().submit()
    world.run_for(100)
    assert record.state == PENDING
    assert record.accepted
    world.add_worker()
    assert world.run_until(lambda: record.settled, limit=1)


def test_higher_priority_runs_first() -> None:
    world = World()
    client = world.add_client()
    low = client.submit(duration=1.0, priority=0)
    high = client.submit(duration=1.0, priority=9)
    world.run_for(1)
    world.add_worker()
    assert world.run_until(lambda: settled(low, high), limit=5)
    assert [run[0] for run in world.runs] == [high.id, low.id]


def test_long_tasks_spread_over_all_executors() -> None:
    world = World()
    world.add_worker(executors=4)
    client = world.add_client()
    world.run_for(1)
    records = [client.submit(duration=10.0) for _ in range(4)]
    assert world.run_until(lambda: settled(*records), limit=10.5)


def test_a_task_that_waits_behind_a_long_one_moves_to_an_idle_executor() -> None:
    """Short tasks travel in batches; one of them turns out to be long."""
    world = World()
    world.add_worker(executors=2)
    client = world.add_client()
    warm = [client.submit(duration=0.0001) for _ in range(20)]
    assert world.run_until(lambda: settled(*warm), limit=5)
    long = client.submit(duration=100.0)
    short = [client.submit(duration=0.0001) for _ in range(50)]
    assert world.run_until(lambda: settled(*short), limit=2)
    assert not long.settled


def test_a_task_of_ten_hours_is_run_once() -> None:
    world = World()
    world.add_worker()
    record = world.add_client().submit(duration=36_000.0)
    assert world.run_until(lambda: record.settled, limit=36_001)
    assert len(world.runs) == 1


def test_tasks_of_a_vanished_worker_go_to_another() -> None:
    world = World()
    first = world.add_worker()
    record = world.add_client().submit(duration=5.0)
    world.run_for(1)
    world.add_worker()
    first.vanish()
    assert world.run_until(lambda: record.settled, limit=25)
    assert record.state == SUCCESS
    assert record.worker == "worker-1"


def test_a_task_that_kills_its_process_ends_in_failure_and_its_neighbours_do_not() -> None:
    world = World()
    world.add_worker()
    client = world.add_client()
    warm = [client.submit(duration=0.0001) for _ in range(10)]
    assert world.run_until(lambda: settled(*warm), limit=5)
    records = [client.submit(duration=0.0001) for _ in range(20)]
    world.deadly.add(records[7].id)
    assert world.run_until(lambda: settled(*records), limit=30)
    states = [record.state for record in records]
    assert states == [SUCCESS] * 7 + [FAILURE] + [SUCCESS] * 12
    failure = records[7].failure
    assert failure is not None
    assert failure.type == "WorkerLostError"
    assert "signal 11" in failure.message


def test_cancelling_a_waiting_task_means_that_it_never_runs() -> None:
    world = World()
    client = world.add_client()
    record = client.submit()
    world.run_for(1)
    client.cancel(record)
    world.run_for(1)
    world.add_worker()
    world.run_for(10)
    assert record.state == REVOKED
    assert world.runs == []


def test_cancelling_a_running_task_frees_its_executor() -> None:
    world = World()
    world.add_worker()
    client = world.add_client()
    record = client.submit(duration=1000.0)
    world.run_for(1)
    client.cancel(record)
    after = client.submit()
    assert world.run_until(lambda: settled(record, after), limit=1)
    assert record.state == REVOKED


def test_a_task_that_ignores_its_interrupt_is_killed_with_its_process() -> None:
    world = World()
    worker = world.add_worker()
    worker.executors[0].stubborn = True
    client = world.add_client()
    record = client.submit(duration=1000.0)
    world.run_for(1)
    client.cancel(record)
    after = client.submit()
    assert world.run_until(lambda: settled(record, after), limit=5)
    assert (record.state, after.state) == (REVOKED, SUCCESS)


def test_a_task_past_its_time_limit_fails_and_its_process_is_replaced() -> None:
    world = World()
    world.add_worker()
    client = world.add_client()
    record = client.submit(duration=1000.0, time_limit=5.0)
    after = client.submit()
    assert world.run_until(lambda: settled(record, after), limit=7)
    assert record.failure is not None
    assert record.failure.type == "TimeLimitExceeded"
    assert after.state == SUCCESS


def test_a_countdown_delays_the_first_run() -> None:
    world = World()
    world.add_worker()
    record = world.add_client().submit(countdown=30.0)
    assert not world.run_until(lambda: record.settled, limit=29.9)
    assert world.run_until(lambda: record.settled, limit=0.5)


def test_a_task_that_is_not_started_in_time_expires() -> None:
    world = World()
    record = world.add_client().submit(expires=10.0)
    assert world.run_until(lambda: record.settled, limit=11)
    assert record.state == REVOKED
    assert record.failure is not None
    assert "expired" in record.failure.message


@pytest.mark.parametrize(
    ("hello", "fields", "reason"),
    [
        ({"queues": ["default"]}, {"queue": "gpu"}, "no worker consumes queue 'gpu'"),
        ({"python": "3.12"}, {"python": "3.11"}, "no worker with Python 3.11"),
        ({"env": "/other"}, {"env": "/mine"}, "no worker of the environment /mine"),
        ({}, {"definition": "", "name": "tasks.add"}, "no worker has a task 'tasks.add'"),
        (None, {}, "no worker is connected"),
    ],
)
def test_why_names_what_is_missing(
    hello: dict[str, object] | None, fields: dict[str, object], reason: str
) -> None:
    world = World()
    if hello is not None:
        world.add_worker(**hello)
    client = world.add_client()
    record = client.submit(**fields)
    world.run_for(1)
    answers: list[m.Answer] = []
    client.session.ask("why", {"id": record.id}, answers.append)
    world.run_for(3)
    assert answers[0].data["text"].startswith(reason)
    assert answers[0].data["stuck"]
    assert record.state == PENDING


def test_a_broker_of_the_local_cluster_ends_when_nobody_needs_it() -> None:
    world = World(settings=BrokerSettings(idle_timeout=60.0))
    client = world.add_client()
    world.add_worker(local=True)
    client.submit(duration=100.0)
    world.run_for(1)
    client.session.say(m.Goodbye())
    client.wire.send(client.session.take())
    client.wire.cut()
    world.run_for(155)
    assert not world.core.stopped
    world.run_for(10)
    assert world.core.stopped


def test_a_client_that_comes_back_hears_of_what_it_missed() -> None:
    world = World()
    world.add_worker()
    client = world.add_client()
    record = client.submit(duration=1.0)
    world.run_for(0.5)
    client.wire.break_()
    assert world.run_until(lambda: record.settled, limit=5)
    assert record.state == SUCCESS


def test_the_brokers_own_pause_costs_nobody_his_lease() -> None:
    world = World()
    world.add_worker()
    record = world.add_client().submit(duration=3.0)
    world.run_for(1)
    world.now += 3600
    world.core.paused(3600)
    assert world.run_until(lambda: record.settled, limit=10)
    assert [run[0] for run in world.runs] == [record.id]


def test_an_upload_that_takes_longer_than_a_lease_is_accepted() -> None:
    world = World()
    world.add_worker()
    client = world.add_client()
    world.run_for(1)
    client.wire.slowness = 30.0
    record = client.submit()
    assert world.run_until(lambda: record.settled, limit=61)


def test_an_assignment_that_travels_for_long_is_not_issued_again() -> None:
    world = World()
    worker = world.add_worker()
    client = world.add_client()
    world.run_for(1)
    worker.executors[0].main.slowness = 20.0
    record = client.submit(duration=1.0)
    assert world.run_until(lambda: record.settled, limit=60)
    assert len(world.runs) == 1


def test_a_death_that_was_not_heard_of_is_found_out() -> None:
    """The worker's link is broken in the moment in which it tells of its executor's death."""
    world = World()
    worker = world.add_worker()
    record = world.add_client().submit(duration=5.0)
    world.run_for(1)
    worker.executors[0].die(-9)
    worker.wire.break_()
    assert world.run_until(lambda: record.settled, limit=30)
    assert record.state == SUCCESS


def test_a_time_limit_does_not_strike_a_task_that_waits_behind_another() -> None:
    world = World()
    world.add_worker()
    client = world.add_client()
    measure(world, client)
    slow = client.submit(duration=60.0)
    limited = client.submit(duration=1.0, time_limit=5.0, name="other", definition="other")
    assert world.run_until(lambda: settled(slow, limited), limit=90)
    assert limited.state == SUCCESS


def test_a_time_limit_strikes_a_run_that_cannot_report_its_start() -> None:
    world = World()
    worker = world.add_worker()
    worker.executors[0].silent = True
    record = world.add_client().submit(duration=1000.0, time_limit=5.0)
    assert world.run_until(lambda: record.settled, limit=10)
    assert record.failure is not None
    assert record.failure.type == "TimeLimitExceeded"


def test_a_stubborn_task_is_killed_though_it_was_forgotten() -> None:
    world = World()
    worker = world.add_worker()
    worker.executors[0].stubborn = True
    client = world.add_client()
    record = client.submit(duration=1000.0)
    world.run_for(1)
    client.cancel(record)
    client.session.say(m.Forget([record.id]))
    after = client.submit()
    assert world.run_until(lambda: settled(after), limit=10)


def test_a_kill_that_was_lost_is_said_again() -> None:
    world = World()
    worker = world.add_worker()
    worker.executors[0].stubborn = True
    client = world.add_client()
    record = client.submit(duration=1000.0, time_limit=5.0)
    world.run_for(5.9)
    after = client.submit()
    worker.wire.break_()
    assert world.run_until(lambda: settled(record, after), limit=20)


def test_a_task_that_was_cancelled_while_the_control_link_was_away_does_not_run() -> None:
    world = World()
    worker = world.add_worker()
    client = world.add_client()
    measure(world, client)
    slow, waiting = client.submit(duration=10.0), client.submit(duration=0.001)
    world.run_for(1)
    worker.executors[0].control.break_()
    client.cancel(waiting)
    assert world.run_until(lambda: settled(slow, waiting), limit=30)
    world.run_for(5)
    assert waiting.id not in [run[0] for run in world.runs]


def test_what_a_lost_worker_held_comes_back_in_order() -> None:
    world = World()
    worker = world.add_worker()
    client = world.add_client()
    measure(world, client)
    slow = client.submit(duration=5.0)
    held = [client.submit(duration=0.001) for _ in range(5)]
    world.run_for(1)
    worker.vanish()
    world.add_worker()
    assert world.run_until(lambda: settled(slow, *held), limit=60)
    last = [run[0] for run in world.runs][-6:]
    assert last == [slow.id, *(record.id for record in held)]


def test_a_task_that_runs_again_shows_nothing_of_its_last_run() -> None:
    world = World()
    worker = world.add_worker()
    client = world.add_client()
    record = client.submit(duration=100.0)
    world.run_for(1)
    executor = worker.executors[0]
    executor.main.send([m.Update(record.id, executor.tokens[0], "LOADING", b"")])
    executor.main.send([m.Progress(record.id, executor.tokens[0], 5, 10)])
    world.run_for(1)
    assert record.state == "LOADING"
    executor.die(-9)
    world.run_for(5)
    kept = world.core.tasks.records.get(record.id)
    assert kept is not None
    assert (kept.state, kept.update, kept.progress) == (STARTED, None, None)


def test_a_task_that_lost_its_worker_before_its_start_still_expires() -> None:
    world = World()
    worker = world.add_worker()
    world.run_for(1)
    record = world.add_client().submit(duration=0.04, expires=5.0)
    while record.id not in {r.task.id for r in world.core.tasks.records}:
        world.step()
    worker.vanish()
    world.run_for(60)
    world.add_worker()
    assert world.run_until(lambda: record.settled, limit=20)
    assert record.state == REVOKED


def test_nothing_grows_with_what_is_over() -> None:
    world = World()
    world.add_worker()
    client = world.add_client()
    for round in range(300):
        records = [client.submit(expires=86_400.0, queue=f"queue {round}") for _ in range(10)]
        for record in records:
            client.cancel(record)
        world.run_for(0.1)
    world.run_for(5)
    lanes = world.core.dispatch.lanes.by_key
    assert len(lanes) <= 1
    assert len(world.core._timers) <= 1000
    assert world.core.tasks.records.unfinished == 0


def test_a_lease_of_the_moment_in_which_the_broker_died_is_kept() -> None:
    world = World()
    client = world.add_client()
    record = client.submit(duration=30.0)
    world.run_for(1)
    world.writes_to_live = 0
    world.add_worker()
    assert world.run_until(lambda: world.down, limit=1)
    world.run_for(5)
    world.restart_broker()
    assert world.run_until(lambda: record.settled, limit=60)
    assert len(world.runs) == 1


def test_a_run_that_was_cancelled_is_interrupted_although_the_broker_died() -> None:
    world = World()
    worker = world.add_worker()
    client = world.add_client()
    record = client.submit(duration=1000.0)
    assert world.run_until(lambda: record.state == STARTED, limit=1)
    worker.executors[0].control.slowness = 1.0
    client.cancel(record)
    assert world.run_until(lambda: record.state == REVOKED, limit=0.5)
    world.kill_broker()
    worker.executors[0].control.slowness = 0.0
    world.restart_broker()
    after = client.submit()
    assert world.run_until(lambda: settled(after), limit=10)


def test_leases_of_a_worker_that_does_not_come_back_go_to_another() -> None:
    world = World()
    first = world.add_worker()
    client = world.add_client()
    record = client.submit(duration=5.0)
    world.run_for(1)
    world.kill_broker()
    first.vanish()
    world.add_worker()
    world.restart_broker()
    assert world.run_until(lambda: record.settled, limit=20)
    assert record.worker == "worker-1"
    assert record.retries == 0


def test_a_broker_that_cannot_write_refuses_new_tasks_and_keeps_the_others() -> None:
    world = World()
    client = world.add_client()
    kept = client.submit()
    world.run_for(1)
    world.core.may_write(0, "no room is left", at_all=True, now=world.now)
    refused = client.submit()
    world.run_for(1)
    assert "no room" in str(refused.refusal)
    world.core.may_write(1e9, "", at_all=True, now=world.now)
    world.add_worker()
    assert world.run_until(lambda: settled(kept), limit=5)


# ── tasks that are started at most once ──────────────────────────────────────────────────────────


def once(client: SimulatedClient, duration: float = 10.0, **fields: object) -> TaskRecord:
    return client.submit(duration=duration, acks_late=False, **fields)


def is_lost(record: TaskRecord, why: str) -> bool:
    failure = record.failure
    return (
        record.state == FAILURE
        and failure is not None
        and failure.type == "WorkerLostError"
        and why in failure.message
        and "is not started again (acks_late=False)" in failure.message
    )


def test_a_task_that_must_not_run_twice_fails_when_its_process_dies() -> None:
    world = World()
    (executor,) = world.add_worker().executors
    record = once(world.add_client())
    world.run_for(1)
    executor.die(-11)
    assert world.run_until(lambda: record.settled, limit=1)
    assert is_lost(record, "signal 11 (SIGSEGV")
    world.run_for(60)
    assert world.starts == [record.id]


def test_it_fails_when_its_machine_is_lost() -> None:
    world = World()
    worker = world.add_worker()
    record = once(world.add_client())
    world.run_for(1)
    worker.vanish()
    world.add_worker()
    assert world.run_until(lambda: record.settled, limit=20)
    assert is_lost(record, "worker-0 was not heard of for 10 s")
    assert world.starts == [record.id]


def test_it_runs_on_while_the_broker_is_away() -> None:
    world = World()
    world.add_worker()
    record = once(world.add_client())
    world.run_for(1)
    world.kill_broker()
    world.run_for(2)
    world.restart_broker()
    assert world.run_until(lambda: record.settled, limit=20)
    assert (record.state, world.starts) == (SUCCESS, [record.id])


def test_it_fails_when_broker_and_machine_are_lost_together() -> None:
    world = World()
    worker = world.add_worker()
    record = once(world.add_client())
    world.run_for(1)
    world.kill_broker()
    worker.vanish()
    world.add_worker()
    world.restart_broker()
    assert world.run_until(lambda: record.settled, limit=30)
    assert is_lost(record, "was not heard of")
    assert world.starts == [record.id]


def test_it_is_not_handed_out_before_that_is_written_down() -> None:
    """The broker dies in the moment in which it hands out the task: nobody has got it."""
    world = World()
    world.add_worker()
    client = world.add_client()
    world.run_for(1)
    world.writes_to_live = 0
    record = once(client, duration=1.0)
    assert world.run_until(lambda: world.down, limit=1)
    world.run_for(5)
    assert world.starts == []
    world.restart_broker()
    assert world.run_until(lambda: record.settled, limit=20)
    assert (record.state, world.starts) == (SUCCESS, [record.id])


def test_one_that_waits_behind_others_is_not_lost_with_them() -> None:
    world = World()
    worker = world.add_worker()
    client = world.add_client()
    measure(world, client)
    quick = client.submit(duration=5.0)  # thought to take a millisecond, as those before
    record = once(client, duration=1.0)
    world.run_for(0.5)
    assert len(worker.executors[0].core.held()) == 2
    worker.executors[0].die(-9)
    assert world.run_until(lambda: settled(quick, record), limit=20)
    assert (quick.state, record.state) == (SUCCESS, SUCCESS)
    assert world.starts.count(record.id) == 1


def test_it_runs_again_if_it_asks_to() -> None:
    world = World()
    world.add_worker()
    record = once(world.add_client(), duration=0.1)
    world.unlucky[record.id] = 2
    assert world.run_until(lambda: record.settled, limit=10)
    assert (record.state, world.starts) == (SUCCESS, [record.id] * 3)


# ── periodic tasks ───────────────────────────────────────────────────────────────────────────────


def test_a_periodic_task_fires_through_restarts_of_the_broker() -> None:
    world = World()
    world.add_worker()
    clients = [world.add_client(), world.add_client()]
    answers = [client.schedule("tidy", 10.0, acks_late=False) for client in clients]
    assert world.run_until(lambda: answers == [[""], [""]], limit=1)
    for _ in range(3):
        world.run_for(12)
        world.kill_broker()
        world.run_for(1)
        world.restart_broker()
    world.run_for(12)
    assert len(world.starts) == len(set(world.starts)) == 5
    assert clients[0].unschedule("tidy") == []
    world.run_for(60)
    assert len(world.starts) == 5
