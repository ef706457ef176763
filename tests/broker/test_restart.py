"""A broker is killed and started again: what it had promised holds."""

import contextlib
import itertools
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nbqueue import messages as m
from nbqueue.broker.daemon import Broker
from nbqueue.broker.options import BrokerOptions
from nbqueue.core.broker import BrokerSettings
from tests.broker.restarted import Restarted, state, submit, why
from tests.broker.running import until


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Restarted]:
    broker = Restarted(tmp_path / "data", lease=60.0)
    yield broker
    broker.close()


def test_what_was_accepted_is_run_by_whoever_comes_next(broker: Restarted) -> None:
    submit(broker.client(), "a", "b", priority=3)
    broker.restart()
    executor = broker.executor()
    assignment = executor.hear(m.Assign).assignments[0]
    assert (assignment.task.id, assignment.task.priority) == ("a", 3)
    assert assignment.token >> 32 == 2
    executor.send(m.Need("d"))
    assert executor.hear(m.Define).blob == b"definition"
    executor.send(m.Settle([m.Outcome("a", assignment.token, "SUCCESS", b"1")]))
    executor.hear(m.Acknowledge)
    broker.restart()
    client = broker.client()
    assert state(client, "a") == "SUCCESS"
    assert client.hear(m.Settle).outcomes[0].value == b"1"
    assert state(client, "b") == "PENDING"


def test_a_run_that_goes_on_meanwhile_delivers_afterwards(broker: Restarted) -> None:
    client, executor = broker.client(), broker.executor()
    submit(client, "a")
    token = executor.hear(m.Assign).assignments[0].token
    broker.restart()
    client, executor = broker.client(), broker.executor(held=[("a", token)])
    assert "handed to w" in why(client, "a")
    executor.send(m.Settle([m.Outcome("a", token, "SUCCESS", b"1")]))
    assert executor.hear(m.Acknowledge).tokens == [token]
    assert state(client, "a") == "SUCCESS"


def test_a_lease_that_nobody_claims_goes_to_another_and_its_late_outcome_is_refused(tmp_path: Path) -> None:
    with contextlib.closing(Restarted(tmp_path / "data", lease=2.0)) as broker:
        claimed_by_nobody(broker)


def claimed_by_nobody(broker: Restarted) -> None:
    client, executor = broker.client(), broker.executor()
    submit(client, "a")
    old = executor.hear(m.Assign).assignments[0].token
    broker.restart()
    client = broker.client()
    other = broker.peer(m.Hello(m.EXECUTOR, "other", worker="other", queues=["default"]))
    worker = broker.peer(m.Hello(m.WORKER, "other"))
    until(lambda: worker.send(m.Heartbeat(["other"])) or other.all(m.Assign))
    new = other.hear(m.Assign).assignments[0]
    assert (new.task.id, new.attempt) == ("a", 2)
    late = broker.executor(held=[("a", old)])
    late.send(m.Settle([m.Outcome("a", old, "SUCCESS", b"late")]))
    assert late.hear(m.Acknowledge).tokens == [old]
    other.send(m.Settle([m.Outcome("a", new.token, "SUCCESS", b"in time")]))
    other.hear(m.Acknowledge)
    assert state(client, "a") == "SUCCESS"
    assert client.hear(m.Settle).outcomes[0].value == b"in time"


def test_an_executor_that_never_got_its_task_gets_it_again(broker: Restarted) -> None:
    client, executor = broker.client(), broker.executor()
    submit(client, "a")
    executor.hear(m.Assign)
    broker.restart()
    assert broker.executor(held=[]).hear(m.Assign).assignments[0].attempt == 2


def test_revocations_and_dates_and_retries_hold(broker: Restarted) -> None:
    client, executor = broker.client(), broker.executor()
    submit(client, "later", countdown=100.0)
    submit(client, "revoked", queue="nobody's")
    submit(client, "tried")
    client.send(m.Cancel(["revoked"]), m.Ask(1, "why", {"id": "revoked"}))
    client.hear(m.Answer)
    token = executor.hear(m.Assign).assignments[0].token
    executor.send(m.Retry("tried", token, 50.0))
    executor.hear(m.Acknowledge)
    broker.restart()
    client = broker.client()
    assert state(client, "revoked") == "REVOKED"
    assert state(client, "tried") == "RETRY"
    again = client.hear(m.Retrying)
    assert again.retries == 1
    executor = broker.peer(m.Hello(m.EXECUTOR, "f", worker="w", queues=["default", "nobody's"]))
    assert "it waits for its time, in 9" in why(client, "later")
    assert executor.link.receive(0.2) == []


def test_what_was_printed_is_still_there(broker: Restarted) -> None:
    client, executor = broker.client(), broker.executor()
    submit(client, "a")
    token = executor.hear(m.Assign).assignments[0].token
    executor.send(m.Output("a", token, 0, "stdout", "hello\n"))
    client.hear(m.Output)
    broker.restart()
    client = broker.client()
    state(client, "a")
    assert client.hear(m.Output).text == "hello\n"


def test_the_journal_is_made_small_while_work_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nbqueue.broker.keeper._WASTE", 100_000)
    options = BrokerOptions(data_dir=str(tmp_path), settings=BrokerSettings())
    with contextlib.closing(Broker(options)) as broker:
        peer = (0, b"client")
        now = time.monotonic()
        sizes = []
        for n in range(300):
            broker._receive(peer, m.Hello(m.CLIENT, "c"), now)  # again: nobody is there to be sent anything
            broker._receive(peer, m.Define("d", b"definition"), now)
            tasks = [m.Task(f"{n}/{i}", "f", "d", bytes(1000)) for i in range(20)]
            broker._receive(peer, m.Submit(tasks), now)
            if n % 3:
                broker._receive(peer, m.Cancel([task.id for task in tasks]), now)
                broker._receive(peer, m.Forget([task.id for task in tasks]), now)
            broker._deliver(now)
            broker._keeper.work()
            if n == 250:
                until(lambda: broker._keeper.work() or broker._keeper._snapshot is None)
            sizes.append(broker._keeper._journal.bytes)
    assert any(after < before for before, after in itertools.pairwise(sizes))
    with contextlib.closing(Broker(options)) as broker:
        assert broker._core.tasks.records.unfinished == 2000
        assert len(broker._core.tasks.records) == 2000
