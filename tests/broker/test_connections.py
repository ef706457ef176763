"""More connections than a broker can have, from those with keys and those without."""

import contextlib
import os
import resource
import select
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from nbqueue import messages as m
from nbqueue.broker import sockets
from nbqueue.broker.daemon import Broker
from nbqueue.transports.zmq import ZmqLink
from nbqueue.wire import keys
from nbqueue.wire.keys import Connection
from tests.broker.running import (
    answers,
    broker_in_thread,
    linked,
    over_tcp,
    receive_one,
    start_broker,
    until,
)
from tests.broker.test_garbage import GREETING

#: files that the broker of these tests may open
FILES = 130


@contextlib.contextmanager
def callers(broker: Broker | Connection, count: int, said: bytes) -> Iterator[list[socket.socket]]:
    """Strangers who stay on the line."""
    port = broker.port if isinstance(broker, Connection) else broker.connection.port
    with contextlib.ExitStack() as stack:
        found = []
        for _ in range(count):
            caller = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
            with contextlib.suppress(OSError):
                caller.sendall(said)
            found.append(caller)
        yield found


def hung_up(caller: socket.socket) -> bool:
    """Whether the other side has ended it; what it said is passed over."""
    with contextlib.suppress(ConnectionError):
        while select.select([caller], [], [], 0)[0]:
            if not caller.recv(1000):
                return True
        return False
    return True


@pytest.mark.parametrize("said", [b"", GREETING[:20], GREETING], ids=["nothing", "half", "greeting"])
def test_who_does_not_prove_a_key_in_time_is_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: bytes
) -> None:
    monkeypatch.setattr(sockets, "HANDSHAKE", 300)
    with broker_in_thread(tmp_path) as broker:
        files = len(os.listdir("/proc/self/fd"))
        with callers(broker, 50, said) as strangers:
            until(lambda: all(hung_up(caller) for caller in strangers), timeout=10)
            until(lambda: len(os.listdir("/proc/self/fd")) <= files + 50)  # only ours are left
        assert answers(over_tcp(broker.connection))


@pytest.fixture
def poor(tmp_path: Path) -> Iterator[tuple[psutil.Process, Connection]]:
    """A broker that may open few files."""
    process = start_broker(
        tmp_path, before=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, FILES))
    )
    try:
        until(lambda: keys.running(tmp_path) is not None or process.poll() is not None)
        connection = keys.running(tmp_path)
        assert connection is not None
        yield psutil.Process(process.pid), connection
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()


def test_when_descriptors_run_out_peers_are_served_and_newcomers_after(
    poor: tuple[psutil.Process, Connection],
) -> None:
    process, connection = poor
    with linked(over_tcp(connection), id="bystander") as bystander:
        with callers(connection, 3 * FILES, GREETING):
            until(lambda: process.num_fds() == FILES)
            for _ in range(20):
                bystander.send([m.Ping()])
                receive_one(bystander, m.Pong, timeout=5)
                time.sleep(0.01)
        assert answers(over_tcp(connection))
        assert answers(connection)
        until(lambda: process.num_fds() < FILES / 2)


def test_past_what_descriptors_allow_peers_with_keys_are_refused_in_words(
    poor: tuple[psutil.Process, Connection],
) -> None:
    _, connection = poor
    with contextlib.ExitStack() as stack:
        links = [
            stack.enter_context(linked(over_tcp(connection), id=f"client {number}"))
            for number in range(FILES - 100)
        ]
        late = ZmqLink(over_tcp(connection))
        stack.callback(late.close)
        late.send([m.Hello(m.CLIENT, "late")])
        assert "30 connections already" in receive_one(late, m.Refused).reason
        for link in links:
            link.send([m.Ping(), m.Goodbye()])
            receive_one(link, m.Pong)
    assert answers(over_tcp(connection))


def test_the_limit_of_connections_is_a_setting(tmp_path: Path) -> None:
    with broker_in_thread(tmp_path, max_connections=1) as broker, linked(broker.connection, id="first"):
        late = ZmqLink(broker.connection)
        late.send([m.Hello(m.CLIENT, "late")])
        assert "max_connections" in receive_one(late, m.Refused).reason
        late.close()
