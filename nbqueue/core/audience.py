"""Who is told of a task: the clients that submitted it, or asked for it since.

A record names its watchers by the ids of clients, so that one who reconnects is told on; whoever is
not connected is stepped over, and gets the whole story when he asks for the record again.
"""

from dataclasses import dataclass

from nbqueue import messages as m
from nbqueue.core.actions import Peer
from nbqueue.core.outbox import Outbox
from nbqueue.core.permissions import LOCAL, Key
from nbqueue.core.records import Record
from nbqueue.states import RETRY


@dataclass
class ClientSession:
    """A client that is connected now."""

    hello: m.Hello
    peer: Peer
    seen: float
    #: that it came by
    key: Key = LOCAL

    @property
    def id(self) -> str:
        return self.hello.id


class Audience:
    """The connected clients, by id."""

    def __init__(self, outbox: Outbox) -> None:
        self.clients: dict[str, ClientSession] = {}
        self._outbox = outbox

    def tell(self, record: Record, message: m.AnyMessage) -> None:
        """Something happened to a task."""
        for id in record.watchers:
            if (client := self.clients.get(id)) is not None:
                self._outbox.send(client.peer, message)

    def tell_outcome(self, record: Record, outcome: m.Outcome) -> None:
        """A task is done; outcomes of one turn go to a client as one message."""
        for id in record.watchers:
            if (client := self.clients.get(id)) is not None:
                self._outbox.settled(client.peer, outcome)

    def join(self, record: Record, id: str) -> None:
        """Tell this client of the record from now on, and what was so far."""
        # those who went away ask again when they come back
        record.watchers = (*(w for w in record.watchers if w in self.clients and w != id), id)
        if (client := self.clients.get(id)) is not None:
            for message in story(record):
                self._outbox.send(client.peer, message)

    def leave(self, record: Record, id: str) -> None:
        record.watchers = tuple(watcher for watcher in record.watchers if watcher != id)


def story(record: Record) -> list[m.AnyMessage]:
    """A record as the messages that a client would have seen of it."""
    task = record.task
    messages: list[m.AnyMessage] = [
        m.Known(task.id, task.name, record.state, task.queue, task.group, record.at)
    ]
    if record.state == RETRY:
        messages.append(m.Retrying(task.id, record.retries, record.failure, record.due))
    if record.started_at is not None:
        messages.append(started(record))
    messages += [event for event in (record.update, record.progress) if event is not None]
    if record.output is not None:
        messages += record.output.pieces
    if record.outcome is not None:
        messages.append(m.Settle([record.outcome]))
    return messages


def started(record: Record) -> m.Started:
    """That a task runs, and where and since when."""
    return m.Started(record.task.id, record.token, record.worker, record.started_at or 0.0)
