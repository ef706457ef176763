"""`nbqueue worker` for tests, in a process of its own."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path


class Worker:
    """Ready when made; what it logs is in ``log``."""

    def __init__(
        self, url: str, *arguments: str, env: dict[str, str] | None = None, wait: bool = True
    ) -> None:
        self.log: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, "-m", "nbqueue", "worker", "--connect", url, *arguments],
            env={**os.environ, **(env or {})},
            cwd=Path.cwd(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        if wait:
            self.wait_for("ready.")

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.log.append(line)

    @property
    def text(self) -> str:
        return "".join(self.log)

    def wait_for(self, text: str, timeout: float = 20.0) -> None:
        deadline = time.monotonic() + timeout
        while text not in self.text:
            assert time.monotonic() < deadline, self.text
            assert self.process.poll() is None, self.text
            time.sleep(0.02)

    def executors(self) -> list[int]:
        """Pids of its executors."""
        import psutil

        return [child.pid for child in psutil.Process(self.process.pid).children()]

    def stop(self) -> str:
        """End it warmly; returns what it logged."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(15.0)
            except subprocess.TimeoutExpired:
                self.kill()
        self._reader.join(5.0)
        if self.process.stdout is not None:
            self.process.stdout.close()
        return self.text

    def kill(self) -> None:
        """End it, and its executors, as if its machine had."""
        for pid in [*self.executors(), self.process.pid]:
            os.kill(pid, signal.SIGKILL)
        self.process.wait()
