"""Redis as the broker, for measuring: a redis-server of its own, with its AOF written every second, and a
worker; both in a temporary folder, and gone at the end."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

import nbqueue

PROGRAM = "redis-server"


def available() -> bool:
    return shutil.which(PROGRAM) is not None


class Cluster:
    """A redis-server and a worker with so many executors."""

    def __init__(self, folder: Path, executors: int) -> None:
        self._folder = folder
        self.port = _free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.server = self._started_server()
        self._worker: subprocess.Popen[bytes] | None = None
        self._executors = executors

    def _started_server(self) -> "subprocess.Popen[bytes]":
        lines = (
            f"port {self.port}", "bind 127.0.0.1", f"dir {self._folder}", 'save ""', "appendonly yes",
            "appendfsync everysec", "logfile redis.log",
        )  # fmt: skip
        conf = self._folder / "redis.conf"
        conf.write_text("\n".join(lines) + "\n")
        server = subprocess.Popen([PROGRAM, str(conf)])
        _until(lambda: _answers(self.port), "redis-server does not answer")
        return server

    def start_worker(self) -> None:
        """As ``nbqueue.start()`` has one: it tells of no single task."""
        words = ("worker", "--connect", self.url, "-c", str(self._executors), "-l", "warning")
        self._worker = subprocess.Popen([sys.executable, "-m", "nbqueue", *words])
        _until(lambda: len(self.processes) == 2 + self._executors, "the worker has not come up")

    def stop_worker(self) -> None:
        if self._worker is not None:
            _end(self._worker)

    @property
    def processes(self) -> list[psutil.Process]:
        """The server, the supervisor and the executors."""
        if self._worker is None:
            return [psutil.Process(self.server.pid)]
        worker = psutil.Process(self._worker.pid)
        return [psutil.Process(self.server.pid), worker, *worker.children()]

    def memory(self) -> int:
        """Bytes that the server uses."""
        return int(self._said("memory", "used_memory"))

    def _said(self, section: str, field: str) -> str:
        import redis

        with redis.Redis(port=self.port) as client:
            return str(client.info(section)[field])

    def stop(self) -> None:
        self.stop_worker()
        _end(self.server)


@contextlib.contextmanager
def started(executors: int) -> Iterator[Cluster]:
    """What the tasks of this process are sent to meanwhile."""
    folder = Path(tempfile.mkdtemp(prefix="nbq-redis-"))
    cluster = Cluster(folder, executors)
    try:
        cluster.start_worker()
        client = nbqueue.connect(cluster.url).client
        yield cluster
        client.close(drain=False)
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 0.2):
            return True
    except OSError:
        return False


def _until(condition: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + 20.0
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(otherwise)
        time.sleep(0.05)


def _end(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        os.kill(process.pid, signal.SIGTERM)
        try:
            process.wait(15.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
