"""A broker in a thread of the test, a worker of real processes, a client by hand."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from nbqueue.broker.daemon import Broker
from nbqueue.broker.options import BrokerOptions
from nbqueue.core.broker import BrokerSettings
from nbqueue.transports.zmq import ZmqTransport
from nbqueue.wire import keys
from nbqueue.wire.keys import Connection
from nbqueue.worker.options import WorkerOptions
from tests.broker import running
from tests.worker.cluster import Client

ROOT = Path(__file__).parents[2]


@contextmanager
def broker(folder: Path, bind: str = "", **settings: Any) -> Iterator[Broker]:
    settings = {"cancel_grace": 0.5, "worker_heartbeat": 0.2, "worker_lease": 5.0, **settings}
    options = BrokerOptions(bind=bind, data_dir=str(folder), settings=BrokerSettings(**settings))
    made = Broker(options)
    thread = threading.Thread(target=made.run, name="broker")
    thread.start()
    try:
        yield made
    finally:
        made.stop("the test is over")
        thread.join(5.0)
        made.close()


class BrokerProcess(NamedTuple):
    """As far as clients and workers are concerned, the same as one in a thread."""

    connection: Connection


@contextmanager
def broker_process(folder: Path, **settings: Any) -> Iterator[BrokerProcess]:
    """A broker that can be stopped and killed; listens where the last one of that folder did."""
    with running.broker_process(folder, **settings) as (_, connection):
        yield BrokerProcess(connection)


@contextmanager
def client(broker: Broker | BrokerProcess) -> Iterator[Client]:
    made = Client(ZmqTransport(broker.connection).connect())
    try:
        yield made
    finally:
        made.link.close()


def options(broker: Broker | BrokerProcess, **fields: Any) -> WorkerOptions:
    connection = broker.connection
    defaults = {"concurrency": 1, "name": "w@test"}
    return WorkerOptions(url=connection.url, connection=keys.encode_key(connection), **{**defaults, **fields})


class Worker:
    """A supervisor process; its standard error is collected."""

    def __init__(self, options: WorkerOptions, cwd: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "nbqueue.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            cwd=cwd,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert self.process.stdin is not None
        self.process.stdin.write(msgspec.json.encode(options))
        self.process.stdin.close()
        self.said = ""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        while data := os.read(self.process.stderr.fileno(), 65536):
            self.said += data.decode()

    def wait_said(self, text: str, timeout: float = 15.0) -> None:
        wait_until(lambda: text in self.said, timeout, lambda: f"{text!r} in {self.said!r}")

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def exit_code(self, timeout: float = 15.0) -> int:
        code = self.process.wait(timeout)
        self._reader.join(5.0)
        return code

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._reader.join(5.0)
        assert self.process.stderr is not None
        self.process.stderr.close()


@contextmanager
def worker(broker: Broker | BrokerProcess, cwd: Path, **fields: Any) -> Iterator[Worker]:
    """A worker that is ready."""
    with starting(options(broker, **fields), cwd) as made:
        made.wait_said("ready.")
        yield made


@contextmanager
def starting(options: WorkerOptions, cwd: Path) -> Iterator[Worker]:
    made = Worker(options, cwd)
    try:
        yield made
    finally:
        made.close()


def wait_until(
    condition: Callable[[], Any], timeout: float = 10.0, what: Callable[[], str] = lambda: ""
) -> Any:
    deadline = time.monotonic() + timeout
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not in time: {what()}"
        time.sleep(0.02)
    return found


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False
