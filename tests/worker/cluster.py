"""A broker in memory, an executor in a thread, and a client that speaks the protocol by hand."""

import itertools
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from nbqueue import messages as m
from nbqueue.transports import transport
from nbqueue.transports.base import Link
from nbqueue.wire import payload
from nbqueue.wire.payload import Definer, TaskOptions
from nbqueue.worker.executor import Executor
from nbqueue.worker.registry import RegisteredTask

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
_numbers = itertools.count(1)


class Client:
    """Submits tasks and collects whatever is said about them."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.messages: list[Any] = []
        self.outcomes: dict[str, m.Outcome] = {}
        link.send([m.Hello(m.CLIENT, f"client{next(_numbers)}")])

    def submit(
        self, function: Callable[..., Any], *args: Any, options: dict[str, Any] | None = None, **task: Any
    ) -> str:
        """Submit one call; ``options`` are its TaskOptions, ``task`` fields of the message."""
        (id,) = self.submit_many(function, [args], options=options, **task)
        return id

    def submit_many(
        self,
        function: Callable[..., Any],
        calls: list[tuple[Any, ...]],
        options: dict[str, Any] | None = None,
        **task: Any,
    ) -> list[str]:
        shipment = Definer(function, TaskOptions(name=function.__name__, **(options or {}))).shipment()
        fields = {"captured": shipment.captured, "python": shipment.python, **task}
        tasks = [
            m.Task(
                f"id{next(_numbers)}",
                function.__name__,
                shipment.definition.key,
                payload.dumps_arguments(args, {}),
                **fields,
            )
            for args in calls
        ]
        self.link.send([m.Define(shipment.definition.key, shipment.definition.data)])
        for i in range(0, len(tasks), m.MAX_BATCH):
            self.link.send([m.Submit(tasks[i : i + m.MAX_BATCH])])
        return [task.id for task in tasks]

    def wait(self, condition: Callable[[], Any], timeout: float = 10.0) -> Any:
        """Take in messages until the condition holds; returns what it returned."""
        deadline = time.monotonic() + timeout
        while not (found := condition()):
            left = deadline - time.monotonic()
            assert left > 0, f"not in time; heard of {self.messages}"
            self.take_in(min(left, 0.05))
        return found

    def take_in(self, timeout: float) -> None:
        """Take in what is there, or comes within the time."""
        for message in self.link.receive(timeout):
            self._take_in(message)

    def _take_in(self, message: Any) -> None:
        self.messages.append(message)
        if isinstance(message, m.Settle):
            self.outcomes.update({outcome.id: outcome for outcome in message.outcomes})

    def heard(self, kind: type, id: str) -> list[Any]:
        return [message for message in self.messages if isinstance(message, kind) and message.id == id]

    def wait_for(self, kind: type, id: str, timeout: float = 10.0) -> Any:
        return self.wait(lambda: self.heard(kind, id), timeout)[-1]

    def outcome(self, id: str, timeout: float = 10.0) -> m.Outcome:
        return self.wait(lambda: self.outcomes.get(id), timeout)

    def value(self, id: str, timeout: float = 10.0) -> Any:
        outcome = self.outcome(id, timeout)
        assert outcome.state == "SUCCESS", outcome.failure
        return payload.loads(outcome.value)

    def output(self, id: str) -> str:
        pieces = {(piece.token, piece.seq): piece.text for piece in self.heard(m.Output, id)}
        return "".join(pieces[key] for key in sorted(pieces))

    def ask(self, topic: str, **args: Any) -> Any:
        number = next(_numbers)
        self.link.send([m.Ask(number, topic, args)])
        return self.wait(
            lambda: [a for a in self.messages if isinstance(a, m.Answer) and a.number == number]
        )[0].data


def new_url() -> str:
    return f"memory://worker-tests-{next(_numbers)}"


@contextmanager
def executor(url: str, tasks: list[RegisteredTask] | None = None) -> Iterator[Executor]:
    """An executor in a thread, stopped at the end."""
    number = next(_numbers)
    identity = m.Hello(
        m.EXECUTOR,
        f"executor{number}",
        worker=f"worker{number}",
        name="w@test",
        python=PYTHON,
        queues=["default"],
        registered=[task.name for task in tasks or []],
    )
    supervisor = transport(url).connect()
    supervisor.send([msgspec.structs.replace(identity, role=m.WORKER, id=identity.worker)])
    made = Executor(transport(url), identity, tasks=tasks or [])
    thread = threading.Thread(target=made.run, name="executor")
    thread.start()
    try:
        yield made
    finally:
        made.stop()
        thread.join(10.0)
        supervisor.close()
        assert not thread.is_alive(), "the executor did not stop"
