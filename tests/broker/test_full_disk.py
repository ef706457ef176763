"""The disk of a broker is full: new tasks are refused, and nothing is lost."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from nbqueue import messages as m
from tests.broker.restarted import Peer, Restarted, state, submit, why
from tests.broker.running import until

MB = 2**20


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=96m,mode=700", "nbqueue-test", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"a file system cannot be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def broker(disk: Path) -> Iterator[Restarted]:
    broker = Restarted(disk / "data", lease=60.0)
    yield broker
    broker.close()


def fill(disk: Path) -> None:
    """Take all but a little: a broker that starts writes some small files."""
    with (disk / "other people's").open("wb", buffering=0) as file:
        with contextlib.suppress(OSError):
            while True:
                file.write(os.urandom(MB // 4))
        file.truncate(file.tell() - MB // 8)


def free(disk: Path) -> None:
    (disk / "other people's").unlink()


def accepted_until_refused(client: Peer) -> tuple[list[str], str]:
    """Submit large tasks until the broker takes no more: what it took, and why it did not."""
    taken: list[str] = []
    while True:
        id = f"large {len(taken)}"
        client.send(m.Submit([m.Task(id, "f", "d", os.urandom(MB), queue="nobody's")]))
        answer = client.hear((m.Accepted, m.Rejected))
        if isinstance(answer, m.Rejected):
            return taken, answer.reason
        taken.append(id)


def test_new_tasks_are_refused_and_those_that_run_end_as_ever(broker: Restarted, disk: Path) -> None:
    client, executor = broker.client(), broker.executor()
    submit(client, "a")
    token = executor.hear(m.Assign).assignments[0].token
    fill(disk)
    taken, reason = accepted_until_refused(client)
    # which of the two depends on how much the last one that fitted has left
    assert f"in {disk / 'data' / 'journal'}: the disk is full" in reason or "disk has room for" in reason
    executor.send(m.Settle([m.Outcome("a", token, "SUCCESS", b"value")]))
    assert executor.hear(m.Acknowledge).tokens == [token]
    assert client.hear(m.Settle).outcomes[0].value == b"value"
    client.send(m.Ask(1, "status"))
    assert client.hear(m.Answer).data["queues"]["nobody's"]["ready"] == len(taken)
    broker.restart()
    client = broker.client()
    assert {state(client, id) for id in taken} == {"PENDING"}
    free(disk)

    def is_accepted_again() -> bool:
        client.send(m.Submit([m.Task("again", "f", "d", b"")]))
        return isinstance(client.hear((m.Accepted, m.Rejected)), m.Accepted)

    until(is_accepted_again)


def test_outcomes_for_which_there_is_no_room_wait_for_it(broker: Restarted, disk: Path) -> None:
    client, executor = broker.client(), broker.executor()
    ids = [str(n) for n in range(60)]
    submit(client, *ids)
    fill(disk)
    kept: list[str] = []
    assignments: list[m.Assignment] = []
    asked = 0
    while len(kept) == asked:  # the reserve is used up by and by
        assignments = assignments or executor.hear(m.Assign).assignments
        assignment = assignments.pop(0)
        executor.send(m.Settle([m.Outcome(assignment.task.id, assignment.token, "SUCCESS", os.urandom(MB))]))
        asked += 1
        with contextlib.suppress(AssertionError):
            executor.hear(m.Acknowledge, timeout=3.0)
            kept.append(assignment.task.id)
    assert len(kept) > 10
    assert {o.id for message in client.all(m.Settle) for o in message.outcomes} == set(kept)
    client.send(m.Ping())
    client.hear(m.Pong)
    free(disk)
    executor.hear(m.Acknowledge)
    client.hear(m.Settle)
    broker.restart()
    client = broker.client()
    assert {state(client, id) for id in kept} == {"SUCCESS"}


def test_a_task_that_does_not_fit_is_refused_and_keeps_nobody_waiting(broker: Restarted, disk: Path) -> None:
    client, executor = broker.client(), broker.executor()
    submit(client, "a")
    token = executor.hear(m.Assign).assignments[0].token
    client.send(m.Submit([m.Task("large", "f", "d", bytes(80 * MB))]))
    assert "room for" in client.hear(m.Rejected).reason
    client.send(m.Define("D", bytes(80 * MB)), m.Submit([m.Task("of large", "f", "D", b"")]))
    assert "room for" in client.hear(m.Rejected).reason
    executor.send(m.Settle([m.Outcome("a", token, "SUCCESS", b"value")]))
    assert executor.hear(m.Acknowledge).tokens == [token]
    submit(client, "b")


def test_nothing_more_is_run_while_outcomes_cannot_be_kept(broker: Restarted, disk: Path) -> None:
    client, executor = broker.client(), broker.executor()
    submit(client, "a", "b", "c")
    (first,) = executor.hear(m.Assign).assignments
    fill(disk)
    more_than_the_reserve = m.Outcome("a", first.token, "SUCCESS", bytes(40 * MB), runtime=1.0)
    executor.send(m.Settle([more_than_the_reserve]))
    (second,) = executor.hear(m.Assign).assignments  # handed out before it showed
    executor.send(m.Settle([m.Outcome("b", second.token, "SUCCESS", runtime=1.0)]))
    with pytest.raises(AssertionError):
        executor.hear(m.Assign, timeout=2.0)
    assert "disk" in why(client, "c")
    free(disk)
    assert executor.hear(m.Assign).assignments[0].task.id == "c"
    assert {t for message in (executor.hear(m.Acknowledge),) for t in message.tokens} >= {first.token}


def test_a_cancellation_that_cannot_be_written_down_is_not_confirmed(broker: Restarted, disk: Path) -> None:
    client, executor = broker.client(), broker.executor()
    submit(client, "a", "b")
    submit(client, "cancelled", queue="nobody's")
    (first,) = executor.hear(m.Assign).assignments
    fill(disk)
    executor.send(m.Settle([m.Outcome("a", first.token, "SUCCESS", bytes(40 * MB), runtime=1.0)]))
    with pytest.raises(AssertionError):
        executor.hear(m.Acknowledge, timeout=1.0)
    client.send(m.Cancel(["cancelled"]), m.Ask(1, "noted"), m.Ask(2, "status"))
    client.hear(m.Answer)  # questions are answered all the same
    with pytest.raises(AssertionError):
        client.hear(m.Noted, timeout=2.0)
    free(disk)
    client.hear(m.Noted)
    broker.restart()
    assert state(broker.client(), "cancelled") == "REVOKED"


def test_a_task_that_must_not_be_started_twice_is_not_handed_out_unwritten(
    broker: Restarted, disk: Path
) -> None:
    client, executor = broker.client(), broker.executor()
    submit(client, "a")
    submit(client, "b", acks_late=False)
    submit(client, "c")
    (first,) = executor.hear(m.Assign).assignments
    fill(disk)
    more_than_the_reserve = m.Outcome("a", first.token, "SUCCESS", bytes(40 * MB), runtime=1.0)
    executor.send(m.Settle([more_than_the_reserve]))
    with pytest.raises(AssertionError):
        executor.hear(m.Assign, timeout=2.0)
    free(disk)
    (second,) = executor.hear(m.Assign).assignments
    assert second.task.id == "b"
