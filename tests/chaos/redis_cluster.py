"""The processes of a campaign with Redis in place of the broker: it writes each change to disk at once."""

import os
import socket
import subprocess
from pathlib import Path
from typing import Any

from tests.chaos.cluster import ROOT, Cluster, until

#: seconds until it must listen
_START = 30.0


class RedisCluster(Cluster):
    """``settings`` are those of a broker, which here all others bring along."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        super().__init__(folder, **settings)
        self.url = f"redis://127.0.0.1:{self._port}/0"
        self._address = self.url

    def start_broker(self) -> "subprocess.Popen[bytes]":
        broker = self.launch_broker()

        def listens() -> bool:
            assert broker.poll() is None, f"redis-server did not start: {self.log('broker')}"
            try:
                with socket.create_connection(("127.0.0.1", self._port), 0.2):
                    return True
            except OSError:
                return False

        until(listens, _START, "redis-server listens")
        return broker

    def launch_broker(self) -> "subprocess.Popen[bytes]":
        data = self.folder / "data"
        data.mkdir(exist_ok=True)
        options = {
            "port": self._port, "bind": "127.0.0.1", "dir": data, "save": "", "appendonly": "yes",
            "appendfsync": "always",
        }  # fmt: skip
        words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        with (self.folder / "broker.log").open("ab") as log:
            broker = subprocess.Popen(["redis-server", *words], stdout=log, stderr=log, cwd=ROOT)
        self._started.append(broker)
        self._names[broker.pid] = "broker"
        return broker

    def _route(self, name: str) -> dict[str, str]:
        return {}

    def _environment(self) -> dict[str, str]:
        settings = {f"NBQUEUE_{name.upper()}": str(value) for name, value in self._settings.items()}
        return {**os.environ, "PYTHONPATH": str(ROOT), **settings}
