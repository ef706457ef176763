"""A broker process at one address that can be killed, and peers that speak the protocol by hand."""

import contextlib
import socket
import subprocess
import time
from pathlib import Path
from typing import TypeVar

from nbqueue import messages as m
from nbqueue.transports.base import Link
from nbqueue.transports.zmq import ZmqTransport
from nbqueue.wire import keys
from tests.broker.running import start_broker, until

M = TypeVar("M", bound=m.AnyMessage)


class Peer:
    """A connected peer, which takes up what it is told in its own time."""

    def __init__(self, link: Link, hello: m.Hello) -> None:
        self.link = link
        self._heard: list[m.AnyMessage] = []
        link.send([hello])
        self.hear(m.Welcome)

    def send(self, *messages: m.AnyMessage) -> None:
        self.link.send(messages)

    def all(self, kind: type[M]) -> list[M]:
        """All messages of that kind that have come; they stay."""
        self._heard += self.link.receive(0.05)
        return [message for message in self._heard if isinstance(message, kind)]

    def hear(self, kind: type[M] | tuple[type[M], ...], timeout: float = 20.0) -> M:
        """The next message of that kind; others stay."""
        deadline = time.monotonic() + timeout
        while True:
            for message in self._heard:
                if isinstance(message, kind):
                    self._heard.remove(message)
                    return message
            assert time.monotonic() < deadline, f"no {kind} among {self._heard}"
            self._heard += self.link.receive(0.05)


class Restarted:
    """A broker process at one address, and peers that speak the protocol by hand."""

    def __init__(self, folder: Path, lease: float) -> None:
        self.folder = folder
        self._lease = lease
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._bind = f"127.0.0.1:{free.getsockname()[1]}"
        self._links = contextlib.ExitStack()
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        self._process = start_broker(
            self.folder, self._bind, worker_lease=self._lease, worker_heartbeat=self._lease / 5
        )
        until(lambda: keys.running(self.folder) is not None)

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        assert self._process.stderr is not None
        self._process.stderr.close()

    def restart(self) -> None:
        self.kill()
        self.start()

    def peer(self, hello: m.Hello) -> Peer:
        connection = keys.running(self.folder)
        assert connection is not None
        return Peer(self._links.enter_context(contextlib.closing(ZmqTransport(connection).connect())), hello)

    def client(self) -> Peer:
        return self.peer(m.Hello(m.CLIENT, "client"))

    def executor(self, held: list[tuple[str, int]] | None = None) -> Peer:
        return self.peer(m.Hello(m.EXECUTOR, "e", worker="w", queues=["default"], held=held or []))

    def close(self) -> None:
        self._links.close()
        self.kill()


def why(client: Peer, id: str) -> str:
    client.send(m.Ask(1, "why", {"id": id}))
    return str(client.hear(m.Answer).data["text"])


def state(client: Peer, id: str) -> str:
    client.send(m.Watch([id]))
    return client.hear(m.Known).state


def submit(client: Peer, *ids: str, **fields: object) -> None:
    client.send(m.Define("d", b"definition"))
    client.send(m.Submit([m.Task(id, "f", "d", b"", **fields) for id in ids]))
    assert client.hear(m.Accepted).ids == list(ids)
