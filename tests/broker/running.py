"""Brokers for tests: in a thread of this process, or as a process of their own."""

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from nbqueue.broker.daemon import Broker
from nbqueue.broker.options import BrokerOptions
from nbqueue.core.broker import BrokerSettings
from nbqueue.messages import CLIENT, AnyMessage, Hello, Ping, Pong, Welcome
from nbqueue.transports.base import Link
from nbqueue.transports.zmq import ZmqTransport
from nbqueue.wire import keys
from nbqueue.wire.keys import Connection
from tests.waiting import until


@contextlib.contextmanager
def broker_in_thread(folder: Path, bind: str = "", **settings: Any) -> Iterator[Broker]:
    broker = Broker(BrokerOptions(bind=bind, data_dir=str(folder), settings=BrokerSettings(**settings)))
    broker.announce()
    thread = threading.Thread(target=broker.run)
    thread.start()
    try:
        yield broker
    finally:
        broker.stop("the test is over")
        thread.join(10)
        broker.close()


def start_broker(
    folder: Path,
    bind: str = "",
    *,
    module: str = "nbqueue.broker",
    before: Callable[[], None] | None = None,
    **settings: Any,
) -> "subprocess.Popen[bytes]":
    """``before`` is called in the new process."""
    process = subprocess.Popen(
        [sys.executable, "-m", module],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=before,  # noqa: PLW1509 - to limit the process before it starts
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
    )
    assert process.stdin is not None
    process.stdin.write(
        json.dumps({"bind": bind, "data_dir": str(folder), "settings": settings}).encode() + b"\n"
    )
    process.stdin.close()
    return process


@contextlib.contextmanager
def broker_process(
    folder: Path, bind: str = "", **settings: Any
) -> Iterator[tuple["subprocess.Popen[bytes]", Connection]]:
    process = start_broker(folder, bind, **settings)
    try:
        until(lambda: keys.running(folder) is not None or process.poll() is not None)
        connection = keys.running(folder)
        assert connection is not None
        yield process, connection
    finally:
        process.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()


def over_tcp(connection: Connection) -> Connection:
    """The same broker, as it is seen from elsewhere."""
    return msgspec.structs.replace(connection, ipc="")


@contextlib.contextmanager
def linked(connection: Connection, role: str = CLIENT, id: str = "me") -> Iterator[Link]:
    """A link whose Hello was answered."""
    link = ZmqTransport(connection).connect()
    try:
        link.send([Hello(role, id)])
        receive_one(link, Welcome)
        yield link
    finally:
        link.close()


def receive_one(link: Link, kind: type[AnyMessage], timeout: float = 20.0) -> Any:
    """The next message of that kind; others are passed over."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        for message in link.receive(0.1):
            if isinstance(message, kind):
                return message
    raise AssertionError(f"no {kind.__name__} came: {link.trouble}")


def receive_trouble(
    link: Link, kind: type[Exception] | tuple[type[Exception], ...], timeout: float = 20.0
) -> Exception:
    """Wait until the link's trouble is of that kind."""

    def in_trouble() -> bool:
        link.receive(0.05)
        return isinstance(link.trouble, kind)

    until(in_trouble, timeout=timeout)
    assert link.trouble is not None
    return link.trouble


def answers(connection: Connection) -> bool:
    """Whether the broker still serves newcomers."""
    with linked(connection, id="newcomer") as link:
        link.send([Ping()])
        return isinstance(receive_one(link, Pong), Pong)
