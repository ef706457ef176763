"""A broker on one machine, a worker on another, and one pasted line between them."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from tests.hosts.machine import Machine, cable

NEAR, FAR = "10.77.0.1", "10.77.0.2"
PORT = 7655
ADDRESS = f"{NEAR}:{PORT}"
CLIENT = """
import socket
import nbqueue

app = nbqueue.App("hosts", broker={broker!r})

@app.task(queue={queue!r})
def where(x):
    return socket.gethostname(), x

print(where.delay(42).get(timeout=20))
"""

pytestmark = [
    pytest.mark.hosts,
    pytest.mark.skipif(
        os.geteuid() != 0 or sys.platform != "linux", reason="makes network namespaces: needs root on Linux"
    ),
]


class Pair(NamedTuple):
    near: Machine
    far: Machine


@pytest.fixture
def pair() -> Iterator[Pair]:
    with Machine("alpha") as near, Machine("beta") as far:
        cable(near, far, (NEAR, FAR))
        yield Pair(near, far)


def wait_for_line(process: "subprocess.Popen[str]", pattern: str) -> None:
    """Read until a line matches; the process's whole story when none does."""
    seen = []
    assert process.stdout is not None
    for line in process.stdout:
        seen.append(line)
        if re.search(pattern, line):
            return
    raise AssertionError(f"ended without {pattern!r}:\n{''.join(seen)}")


def start_broker(machine: Machine, address: str) -> str:
    """Start a broker; the line that its ``nbqueue key`` prints."""
    wait_for_line(machine.start("nbqueue", "broker", "--bind", address), r"\bready\b")
    return key_line(machine)


def key_line(machine: Machine) -> str:
    printed = machine.run("nbqueue", "key").splitlines()
    [line] = [line for line in printed if "NBQUEUE_KEY=" in line]
    return line


def paste(machine: Machine, line: str) -> None:
    """What a person does who has the line: it is read by a shell, and never an argument."""
    wait_for_line(machine.start("sh", "-s", input=f"{line}\n"), r" ready\.")


def workers(machine: Machine) -> list[dict[str, Any]]:
    status = json.loads(machine.run("nbqueue", "status", "--json"))
    return list(status["workers"])


def connections(machine: Machine) -> list[str]:
    """Established TCP connections."""
    return machine.run("ss", "-Htn", "state", "established").splitlines()


def test_the_line_that_key_prints_makes_a_worker_of_another_machine(pair: Pair) -> None:
    line = start_broker(pair.near, ADDRESS)
    assert f"--connect {ADDRESS}" in line
    paste(pair.far, f"{line} -n over-there")

    client = CLIENT.format(broker=f"zmq://{ADDRESS}", queue="default")
    assert "('beta', 42)" in pair.near.run("python", "-", input=client, timeout=40)
    [seen] = workers(pair.near)
    assert (seen["name"], seen["host"]) == ("over-there", "beta")


def test_a_local_cluster_that_was_told_to_bind_takes_workers_of_other_machines(pair: Pair) -> None:
    pair.near.run("nbqueue", "start", "-n", "1", "--bind", ADDRESS)
    paste(pair.far, f"{key_line(pair.near)} -Q elsewhere")

    client = CLIENT.format(broker=None, queue="elsewhere")
    assert "('beta', 42)" in pair.near.run("python", "-", input=client, timeout=40)
    assert {worker["host"] for worker in workers(pair.near)} == {"alpha", "beta"}


def test_a_client_on_another_machine_needs_the_key_and_the_address(pair: Pair) -> None:
    pair.near.run("nbqueue", "start", "-n", "1", "--bind", ADDRESS)
    [key] = re.findall(r"NBQUEUE_KEY=\S+", key_line(pair.near))
    client = CLIENT.format(broker=f"zmq://{ADDRESS}", queue="default")

    told = pair.far.run("sh", "-s", input=f"export {key}\npython - <<'END'\n{client}\nEND\n", timeout=40)

    assert "('alpha', 42)" in told


def test_tcp_carries_it_and_no_command_line_has_the_key(pair: Pair) -> None:
    line = start_broker(pair.near, ADDRESS)
    [secret] = re.findall(r"NBQUEUE_KEY=['\"]?([^\s'\"]+)", line)
    assert len(secret) >= 40
    paste(pair.far, line)

    assert connections(pair.far), "nothing goes over the network"
    assert all(ADDRESS in connection for connection in connections(pair.far))
    for machine in pair:
        assert not [arguments for arguments in machine.arguments() if secret in arguments]


def test_a_worker_that_is_told_to_end_over_there_is_gone_here(pair: Pair) -> None:
    paste(pair.far, start_broker(pair.near, ADDRESS))
    [worker] = workers(pair.near)

    pair.far.run("kill", "-TERM", str(worker["pid"]))

    deadline = time.monotonic() + 15
    while workers(pair.near) or connections(pair.far):
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_a_worker_without_the_key_says_what_to_do_and_ends(pair: Pair) -> None:
    start_broker(pair.near, ADDRESS)

    told = pair.far.run("nbqueue", "worker", "--connect", ADDRESS, timeout=15, check=False)

    assert "nbqueue key" in told


def test_a_broker_that_was_told_to_bind_to_loopback_is_not_reached_from_outside(pair: Pair) -> None:
    start_broker(pair.near, f"127.0.0.1:{PORT}")
    reach = f"import socket; socket.create_connection(({NEAR!r}, {PORT}), 3)"

    assert "ConnectionRefusedError" in pair.far.run("python", "-c", reach, check=False)
