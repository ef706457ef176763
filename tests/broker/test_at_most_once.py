"""Tasks that must not be started twice, and periodic tasks, in a real broker that is killed."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nbqueue import messages as m
from nbqueue.broker import daemon
from nbqueue.transports.base import Link
from tests.broker.restarted import Peer, Restarted, state, submit
from tests.broker.running import broker_in_thread, linked, receive_one, until

ALWAYS = m.Timetable(
    minute=tuple(range(60)),
    hour=tuple(range(24)),
    day_of_week=tuple(range(7)),
    day_of_month=tuple(range(1, 32)),
    month_of_year=tuple(range(1, 13)),
)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Restarted]:
    broker = Restarted(tmp_path / "data", lease=2.0)
    yield broker
    broker.close()


def another(broker: Restarted) -> tuple[Peer, Peer]:
    """A second executor, and its worker."""
    executor = broker.peer(m.Hello(m.EXECUTOR, "other", worker="other", queues=["default"]))
    return executor, broker.peer(m.Hello(m.WORKER, "other"))


def test_a_lease_that_nobody_claims_is_given_to_nobody_else(broker: Restarted) -> None:
    submit(broker.client(), "a", acks_late=False)
    broker.executor().hear(m.Assign)
    broker.restart()
    client = broker.client()
    executor, worker = another(broker)
    until(lambda: worker.send(m.Heartbeat(["other"])) or state(client, "a") == "FAILURE")
    (outcome,) = client.hear(m.Settle).outcomes
    assert outcome.failure is not None
    assert outcome.failure.type == "WorkerLostError"
    assert "is not started again (acks_late=False)" in outcome.failure.message
    assert not executor.all(m.Assign)


def test_a_run_that_went_on_meanwhile_ends_as_it_ends(broker: Restarted) -> None:
    submit(broker.client(), "a", acks_late=False)
    token = broker.executor().hear(m.Assign).assignments[0].token
    broker.restart()
    client, executor = broker.client(), broker.executor(held=[("a", token)])
    executor.send(m.Settle([m.Outcome("a", token, "SUCCESS")]))
    assert executor.hear(m.Acknowledge).tokens == [token]
    assert state(client, "a") == "SUCCESS"


def schedule(client: Peer, every: float, **fields: Any) -> None:
    task = m.Task("", "f", "d", b"", acks_late=False)
    entry = m.Periodic("tidy", m.Timetable(every=every), task, **fields)
    client.send(m.Define("d", b"definition"), m.Schedule(1, "app", [entry]))
    assert client.hear((m.Noted, m.Answer)) == m.Noted(1)


def test_periodic_tasks_fire_once_each_however_often_the_broker_is_killed(broker: Restarted) -> None:
    schedule(broker.client(), 0.2, missed="all")
    firings: list[str] = []
    for _ in range(4):
        executor = broker.executor()
        for _ in range(3):
            (assignment,) = executor.hear(m.Assign).assignments
            firings.append(assignment.task.id)
            executor.send(m.Settle([m.Outcome(assignment.task.id, assignment.token, "SUCCESS")]))
            executor.hear(m.Acknowledge)
        broker.restart()
    assert len(firings) == len(set(firings)) == 12
    assert firings == sorted(firings)
    broker.client().send(m.Unschedule(1, "app", ["tidy"]))


def test_when_the_clock_jumps_a_calendar_follows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a laptop has slept: the monotonic clock does not know."""
    ahead = [0.0]
    clock = SimpleNamespace(time=lambda: time.time() + ahead[0], monotonic=time.monotonic)
    monkeypatch.setattr(daemon, "time", clock)
    with contextlib.ExitStack() as stack:
        broker = stack.enter_context(broker_in_thread(tmp_path))
        link = stack.enter_context(linked(broker.connection))
        entry = m.Periodic("tidy", ALWAYS, m.Task("", "f", "", b""))
        link.send([m.Schedule(1, "app", [entry])])
        receive_one(link, m.Noted)
        (before,) = periodic(link)
        ahead[0] = 3600.0
        until(lambda: periodic(link)[0]["last_id"])
        (after,) = periodic(link)
        assert 3540 <= after["next"] - before["next"] <= 3660


def periodic(link: Link) -> list[dict[str, Any]]:
    link.send([m.Ask(2, "periodic")])
    rows: list[dict[str, Any]] = receive_one(link, m.Answer).data
    return rows
