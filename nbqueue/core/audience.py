"""Who is told of a task: the clients that submitted it, or asked for it since.

A record names its watchers by the ids of clients, so that one who reconnects is told on; whoever is
not connected is stepped over, and gets the whole story when he asks for the record again.

A client that does not read as fast as tasks report must not fill the broker.  The driver says when what
it keeps for a peer has grown (:meth:`Audience.behind`); from then on the broker only notes of which tasks
there is news, and tells these stories, a few at a time, when the peer has caught up::

    news of a task ─▶ reads? ──yes──▶ sent at once
                        │ no
                        └─▶ owed ──(caught up)──▶ story ──▶ sent, STORY_BYTES a turn
"""

from collections import deque
from collections.abc import Set
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from nbqueue import messages as m
from nbqueue.core.actions import Peer
from nbqueue.core.outbox import Outbox
from nbqueue.core.permissions import LOCAL, VIEWER, Key
from nbqueue.core.records import Record, Sender
from nbqueue.core.store import Records
from nbqueue.states import RETRY

#: bytes of stories told to one client in a turn
STORY_BYTES: Final = 8 * 2**20
#: questions of one client that wait for an answer
MAX_QUESTIONS: Final = 10_000


@dataclass(eq=False)
class ClientSession:
    """A client that is connected now."""

    hello: m.Hello
    peer: Peer
    seen: float
    #: that it came by
    key: Key = LOCAL
    #: not heard of for a lease
    silent: bool = False
    #: tasks whose story it is to be told
    owed: dict[str, None] = field(default_factory=dict)
    #: to be answered after that: an answer proves that what was asked for before has been told
    questions: deque[m.Ask] = field(default_factory=deque)
    #: tasks that were not taken from it: those that wait for a blob, with its key, and the refused ones, with
    #: the reason
    missing: dict[str, str] = field(default_factory=dict)
    rejected: dict[str, str] = field(default_factory=dict)
    #: bytes of stories that it may be told in this turn
    allowance: int = field(default_factory=lambda: STORY_BYTES)

    @property
    def id(self) -> str:
        return self.hello.id

    @cached_property
    def sender(self) -> Sender:
        return Sender(self.id, self.key.name if self.key.only_own else "", self.hello.notebook)


class Audience:
    """The connected clients, by id."""

    def __init__(self, outbox: Outbox) -> None:
        self.clients: dict[str, ClientSession] = {}
        self._outbox = outbox
        #: peers that do not read
        self._behind: Set[Peer] = frozenset()
        #: clients that are owed something
        self._owing: dict[ClientSession, None] = {}

    # ── who reads ────────────────────────────────────────────────────────────────────────────

    def behind(self, peers: Set[Peer]) -> None:
        """These peers do not read as fast as they are sent to; all the others do."""
        self._behind = peers

    def listens(self, client: ClientSession) -> bool:
        """Whether it is told of things as they happen."""
        return not client.owed and not client.questions and client.peer not in self._behind

    def reads(self, client: ClientSession) -> bool:
        """Whether it takes what it is sent."""
        return client.peer not in self._behind

    def waits_for(self, record: Record) -> bool:
        """Whether a client that is there is still to be told of a record; viewers, who change nothing, are
        not waited for: what is gone by the time they read is not found."""
        id = record.task.id
        return any(
            id in client.owed and not client.silent and client.key.role != VIEWER
            for watcher in record.watchers
            if (client := self.clients.get(watcher)) is not None
        )

    def gone(self, client: ClientSession) -> None:
        """A client left, or said hello again and will ask for what it missed."""
        self._owing.pop(client, None)
        if self.clients.get(client.hello.id) is client:
            del self.clients[client.hello.id]

    # ── news ─────────────────────────────────────────────────────────────────────────────────

    def tell(self, record: Record, message: m.AnyMessage) -> None:
        """Something happened to a task."""
        for id in record.watchers:
            if (client := self.clients.get(id)) is not None:
                if client.owed or client.peer in self._behind:
                    self._owe(client, record.task.id)
                else:
                    self._outbox.send(client.peer, message)

    def tell_outcome(self, record: Record, outcome: m.Outcome) -> None:
        """A task is done; outcomes of one turn go to a client as one message."""
        for id in record.watchers:
            if (client := self.clients.get(id)) is not None:
                if client.owed or client.peer in self._behind:
                    self._owe(client, record.task.id)
                else:
                    self._outbox.settled(client.peer, outcome)

    def join(self, record: Record, id: str) -> None:
        """Tell this client of the record from now on, and what was so far."""
        # those who went away ask again when they come back
        record.watchers = (*(w for w in record.watchers if w in self.clients and w != id), id)
        if (client := self.clients.get(id)) is not None:
            if self.listens(client) and client.allowance > 0:
                self._tell_story(client, record)
            else:
                self._owe(client, record.task.id)

    def leave(self, record: Record, id: str) -> None:
        record.watchers = tuple(watcher for watcher in record.watchers if watcher != id)
        if (client := self.clients.get(id)) is not None:
            client.owed.pop(record.task.id, None)

    # ── what is owed ─────────────────────────────────────────────────────────────────────────

    def _owe(self, client: ClientSession, id: str) -> None:
        client.owed[id] = None
        self._owing[client] = None

    def put_off(self, client: ClientSession, question: m.Ask) -> bool:
        """Answer after what is owed has been told; False if too many questions wait already."""
        if len(client.questions) >= MAX_QUESTIONS:
            return False
        client.questions.append(question)
        self._owing[client] = None
        return True

    @property
    def has_more_to_tell(self) -> bool:
        """Whether :meth:`tell_on` is to be called, as soon as what was told so far is on its way."""
        return any(client.peer not in self._behind for client in self._owing)

    def tell_on(self, records: Records) -> list[tuple[ClientSession, m.Ask]]:
        """Tell a part of what is owed to those who read; returns questions that are to be answered now."""
        questions: list[tuple[ClientSession, m.Ask]] = []
        for client in [client for client in self._owing if client.peer not in self._behind]:
            client.allowance = STORY_BYTES
            self._tell_on(client, records)
            if not client.owed:
                questions += [(client, question) for question in client.questions]
                client.questions.clear()
                del self._owing[client]
        return questions

    def _tell_on(self, client: ClientSession, records: Records) -> None:
        absent = []
        while client.owed and client.allowance > 0:
            id = next(iter(client.owed))
            del client.owed[id]
            if (record := records.get(id)) is not None:
                self._tell_story(client, record)
            else:
                absent.append(id)
        if absent:
            self._outbox.send(client.peer, m.NotFound(absent))

    def _tell_story(self, client: ClientSession, record: Record) -> None:
        client.allowance -= record.size
        for message in story(record):
            self._outbox.send(client.peer, message)


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
    return m.Started(record.task.id, record.token, record.worker, record.started_at or 0.0, record.pid)
