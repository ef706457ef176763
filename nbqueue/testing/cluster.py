"""A broker and its executors as threads of this process."""

import itertools
import os
import sys
import threading
import uuid
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Self

import msgspec

from nbqueue.core.broker import BrokerSettings
from nbqueue.messages import EXECUTOR, WORKER, Goodbye, Heartbeat, Hello, Order, Reply, Unknown
from nbqueue.transports import memory
from nbqueue.transports.base import Link
from nbqueue.worker.executor import Executor
from nbqueue.worker.registry import tasks_in

_numbers = itertools.count(1)


class InProcessCluster:
    """A context manager: ``url`` is that of a broker with so many executors behind it.

    Parameters
    ----------
    executors
        How many tasks it runs at once.
    settings
        Of the broker.
    queues
        That are consumed.
    tasks
        Applications, and tasks, that it has by name, as a worker with ``-A``.
    url
        ``memory://NAME``; one of its own unless given.

    What runs in a thread cannot be killed, so hard time limits do not end their task here.
    """

    def __init__(
        self,
        executors: int = 1,
        *,
        settings: BrokerSettings | None = None,
        queues: tuple[str, ...] = ("default",),
        tags: tuple[str, ...] = (),
        resources: dict[str, float] | None = None,
        tasks: Iterable[object] = (),
        url: str = "",
    ) -> None:
        self.url = url or f"memory://{os.getpid()}-{next(_numbers)}"
        self._broker = memory.broker(self.url, settings)
        self._transport = memory.MemoryTransport(self.url)
        self._worker = uuid.uuid4().hex
        self._offer = {"tags": list(tags), "resources": resources or {}}
        registered = tasks_in(*tasks)
        identity = self._hello(EXECUTOR, queues, [task.name for task in registered])
        self._executors = [
            Executor(self._transport, _named(identity), tasks=registered) for _ in range(executors)
        ]
        self._threads = [
            threading.Thread(target=executor.run, name=f"executor {n}", daemon=True)
            for n, executor in enumerate(self._executors)
        ]
        self._stopping = False
        self._supervisor: Link = self._transport.connect()
        self._threads.append(threading.Thread(target=self._supervise, args=(queues,), daemon=True))

    def _hello(self, role: str, queues: tuple[str, ...], registered: Sequence[str] = ()) -> Hello:
        return Hello(
            role=role,
            id=self._worker,
            worker=self._worker,
            name="in-process",
            pid=os.getpid(),
            python=f"{sys.version_info.major}.{sys.version_info.minor}",
            queues=list(queues),
            registered=list(registered),
            **self._offer,  # type: ignore[arg-type]  # two fields of two types
        )

    def _supervise(self, queues: tuple[str, ...]) -> None:
        """What a worker's supervisor does, for threads that never die: be heard of."""
        link, hello = self._supervisor, self._hello(WORKER, queues)
        link.send([hello])
        while not self._stopping:
            messages = link.receive(self._broker.core.settings.worker_heartbeat)
            if any(isinstance(message, Unknown) for message in messages):
                link.send([hello])
            link.send([_reply(message) for message in messages if isinstance(message, Order)])
            link.send([Heartbeat([])])
        link.send([Goodbye()])
        link.close()

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for executor in self._executors:
            executor.stop()
        self._stopping = True
        self._supervisor.wake()
        for thread in self._threads:
            thread.join(5.0)
        self._broker.stop()


def _reply(order: Order) -> Reply:
    if order.command == "ping":
        return Reply(order.number, {"ok": "pong"})
    return Reply(order.number, error=f"a worker of threads in this process cannot {order.command}")


def _named(identity: Hello) -> Hello:
    """The same with an id of its own."""
    return msgspec.structs.replace(identity, id=uuid.uuid4().hex)
