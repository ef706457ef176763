"""Events of everything that happens, for whoever listens: Celery's names and fields.

Nothing is made while nobody listens.  A listener that does not read as fast as things happen keeps the
newest ``KEPT``; how many it lost is said with the next ones that it gets::

    what happens ─▶ Listener.waiting (bounded) ─▶ Events, at the end of the turn, unless the peer is behind
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator
from typing import Any, Final

from nbqueue.core.audience import Audience, ClientSession
from nbqueue.core.executors import ExecutorState, WorkerState
from nbqueue.core.outbox import Outbox
from nbqueue.core.records import Record
from nbqueue.messages import Events, Failure, Outcome
from nbqueue.states import FAILURE, REVOKED, SUCCESS

#: events that wait for a listener, and that go into one message
KEPT: Final = 10_000
BATCH: Final = 500
#: characters of a traceback
TRACEBACK: Final = 4000

_ENDS: Final = {SUCCESS: "task-succeeded", FAILURE: "task-failed", REVOKED: "task-revoked"}


class Listener:
    """What one client is to be told."""

    def __init__(self, client: ClientSession, types: frozenset[str] | None) -> None:
        self.client = client
        #: None: all
        self.types = types
        self.waiting: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self.lost = 0

    def tell(self, event: dict[str, Any]) -> None:
        if self.types is None or event["type"] in self.types:
            self.lost += len(self.waiting) == KEPT
            self.waiting.append(event)

    def take(self) -> Iterator[Events]:
        """Everything that waits, as messages."""
        while self.waiting:
            batch = [self.waiting.popleft() for _ in range(min(BATCH, len(self.waiting)))]
            lost, self.lost = self.lost, 0
            yield Events(batch, lost)


class Teller(ABC):
    """Makes events of what happens.  ``epoch`` added to a time gives Unix time."""

    def __init__(self, epoch: float) -> None:
        #: whether anybody listens: to be asked before anything is said
        self.on = False
        self._epoch = epoch

    @abstractmethod
    def tell(self, event: dict[str, Any]) -> None:
        """Pass an event on to whoever listens."""

    def _tell(self, type: str, now: float, **fields: Any) -> None:
        self.tell({"type": type, "timestamp": now + self._epoch, **fields})

    # ── tasks ────────────────────────────────────────────────────────────────────────────────

    def sent(self, record: Record, now: float) -> None:
        task = record.task
        self._tell(
            "task-sent", now, uuid=task.id, name=task.name, queue=task.queue, routing_key=task.queue,
            root_id=task.root_id or task.id, parent_id=task.parent_id or None, retries=0,
            eta=now + task.countdown + self._epoch if task.countdown > 0 else None,
        )  # fmt: skip

    def received(self, record: Record, executor: ExecutorState, now: float) -> None:
        """An executor was given it."""
        self._of_run("task-received", record, executor, now, retries=record.retries, queue=record.task.queue)

    def started(self, record: Record, executor: ExecutorState, at: float) -> None:
        self._of_run("task-started", record, executor, at)

    def retried(self, record: Record, executor: ExecutorState, now: float) -> None:
        words = _of_failure(record.failure)
        self._of_run("task-retried", record, executor, now, retries=record.retries, **words)

    def rejected(self, record: Record, executor: ExecutorState, now: float) -> None:
        """It goes back to the queue of its own will."""
        self._of_run("task-rejected", record, executor, now, requeue=True)

    def ended(self, record: Record, outcome: Outcome, executor: ExecutorState | None, now: float) -> None:
        """A task has its outcome; ``executor`` had it, if one did."""
        if executor is None:
            fields = _of_end(record, outcome)
            self._tell(_ENDS[outcome.state], now, uuid=record.task.id, name=record.task.name, **fields)
            return
        if record.started_at is None and outcome.worker:  # it was too short to say so itself
            self.started(record, executor, now - outcome.runtime)
        self._of_run(_ENDS[outcome.state], record, executor, now, **_of_end(record, outcome))

    def _of_run(self, type: str, record: Record, executor: ExecutorState, at: float, **fields: Any) -> None:
        if executor.worker.tells_events:
            self._tell(
                type, at, uuid=record.task.id, name=record.task.name, hostname=executor.worker.name,
                pid=executor.pid, **fields,
            )  # fmt: skip

    # ── workers ──────────────────────────────────────────────────────────────────────────────

    def worker(self, type: str, worker: WorkerState, now: float, freq: float) -> None:
        """``worker-online``, ``worker-heartbeat``, ``worker-offline``; ``freq`` in seconds."""
        executors = worker.executors.values()
        self._tell(
            type, now, hostname=worker.name, pid=worker.pid, freq=freq, sw_ident="nbqueue",
            sw_ver=worker.hello.version if worker.hello is not None else "",
            active=sum(1 for executor in executors if executor.held),
            processed=sum(worker.total.values()), loadavg=worker.load,
        )  # fmt: skip


class Feed(Teller):
    """Tells the clients of a broker."""

    def __init__(self, audience: Audience, outbox: Outbox, epoch: float) -> None:
        super().__init__(epoch)
        self._listeners: dict[str, Listener] = {}
        self._audience = audience
        self._outbox = outbox

    # ── who listens ──────────────────────────────────────────────────────────────────────────

    def listen(self, client: ClientSession, types: list[str] | None) -> None:
        """Tell a client of these from now on, and of no others; of none if the list is empty."""
        if types is None or types:
            self._listeners[client.id] = Listener(client, None if types is None else frozenset(types))
        else:
            self._listeners.pop(client.id, None)
        self.on = bool(self._listeners)

    def gone(self, client: ClientSession) -> None:
        """A client left, or came back as another peer and will say again what it wants."""
        known = self._listeners.get(client.id)
        if known is not None and known.client is client:
            self.listen(client, [])

    def flush(self) -> None:
        """Tell those who read what has happened."""
        for listener in self._listeners.values():
            if listener.waiting and self._audience.reads(listener.client):
                for message in listener.take():
                    self._outbox.send(listener.client.peer, message)

    @property
    def has_more_to_tell(self) -> bool:
        """Whether :meth:`flush` would tell something."""
        return self.on and any(
            listener.waiting and self._audience.reads(listener.client)
            for listener in self._listeners.values()
        )

    def tell(self, event: dict[str, Any]) -> None:
        for listener in self._listeners.values():
            listener.tell(event)


def _of_failure(failure: Failure | None) -> dict[str, Any]:
    if failure is None:
        return {}
    return {"exception": f"{failure.type}({failure.message!r})", "traceback": failure.traceback[-TRACEBACK:]}


def _of_end(record: Record, outcome: Outcome) -> dict[str, Any]:
    if outcome.state == SUCCESS:
        return {"runtime": outcome.runtime, "retries": outcome.retries}
    if outcome.state == FAILURE:
        return {"runtime": outcome.runtime, "retries": outcome.retries, **_of_failure(outcome.failure)}
    text = outcome.failure.message if outcome.failure is not None else ""
    return {"terminated": record.started_at is not None, "expired": text.startswith("expired")}
