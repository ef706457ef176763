"""A cable that is cut between a broker and those who use it, and what is left of it five seconds after."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from tests.hosts.machine import Machine, cable

NEAR, FAR = "10.77.0.1", "10.77.0.2"
PORT = 7656
ADDRESS = f"{NEAR}:{PORT}"
NBQUEUE = ("python", "-m", "nbqueue")
#: seconds after the cable's return in which everything works again
BACK = 5.0
#: seconds: no cut here lasts as long, so that no worker is given up
LEASE = 120

# Submits a long task, then short ones all the time, each when the last one is done; prints when that was.
CLIENT = """
import json, sys, threading, time
import nbqueue

app = nbqueue.App("cut", broker={broker!r})

@app.task
def note(number, seconds):
    time.sleep(seconds)
    with open("/tmp/ran", "a") as file:
        file.write(f"{{number}}\\n")
    return number

def say(**fields):
    print(json.dumps(fields), flush=True)

long = note.delay(-1, {seconds})
while long.state != "STARTED":
    time.sleep(0.01)
stop, number = threading.Event(), 0
threading.Thread(target=lambda: (sys.stdin.readline(), stop.set()), daemon=True).start()
while not stop.is_set() or not long.ready():
    assert note.delay(number, 0.0).get(timeout={timeout}) == number
    number += 1
    say(number=number, at=time.monotonic())
say(long=long.get(timeout=1), submitted=number)
"""

pytestmark = [
    pytest.mark.hosts,
    pytest.mark.skipif(
        os.geteuid() != 0 or sys.platform != "linux", reason="makes network namespaces: needs root on Linux"
    ),
]


@pytest.fixture
def near() -> Iterator[Machine]:
    with Machine("alpha") as machine:
        yield machine


@pytest.fixture
def far(near: Machine) -> Iterator[Machine]:
    with Machine("beta") as machine:
        cable(near, machine, (NEAR, FAR))
        yield machine


def wait_for_line(process: "subprocess.Popen[str]", pattern: str) -> str:
    """Read until a line matches; the process's whole story when none does."""
    seen = []
    assert process.stdout is not None
    for line in process.stdout:
        seen.append(line)
        if re.search(pattern, line):
            return line
    raise AssertionError(f"ended without {pattern!r}:\n{''.join(seen)}")


def start(near: Machine, far: Machine) -> str:
    """A broker here, a worker with two executors over there; returns the key."""
    broker = near.start("env", f"NBQUEUE_WORKER_LEASE={LEASE}", *NBQUEUE, "broker", "--bind", ADDRESS)
    wait_for_line(broker, r"\bready\b")
    [key] = re.findall(r"NBQUEUE_KEY=\S+", near.run(*NBQUEUE, "key"))
    worker = far.start(
        "sh", "-s", input=f"export {key}\nexec python -m nbqueue worker --connect {ADDRESS} -c 2 -l WARNING\n"
    )
    wait_for_line(worker, r" ready\.")
    return key


@pytest.mark.parametrize(
    "seconds",
    [1, 4, 12, pytest.param(7, marks=pytest.mark.slow), pytest.param(60, marks=pytest.mark.slow)],
)
@pytest.mark.timeout(300)
def test_everything_is_back_five_seconds_after_the_cable(near: Machine, far: Machine, seconds: int) -> None:
    key = start(near, far)
    script = CLIENT.format(broker=f"zmq://{ADDRESS}", seconds=seconds + BACK + 1, timeout=seconds + 20)
    program = f"export {key}\ncat > /tmp/client.py <<'END'\n{script}\nEND\nexec python /tmp/client.py\n"
    client = far.start("sh", "-s", input=program, keep=True)
    wait_for_line(client, '"number": 20,')

    near.run("ip", "link", "set", "eth0", "down")
    cut = time.monotonic()
    time.sleep(seconds)
    near.run("ip", "link", "set", "eth0", "up")
    mended = time.monotonic()

    while (at := json.loads(wait_for_line(client, '"at"'))["at"]) < mended:
        assert at < cut + 1, "the cable was not cut"
    print(f"cut for {seconds} s, back after {at - mended:.2f} s")
    assert at - mended < BACK
    assert client.stdin is not None
    client.stdin.write("enough\n")
    client.stdin.flush()
    last = json.loads(wait_for_line(client, '"submitted"'))
    assert last["long"] == -1
    ran = [int(line) for line in far.run("cat", "/tmp/ran").split()]
    assert sorted(ran) == list(range(-1, last["submitted"]))
