"""A redis-server of a test's own: on a free port, its data in a temporary folder."""

import atexit
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import redis

PROGRAM = "redis-server"


def require() -> None:
    """Skip a test that needs a redis-server where there is none; in CI, fail it."""
    if shutil.which(PROGRAM) is None:
        text = "there is no redis-server: run `apt-get install --yes redis-server`"
        if os.environ.get("CI"):
            pytest.fail(text)
        pytest.skip(text)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class RedisServer:
    """Started at once; ``options`` are lines of a redis.conf."""

    def __init__(self, folder: Path, *options: str, port: int = 0, aof: bool = True) -> None:
        require()
        self.folder = folder
        self.port = port or free_port()
        self.options = [
            f"port {self.port}", f"dir {folder}", 'save ""', "bind 127.0.0.1",
            f"appendonly {'yes' if aof else 'no'}", *options,
        ]  # fmt: skip
        folder.mkdir(parents=True, exist_ok=True)
        self.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self, more: Sequence[str] = ()) -> None:
        """Start, after a stop or a kill once more, with what it has on disk."""
        conf = self.folder / "redis.conf"
        conf.write_text("\n".join([*self.options, *more]) + "\n")
        with open(self.folder / "redis.log", "ab") as log:
            self.process = subprocess.Popen(
                [PROGRAM, str(conf)], stdout=log, stderr=log, start_new_session=True
            )
        atexit.register(self.process.kill)  # a test that fails does not come to stop()
        self._wait()

    def _wait(self) -> None:
        deadline = time.monotonic() + 10.0
        while True:
            try:
                with socket.create_connection(("127.0.0.1", self.port), 0.2):
                    return
            except OSError:
                log = (self.folder / "redis.log").read_text()
                assert time.monotonic() < deadline, log
                assert self.process.poll() is None, log
                time.sleep(0.02)

    def client(self, **options: object) -> "redis.Redis":
        """For looking into it."""
        return redis.Redis(port=self.port, **options)

    def kill(self) -> None:
        """As if its machine had lost power, except that the page cache is written."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """End it properly."""
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(10.0)

    def pause(self) -> None:
        os.kill(self.process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.process.pid, signal.SIGCONT)
