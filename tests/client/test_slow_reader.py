"""A kernel that is stopped while its results come in: real processes around a real local cluster."""

import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

import nbqueue
from nbqueue.wire import keys
from tests.broker.running import until
from tests.launch.isolation import Folders

SIZE = 10_000
SCRIPT = """
import json, sys, time
import nbqueue

@nbqueue.task
def value(n, size):
    return n.to_bytes(8, "big") + bytes(size - 8)

count, size = int(sys.argv[1]), int(sys.argv[2])
nbqueue.start(2)
group = value.starmap([(n, size) for n in range(count)], countdown=1 + count / 10_000)
for result in group:
    result.wait_accepted(60)
print("submitted", flush=True)
read, gone = 0, set()
for n, result in enumerate(group):
    try:
        assert result.get(timeout=120)[:8] == n.to_bytes(8, "big")
        read += 1
    except nbqueue.ResultNotFoundError as error:
        gone.add(str(error).rpartition(":")[2].strip())
print(json.dumps({"read": read, "gone": sorted(gone)}))
"""


class Kernel:
    """A process that submits so many tasks, which wait until it is stopped, and then reads their results."""

    def __init__(self, count: int, size: int) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(count), str(size)],
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "submitted\n"

    def stop(self) -> None:
        os.kill(self.process.pid, signal.SIGSTOP)

    def go_on(self) -> tuple[int, list[str]]:
        """How many results it has read in the end, and why it has not read the others."""
        os.kill(self.process.pid, signal.SIGCONT)
        out, _ = self.process.communicate(timeout=300)
        told = json.loads(out)
        return told["read"], told["gone"]


def broker() -> psutil.Process:
    connection = keys.running(keys.data_dir())
    assert connection is not None
    return psutil.Process(connection.pid)


def wait_until_nothing_waits(timeout: float) -> int:
    """Returns the most memory that the broker took meanwhile."""
    client = nbqueue.attach().client
    process, most = broker(), 0

    def is_done() -> bool:
        nonlocal most
        most = max(most, process.memory_info().rss)
        time.sleep(0.1)
        queues = client.ask("status", timeout=60)["queues"]
        return not any(sum(queue.values()) for queue in queues.values())

    try:
        until(is_done, timeout)
    finally:
        client.close()
    return most


@pytest.mark.parametrize("count", [10_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_a_stopped_kernel_does_not_fill_the_broker_and_then_gets_every_result(
    folders: Folders, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setenv("NBQUEUE_MAX_RESULT_BYTES", str(2**31))
    kernel = Kernel(count, SIZE)
    kernel.stop()
    most = wait_until_nothing_waits(timeout=300)
    print(f"the broker took {most / 1e6:.0f} MB")
    results = count * (SIZE + 1500)
    # the results themselves, the broker without them, and what zmq and we keep for one who does not read
    assert most < results + 60e6 + 120e6, f"{most / 1e6:.0f} MB"
    assert kernel.go_on() == (count, [])


def test_results_of_a_kernel_that_stays_away_make_room_and_it_learns_which(
    folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NBQUEUE_WORKER_HEARTBEAT", "0.2")
    monkeypatch.setenv("NBQUEUE_WORKER_LEASE", "1")
    monkeypatch.setenv("NBQUEUE_MAX_RESULT_BYTES", "5000000")
    kernel = Kernel(10_000, SIZE)
    kernel.stop()
    wait_until_nothing_waits(timeout=120)
    read, gone = kernel.go_on()
    assert 0 < read < 10_000
    (reason,) = gone
    assert "max_result_bytes" in reason
