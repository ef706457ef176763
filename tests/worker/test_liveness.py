"""Who counts as alive: a worker is given up when it is silent for a lease, never for what its tasks do."""

import contextlib
import os
import signal
import sys
import time

import psutil
import pytest

from nbqueue import messages as m
from tests.worker import processes
from tests.worker.processes import wait_until

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="workers run on POSIX systems")

LEASE = 1.5


@pytest.fixture
def broker(tmp_path):
    with processes.broker(tmp_path / "broker", worker_lease=LEASE, worker_heartbeat=0.3) as made:
        yield made


@pytest.fixture
def client(broker):
    with processes.client(broker) as made:
        yield made


def note(path, seconds):
    """Leave a mark at the start, take a while, and tell which process it was."""
    import os
    import time

    with open(path, "a") as file:
        file.write(f"{os.getpid()}\n")
    time.sleep(seconds)
    return os.getpid()


def hold_the_gil(path, seconds):
    import ctypes
    import os

    with open(path, "a") as file:
        file.write(f"{os.getpid()}\n")
    ctypes.PyDLL(None).sleep(seconds)
    return os.getpid()


for function in (note, hold_the_gil):
    function.__module__ = "__main__"  # not importable on a worker: they travel by value


def tree(worker):
    """The supervisor and its executors."""
    supervisor = psutil.Process(worker.process.pid)
    return [supervisor, *supervisor.children()]


def marks(path):
    return [int(line) for line in path.read_text().split()]


def test_a_stopped_worker_is_given_up_refused_when_it_wakes_and_works_on(broker, client, tmp_path):
    path = tmp_path / "marks"
    with processes.worker(broker, tmp_path, name="first") as first:
        id = client.submit(note, str(path), 3.0)
        client.wait_for(m.Started, id)
        stopped = tree(first)
        for process in stopped:
            process.send_signal(signal.SIGSTOP)
        with processes.worker(broker, tmp_path, name="second") as second:
            second_executor = tree(second)[1].pid
            wait_until(lambda: len(marks(path)) == 2, timeout=20)
            for process in stopped:
                process.send_signal(signal.SIGCONT)
            assert client.value(id, timeout=20) == second_executor
            time.sleep(3.5)  # the first one has ended its run as well, and was refused
            assert [outcome.id for message in client.messages for outcome in outcomes(message)] == [id]
            assert marks(path) == [stopped[1].pid, second_executor]
        first_executor = stopped[1].pid
        assert client.value(client.submit(note, str(path), 0.0), timeout=20) == first_executor


def outcomes(message):
    return message.outcomes if isinstance(message, m.Settle) else ()


def test_a_stopped_executor_alone_is_not_given_up(broker, client, tmp_path):
    path = tmp_path / "marks"
    with processes.worker(broker, tmp_path) as worker:
        id = client.submit(note, str(path), 0.5)
        client.wait_for(m.Started, id)
        _, executor = tree(worker)
        executor.send_signal(signal.SIGSTOP)
        time.sleep(2 * LEASE)
        executor.send_signal(signal.SIGCONT)
        assert client.value(id, timeout=20) == executor.pid
        assert marks(path) == [executor.pid]


def test_a_task_that_holds_the_gil_for_several_leases_is_not_taken_for_dead(broker, client, tmp_path):
    path = tmp_path / "marks"
    with (
        processes.worker(broker, tmp_path, name="first") as first,
        processes.worker(broker, tmp_path, name="second"),
    ):
        pids = {process.pid for process in tree(first)}
        id = client.submit(hold_the_gil, str(path), 3 * int(LEASE + 1))
        assert client.value(id, timeout=20) == marks(path)[0]
        assert len(marks(path)) == 1
        assert {process.pid for process in tree(first)} == pids


def test_a_broker_that_was_stopped_itself_gives_nobody_up(tmp_path):
    path = tmp_path / "marks"
    with (
        processes.broker_process(tmp_path / "b", worker_lease=LEASE, worker_heartbeat=0.3) as broker,
        processes.client(broker) as client,
        processes.worker(broker, tmp_path) as worker,
    ):
        executor = tree(worker)[1].pid
        id = client.submit(note, str(path), 1.0)
        client.wait_for(m.Started, id)
        os.kill(broker.connection.pid, signal.SIGSTOP)
        time.sleep(2 * LEASE)
        os.kill(broker.connection.pid, signal.SIGCONT)
        assert client.value(id, timeout=20) == executor
        assert marks(path) == [executor]


def test_a_broker_that_was_killed_takes_the_outcome_of_what_ran_meanwhile(tmp_path):
    path = tmp_path / "marks"
    with processes.broker_process(tmp_path / "b", worker_lease=10.0) as first:
        worker = processes.Worker(processes.options(first), tmp_path)
        client = processes.Client(processes.ZmqTransport(first.connection).connect())
        try:
            worker.wait_said("ready.")
            executor = tree(worker)[1].pid
            id = client.submit(note, str(path), 1.0)
            client.wait_for(m.Started, id)
            os.kill(first.connection.pid, signal.SIGKILL)
            wait_until(lambda: "trying on" in worker.said)
            time.sleep(1.5)  # it ends while nobody is there to take its outcome
            with processes.broker_process(tmp_path / "b", worker_lease=10.0):
                get_to_know(client, id)
                assert client.value(id, timeout=10) == executor
                assert marks(path) == [executor]
        finally:
            client.link.close()
            worker.close()


def get_to_know(client, id):
    """Say hello to the next broker until it answers, and ask for the task."""
    deadline = time.monotonic() + 10
    while not [
        message for message in client.messages if isinstance(message, m.Welcome) and message.boot == 2
    ]:
        assert time.monotonic() < deadline
        client.link.send([m.Hello(m.CLIENT, "again"), m.Watch([id])])
        client.take_in(0.3)


def test_what_ran_during_a_warm_shutdown_is_delivered_though_the_broker_was_restarted(tmp_path):
    path = tmp_path / "marks"
    with contextlib.ExitStack() as stack:
        with processes.broker_process(tmp_path / "b", worker_lease=10.0, worker_heartbeat=0.5) as first:
            worker = stack.enter_context(processes.worker(first, tmp_path))
            client = stack.enter_context(processes.client(first))
            executor = tree(worker)[1].pid
            id = client.submit(note, str(path), 4.0)
            client.wait_for(m.Started, id)
            worker.process.send_signal(signal.SIGTERM)
        wait_until(lambda: "trying on" in worker.said)
        with processes.broker_process(tmp_path / "b", worker_lease=10.0, worker_heartbeat=0.5) as second:
            get_to_know(client, id)
            stack.enter_context(processes.worker(second, tmp_path, name="other"))
            assert client.value(id, timeout=40) == executor
            assert marks(path) == [executor]
