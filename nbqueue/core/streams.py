"""Items of generator tasks on their way to clients that read them as they are yielded.

::

    client ── Stream(position, upto) ──▶ broker ── Pull ──▶ executor        says how far it may go
    client ◀───────── Item ───────────── broker ◀── Item ── executor

The broker keeps no item: the executor has all that somebody may still ask for, and sends them again when
the client says that some did not arrive.  What is on the way is bounded by the clients' windows.  A client's
wish is good for a lease, and renewed with each of its heartbeats: so a task never waits for one that is gone.
"""

from typing import NamedTuple

from nbqueue import messages as m
from nbqueue.core.audience import Audience
from nbqueue.core.executors import ExecutorState
from nbqueue.core.outbox import Outbox
from nbqueue.core.records import LEASED, Record


class Wish(NamedTuple):
    """What a client wants of a task's items."""

    #: it has all before this one, and can take those before that one
    position: int
    upto: int
    seen: float


class Streams:
    """Who reads the items of which tasks; ``lease`` in seconds."""

    def __init__(self, audience: Audience, outbox: Outbox, lease: float) -> None:
        #: task id → client id → wish
        self.wishes: dict[str, dict[str, Wish]] = {}
        self._audience = audience
        self._outbox = outbox
        self._lease = lease

    def ask(
        self, record: Record, client: str, message: m.Stream, executor: ExecutorState | None, now: float
    ) -> None:
        """A client wants items of an unfinished task; ``upto`` below 0: no more."""
        wishes = self.wishes.setdefault(record.task.id, {})
        if message.upto < 0:
            wishes.pop(client, None)
        else:
            wishes[client] = Wish(message.position, message.upto, now)
        self.pull(record, executor, again=message.again)

    def pull(self, record: Record, executor: ExecutorState | None, *, again: bool = False) -> None:
        """Tell the executor that runs the task how far it may go: as far as the slowest of those who read."""
        wishes = self.wishes.get(record.task.id)
        if wishes is None:
            return
        if executor is not None and record.place == LEASED:
            start = min((wish.position for wish in wishes.values()), default=0)
            upto = min((wish.upto for wish in wishes.values()), default=-1)
            self._outbox.send(executor.control, m.Pull(record.task.id, record.token, start, upto, again))
        if not wishes:
            del self.wishes[record.task.id]

    def item(self, record: Record, message: m.Item) -> None:
        """Pass an item on to those who have not had it."""
        for id, wish in self.wishes.get(record.task.id, {}).items():
            client = self._audience.clients.get(id)
            # one that does not read asks again when it does
            if client is not None and message.position >= wish.position and self._audience.listens(client):
                self._outbox.send(client.peer, message)

    def forget(self, id: str) -> None:
        """The task has its outcome."""
        self.wishes.pop(id, None)

    def prune(self, now: float) -> None:
        """Let go of clients that were not heard of for a lease; the executor does the same by itself."""
        for id, wishes in list(self.wishes.items()):
            for client in [c for c, wish in wishes.items() if wish.seen + self._lease < now]:
                del wishes[client]
            if not wishes:
                del self.wishes[id]
