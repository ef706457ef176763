"""Executors and supervisors that die, each in its way: what is said of it, and what is left behind."""

import os
import re
import signal
import sys
import time
import uuid
from pathlib import Path

import psutil
import pytest

from nbqueue import messages as m
from nbqueue.states import FAILURE
from tests.worker import processes
from tests.worker.processes import alive, wait_until

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="workers run on POSIX systems")

CGROUP = Path("/sys/fs/cgroup")
MB = 2**20


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    with processes.broker(tmp_path_factory.mktemp("broker"), max_task_deaths=2) as made:
        yield made


@pytest.fixture
def worker(broker, tmp_path):
    with processes.worker(broker, tmp_path, queues=(tmp_path.name,)) as made:
        yield made


@pytest.fixture
def queue(worker, tmp_path):
    return tmp_path.name


@pytest.fixture
def client(broker, worker):
    with processes.client(broker) as made:
        yield made


def die(how, group=""):
    """Use some memory, say something, and die."""
    import ctypes
    import os
    import signal
    import sys

    ballast = bytearray(os.urandom(1 << 20) * 64)
    print("last words", file=sys.__stderr__, flush=True)
    if how == "segfault":
        ctypes.string_at(0)
    elif how == "exit":
        os._exit(3)
    elif how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif how == "memory":
        with open(group + "/cgroup.procs", "w") as file:
            file.write(str(os.getpid()))
        while True:
            ballast += os.urandom(1 << 20) * 16


die.__module__ = "__main__"  # this module is not importable on a worker: its functions travel by value


@pytest.mark.parametrize(
    ("how", "manner"),
    [
        ("segfault", r"signal 11 \(SIGSEGV, a bad memory access\)"),
        ("exit", "exit code 3"),
        ("kill", r"signal 9 \(SIGKILL, often for want of memory\)"),
    ],
)
def test_a_death_is_told_with_its_manner_memory_and_last_words(client, queue, how, manner):
    check_obituary(client.outcome(client.submit(die, how, queue=queue), timeout=30), manner)


def test_a_death_for_want_of_memory_is_told_as_such(client, queue, memory_group):
    outcome = client.outcome(client.submit(die, "memory", str(memory_group), queue=queue), timeout=60)
    assert check_obituary(outcome, r"signal 9 \(SIGKILL, often for want of memory\)") < 400


def check_obituary(outcome, manner):
    """Returns the peak memory in MB."""
    assert (outcome.state, outcome.failure.type) == (FAILURE, "WorkerLostError")
    text = outcome.failure.message
    assert re.search(manner, text)
    assert "It died 2 times" in text
    assert "last words" in text
    peak = int(re.search(r"peak memory (\d+) MB", text)[1])
    assert peak > 64
    return peak


@pytest.fixture
def memory_group():
    """A control group whose processes get 160 MB, and are killed for more."""
    version_1 = (CGROUP / "memory").is_dir()
    group = CGROUP / ("memory" if version_1 else "") / f"nbqueue-{uuid.uuid4().hex[:8]}"
    try:
        group.mkdir()
        names = (
            ("memory.limit_in_bytes", "memory.swappiness") if version_1 else ("memory.max", "memory.swap.max")
        )
        for name, value in zip(names, (160 * MB, 0), strict=True):
            (group / name).write_text(str(value))
    except OSError as error:
        pytest.skip(f"no control group for memory can be made: {error}")
    yield group
    wait_until(lambda: not (group / "cgroup.procs").read_text())
    group.rmdir()


def ignore_signals():
    import signal
    import time

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    print("ready", flush=True)
    time.sleep(0.2)  # is reported
    while True:
        time.sleep(1)


def hold_the_gil():
    import ctypes
    import time

    print("ready", flush=True)
    time.sleep(0.2)  # is reported
    ctypes.PyDLL(None).sleep(60)


for function in (ignore_signals, hold_the_gil):
    function.__module__ = "__main__"


@pytest.mark.parametrize("task", [ignore_signals, hold_the_gil])
def test_executors_end_with_their_supervisor_whatever_their_tasks_do(client, queue, worker, task):
    (executor,) = psutil.Process(worker.process.pid).children()
    id = client.submit(task, queue=queue)
    client.wait_for(m.Output, id)
    time.sleep(0.5)  # it cannot tell any more that it holds the GIL by now
    os.kill(worker.process.pid, signal.SIGKILL)
    wait_until(lambda: not alive(executor.pid), timeout=5)
