"""The processes of a campaign: a broker at a fixed address, workers, clients; each started, stopped, killed.

Of workers and clients, every second one goes by TCP, as if from elsewhere; the others by the unix socket.

Every process is a child of this one or of such a child, and only those are ever signalled, by pid.
"""

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import psutil

from nbqueue.exceptions import NBQueueError
from nbqueue.launch.ask import ask
from nbqueue.wire import keys
from tests.chaos import ledger
from tests.chaos.checker import Evidence
from tests.chaos.client import Call, ClientOptions
from tests.chaos.outcomes import Outcome, Question

ROOT = Path(__file__).parents[2]
#: seconds that a process may take to start; the machine may be busy
_START = 60.0
_LOOK = 0.02


def until(condition: Callable[[], object], timeout: float, what: str) -> None:
    """Wait for something that other processes do."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout:g} s: {what}"
        time.sleep(_LOOK)


def tree(process: "subprocess.Popen[bytes]") -> list[psutil.Process]:
    """A process of ours and all that it has started, itself first."""
    with contextlib.suppress(psutil.NoSuchProcess):
        root = psutil.Process(process.pid)
        return [root, *root.children(recursive=True)]
    return []


def send_signal(processes: Iterable[psutil.Process], number: int) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def kill(process: "subprocess.Popen[bytes]") -> set[int]:
    """SIGKILL a process and all that it has started; returns their pids."""
    doomed = tree(process)
    send_signal(doomed, signal.SIGKILL)
    process.wait()
    psutil.wait_procs(doomed, timeout=_START)
    return {one.pid for one in doomed}


class Cluster:
    """See the module's docstring.  ``settings`` are the broker's; ``lease`` and ``heartbeat`` in seconds."""

    def __init__(self, folder: Path, *, heartbeat: float = 0.5, lease: float = 5.0, **settings: Any) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.lease = lease
        self._settings = {"worker_heartbeat": heartbeat, "worker_lease": lease, **settings}
        self._port = _free_port()
        self.url = f"zmq://127.0.0.1:{self._port}"
        #: what workers are told to connect to
        self._address = f"127.0.0.1:{self._port}"
        self._started: list[subprocess.Popen[bytes]] = []
        #: of log files, by pid
        self._names: dict[int, str] = {}
        self._counter = 0
        self._key = ""

    def __enter__(self) -> "Cluster":
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self._started):
            send_signal(tree(process), signal.SIGCONT)
            kill(process)

    # ── broker and workers ───────────────────────────────────────────────────────────────────

    def start_broker(self) -> "subprocess.Popen[bytes]":
        """Start the broker, for the first time or again, and wait until it listens."""
        data = self.folder / "data"
        broker = self.launch_broker()

        def listens() -> bool:
            assert broker.poll() is None, f"the broker did not start: {self.log('broker')}"
            connection = keys.running(data)
            return connection is not None and connection.pid == broker.pid

        until(listens, _START, "the broker listens")
        self._key = self._key or self._ask_for_key(data)
        return broker

    def launch_broker(self) -> "subprocess.Popen[bytes]":
        """Start the broker, always at the same address with the same data, and do not wait for it."""
        options = {
            "bind": f"127.0.0.1:{self._port}",
            "data_dir": str(self.folder / "data"),
            "settings": self._settings,
        }
        return self._start("broker", "-m", "nbqueue.broker", input=json.dumps(options) + "\n")

    def _ask_for_key(self, data: Path) -> str:
        """The key that `nbqueue key` prints: who has it from there knows nothing of the unix socket."""
        command = [sys.executable, "-m", "nbqueue", "key", "--data-dir", str(data)]
        printed = subprocess.run(command, env=self._environment(), capture_output=True, check=True).stdout
        return printed.decode().partition("NBQUEUE_KEY=")[2].split()[0]

    def start_workers(self, count: int, *, executors: int = 1) -> list["subprocess.Popen[bytes]"]:
        """Start workers, all at once, and wait until they are ready."""
        names = [self._name("worker") for _ in range(count)]
        workers = [self._start_worker(name, executors) for name in names]
        for name, worker in zip(names, workers, strict=True):
            self._wait_ready(name, worker)
        return workers

    def _start_worker(self, name: str, executors: int) -> "subprocess.Popen[bytes]":
        options = ["--connect", self._address, "-c", str(executors), "-n", name, "-l", "WARNING"]
        return self._start(name, "-m", "nbqueue", "worker", *options)

    def _wait_ready(self, name: str, worker: "subprocess.Popen[bytes]") -> None:
        def ready() -> bool:
            assert worker.poll() is None, f"{name} did not start: {self.log(name)}"
            return " ready." in self.log(name)

        until(ready, _START, f"{name} is ready")

    # ── clients ──────────────────────────────────────────────────────────────────────────────

    def start_client(self, calls: list[Call], **options: Any) -> "subprocess.Popen[bytes]":
        """Start a client that submits these, and wait until it is connected; ``options`` are those of
        ``ClientOptions``."""
        name = self._name("client")
        file = self._write(name, ClientOptions(url=self.url, folder=str(self.folder), calls=calls, **options))
        client = self._start(name, "-m", "tests.chaos.client", file)

        def connected() -> bool:
            assert not client.poll(), f"{name} did not start: {self.log(name)}"
            return str(client.pid) in ledger.read(self.folder / "connected")

        until(connected, _START, f"{name} is connected")
        return client

    def wait(self, client: "subprocess.Popen[bytes]", timeout: float) -> None:
        """Wait until a client has done all that it was to do."""
        try:
            code = client.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"a client has not ended within {timeout:g} s; {self.progress()}") from None
        assert code == 0, f"a client failed: {self.log(self._names[client.pid])}"

    def ask(self, topic: str, **args: Any) -> Any:
        return ask(self.url, topic, **args)

    def progress(self) -> str:
        """How far everything is, for people."""
        try:
            status = self.ask("status")
        except NBQueueError as error:
            return f"the broker: {error}"
        return f"queues {status['queues']}, workers {[worker['children'] for worker in status['workers']]}"

    # ── what happened ────────────────────────────────────────────────────────────────────────

    def acknowledged(self) -> list[str]:
        return ledger.read(self.folder / "acknowledged")

    def wait_for(self, count: float, file: str, timeout: float) -> None:
        """Wait until there are so many lines in one of the files (see ``ledger``)."""
        path = self.folder / file
        until(lambda: ledger.count(path) >= count, timeout, f"{count:.0f} lines in {file}")

    def runs(self) -> list[ledger.Run]:
        return ledger.read_runs(self.folder / "ledger")

    def seen(self) -> list[tuple[str, Outcome]]:
        """The outcomes that clients have seen so far."""
        lines = (line.split(" ", 1) for line in ledger.read(self.folder / "seen"))
        return [(id, msgspec.json.decode(outcome, type=Outcome)) for id, outcome in lines]

    def evidence(self, timeout: float) -> Evidence:
        """Everything that is known at the end of a campaign; ``timeout`` in seconds for all outcomes."""
        acknowledged = self.acknowledged()
        final = self.outcomes(acknowledged, timeout)
        return Evidence(acknowledged, self.runs(), self.seen(), final)

    def outcomes(self, ids: list[str], timeout: float) -> dict[str, Outcome]:
        """What a new process learns of tasks by nothing but their ids."""
        file = self._write(self._name("question"), Question(url=self.url, ids=ids, timeout=timeout))
        done = subprocess.run(
            [sys.executable, "-m", "tests.chaos.outcomes", file],
            env=self._environment(),
            stdout=subprocess.PIPE,
            check=True,
            timeout=timeout + _START,
        )
        return msgspec.json.decode(done.stdout, type=dict[str, Outcome])

    def log(self, name: str) -> str:
        path = self.folder / f"{name}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def processes(self) -> list[psutil.Process]:
        """All that run now."""
        return [one for process in list(self._started) if process.poll() is None for one in tree(process)]

    # ── processes ────────────────────────────────────────────────────────────────────────────

    def _name(self, kind: str) -> str:
        self._counter += 1
        return f"{kind}-{self._counter}"

    def _write(self, name: str, options: msgspec.Struct) -> str:
        path = self.folder / f"{name}.json"
        path.write_bytes(msgspec.json.encode(options))
        return str(path)

    def _start(self, name: str, *arguments: str, input: str = "") -> "subprocess.Popen[bytes]":
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, *arguments],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=ROOT,
                env=self._environment() | self._route(name),
            )
        assert process.stdin is not None
        process.stdin.write(input.encode())
        process.stdin.close()
        self._started.append(process)
        self._names[process.pid] = name
        return process

    def _route(self, name: str) -> dict[str, str]:
        """The key, for a process that is to go by TCP."""
        number = name.rpartition("-")[2]
        return {"NBQUEUE_KEY": self._key} if number.isdigit() and int(number) % 2 else {}

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": str(ROOT)}


def _free_port() -> int:
    """One below those that the system gives to outgoing connections: it must be free again and again."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


@contextlib.contextmanager
def frozen(processes: list[psutil.Process]) -> Iterator[None]:
    """SIGSTOP, and SIGCONT at the end."""
    send_signal(processes, signal.SIGSTOP)
    try:
        yield
    finally:
        send_signal(processes, signal.SIGCONT)
