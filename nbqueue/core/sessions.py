"""Who is connected: peers say Hello, are heard of, and go.

::

    Hello ─▶ welcome ─▶ heard of, again and again ─▶ Goodbye, or not heard of for a lease
                │                                        │
                └─ an executor's link is new:            └─▶ its leases end, and its tasks go back
                   what it holds and what we think
                   that it holds are reconciled

A peer is a connection, a session is who speaks by it.  Whoever comes back by another connection says so by
its id, and goes on as who it was.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

from nbqueue import messages as m
from nbqueue.core import permissions
from nbqueue.core.actions import Peer
from nbqueue.core.audience import Audience, ClientSession
from nbqueue.core.deaths import manner_of_death
from nbqueue.core.dispatch import Dispatcher
from nbqueue.core.executors import ExecutorState, WorkerState
from nbqueue.core.feed import Feed
from nbqueue.core.outbox import Outbox
from nbqueue.core.panel import Panel
from nbqueue.core.permissions import Key
from nbqueue.core.settings import BrokerSettings
from nbqueue.core.tasks import Tasks

Session: TypeAlias = ClientSession | WorkerState | ExecutorState
#: takes the peer, its session, its message and the time
Handler: TypeAlias = Callable[[Peer, Any, Any, float], None]


class Sessions:
    """See the module's docstring."""

    def __init__(
        self,
        settings: BrokerSettings,
        welcome: m.Welcome,
        tasks: Tasks,
        dispatch: Dispatcher,
        audience: Audience,
        feed: Feed,
        panel: Panel,
        outbox: Outbox,
    ) -> None:
        self.by_peer: dict[Peer, Session] = {}
        self._settings = settings
        self._welcome = welcome
        self._tasks = tasks
        self._dispatch = dispatch
        self._audience = audience
        self._feed = feed
        self._panel = panel
        self._outbox = outbox

    # ── coming ───────────────────────────────────────────────────────────────────────────────

    def hello(self, peer: Peer, hello: m.Hello, now: float, key: Key) -> None:
        if objection := self._objection_to(peer, hello, key):
            self._outbox.send(peer, m.Refused(objection))
            return
        self._forget_other(peer, hello, now)
        session: Session
        if hello.role == m.CLIENT:
            session = self._client(peer, hello, now)
        elif hello.role == m.WORKER:
            session = self._worker(peer, hello, now)
        else:
            session = self._dispatch.executor(hello, now, key)
        session.key = key
        self.by_peer[peer] = session
        self._outbox.send(peer, self._welcome)
        if isinstance(session, ExecutorState):
            self._attach(session, peer, hello, now)

    def _objection_to(self, peer: Peer, hello: m.Hello, key: Key) -> str:
        """Why a peer is not welcome, "" if it is."""
        if hello.protocol != m.PROTOCOL:
            return self._other_protocol(hello)
        if hello.role not in (m.CLIENT, m.WORKER, m.EXECUTOR, m.CONTROL):
            return f"no peer has the role {hello.role!r}"
        if not permissions.may_take(key, hello.role):
            return permissions.refusal(key)
        relative = self._relative(hello)
        if relative is not None and not permissions.stands_for(key, relative.key):
            return f"{relative.id!r} is the id of a peer that came by another key"
        limit = self._settings.max_connections
        is_new = peer not in self.by_peer and (relative is None or relative.id != hello.id)
        if is_new and len(self.by_peer) >= limit:
            return f"this broker has {limit} connections already, which is its setting max_connections"
        return ""

    def _relative(self, hello: m.Hello) -> Session | None:
        """Who has its id (itself, before it lost its connection), or else is its worker."""
        if hello.role == m.CLIENT:
            return self._audience.clients.get(hello.id)
        if hello.role == m.WORKER:
            return self._dispatch.workers.get(hello.id)
        return self._dispatch.executors.get(hello.id) or self._dispatch.workers.get(hello.worker)

    def _forget_other(self, peer: Peer, hello: m.Hello, now: float) -> None:
        """One connection is one peer: who says another Hello than before is no longer who he was."""
        session = self.by_peer.get(peer)
        if session is not None and session is not self._relative(hello):
            self.goodbye(peer, session, m.Goodbye(unreachable=True), now)

    def _other_protocol(self, hello: m.Hello) -> str:
        return (
            f"the broker is nbqueue {self._welcome.version} (protocol {m.PROTOCOL}), this is nbqueue"
            f" {hello.version} (protocol {hello.protocol}): install the same version on both"
        )

    def _client(self, peer: Peer, hello: m.Hello, now: float) -> ClientSession:
        old = self._audience.clients.get(hello.id)
        if old is not None:
            self._moved(old.peer, peer)
            self._audience.gone(old)
            self._feed.gone(old)
        self._audience.clients[hello.id] = session = ClientSession(hello, peer, now)
        return session

    def _worker(self, peer: Peer, hello: m.Hello, now: float) -> WorkerState:
        worker = self._dispatch.worker(hello.id, now)
        self._moved(worker.peer, peer)
        is_new = worker.hello is None
        worker.peer, worker.hello, worker.seen = peer, hello, now
        if is_new and self._feed.on:
            self._feed.worker("worker-online", worker, now, self._settings.worker_heartbeat)
        return worker

    def _moved(self, old: Peer | None, new: Peer) -> None:
        """Who spoke by one connection speaks by another."""
        if old is not None and old != new:
            self.by_peer.pop(old, None)

    def _attach(self, executor: ExecutorState, peer: Peer, hello: m.Hello, now: float) -> None:
        """One of an executor's links has said hello, perhaps not for the first time."""
        if hello.role == m.CONTROL:
            old, executor.control = executor.control, peer
            self._moved(old, peer)
            if old != peer:
                executor.stuck = False
                self._tasks.runs.remind(executor, now)
            return
        old, executor.peer = executor.peer, peer
        self._moved(old, peer)
        # on the same connection nothing was lost, and what is under way is not in its list yet
        if old != peer:
            self._reconcile(executor, hello.held, now)
        self._dispatch.feed(executor, now)

    def _reconcile(self, executor: ExecutorState, held: list[tuple[str, int]], now: float) -> None:
        """After a new connection: what was on its way to the executor is lost, what it still has is not."""
        tokens = {token for _, token in held}
        for token in [t for t in reversed(list(executor.held)) if t not in tokens]:
            self._tasks.take_back(executor, token, now)
        strange = [
            token
            for id, token in held
            if token not in executor.held and not self._tasks.claim(executor, id, token, now)
        ]
        if strange:
            self._outbox.send(executor.control or executor.peer, m.Drop(strange))
        self._tasks.runs.remind(executor, now)

    # ── being there ──────────────────────────────────────────────────────────────────────────

    def ping(self, peer: Peer, session: Session, message: m.Ping, now: float) -> None:
        self._outbox.send(peer, m.Pong(self._welcome.boot))

    def heartbeat(self, peer: Peer, worker: WorkerState, message: m.Heartbeat, now: float) -> None:
        worker.load = message.load
        if self._feed.on:
            self._feed.worker("worker-heartbeat", worker, now, self._settings.worker_heartbeat)
        for executor in list(worker.executors.values()):
            # one that its worker does not know of died while we were not told: make sure, then let it go
            if executor.id not in message.executors:
                if executor.peer is None:
                    self._executor_gone(executor, now, "its process is gone")
                self._outbox.send(executor.peer, m.Pong(self._welcome.boot))

    def check(self, now: float) -> None:
        """Let go whoever was not heard of for a lease; to be called once a heartbeat."""
        lease = self._settings.worker_lease
        for client in self._audience.clients.values():
            client.silent = client.seen < now - lease
            if client.silent:
                # silent, perhaps for a large message on its way: if the connection is gone, this shows it
                self._outbox.send(client.peer, m.Pong(self._welcome.boot))
        for worker in [w for w in self._dispatch.workers.values() if w.seen < now - lease]:
            reason = f"worker {worker.name} was not heard of for {lease:g} s"
            self._worker_gone(worker, now, reason, charge=True)

    def paused(self, duration: float) -> None:
        """For so long nobody could be heard of: that says nothing of them."""
        for client in self._audience.clients.values():
            client.seen += duration
        for worker in self._dispatch.workers.values():
            worker.seen += duration

    # ── going ────────────────────────────────────────────────────────────────────────────────

    def goodbye(self, peer: Peer, session: Session, message: m.Goodbye, now: float) -> None:
        """A peer leaves, or its connection is gone."""
        if isinstance(session, ClientSession):
            self._client_gone(session)
        elif isinstance(session, WorkerState):
            self._worker_leaves(peer, session, message, now)
        else:
            self._executor_leaves(peer, session, now)

    def _client_gone(self, client: ClientSession) -> None:
        self.by_peer.pop(client.peer, None)
        self._audience.gone(client)
        self._feed.gone(client)

    def _worker_leaves(self, peer: Peer, worker: WorkerState, message: m.Goodbye, now: float) -> None:
        self.by_peer.pop(peer, None)
        worker.peer = None
        if not message.unreachable:
            self._worker_gone(worker, now, "its worker was stopped", charge=False)

    def _worker_gone(self, worker: WorkerState, now: float, reason: str, *, charge: bool) -> None:
        """A worker left or was not heard of for a lease: its leases end."""
        self._dispatch.workers.pop(worker.id, None)
        self._panel.gone(worker)
        if worker.peer is not None:
            self.by_peer.pop(worker.peer, None)
        for executor in list(worker.executors.values()):
            self._executor_gone(executor, now, reason, charge=charge)
        if self._feed.on and worker.hello is not None:
            self._feed.worker("worker-offline", worker, now, self._settings.worker_heartbeat)

    def _executor_leaves(self, peer: Peer, executor: ExecutorState, now: float) -> None:
        self.by_peer.pop(peer, None)
        if peer == executor.control:
            executor.control = None
            return
        self._dispatch.detach(executor)
        if not executor.held:  # else it may come back, or its worker will say how it died
            self._executor_gone(executor, now, "it left")

    def executor_lost(self, peer: Peer, worker: WorkerState, message: m.ExecutorLost, now: float) -> None:
        """A worker says that one of its executors has died, and how."""
        executor = worker.executors.get(message.executor)
        if executor is not None:
            if message.token:
                self._tasks.spare(executor, message.token, now)
            for token in (message.token, *message.others):
                self._tasks.died(executor, token, message, now)
            self._executor_gone(executor, now, manner_of_death(message))

    def _executor_gone(
        self, executor: ExecutorState, now: float, reason: str, *, charge: bool = False
    ) -> None:
        for peer in (executor.peer, executor.control):
            if peer is not None:
                self.by_peer.pop(peer, None)
        self._tasks.abandoned(executor, reason, now, charge=charge)

    def revoke(self, name: str, reason: str, now: float) -> None:
        """End all who came by the key of that name; what they ran goes back."""
        for client in [c for c in self._audience.clients.values() if c.key.name == name]:
            self._outbox.send(client.peer, m.Refused(reason))
            self._client_gone(client)
        for executor in [e for e in self._dispatch.executors.values() if e.key.name == name]:
            for peer in {executor.peer, executor.control}:
                self._outbox.send(peer, m.Refused(reason))
            self._executor_gone(executor, now, reason)
        for worker in [w for w in self._dispatch.workers.values() if w.key.name == name]:
            self._outbox.send(worker.peer, m.Refused(reason))
            self._worker_gone(worker, now, reason, charge=False)

    def stop(self, reason: str) -> None:
        """Workers of the local cluster end with the broker; others are told, and look for the next one."""
        for worker in self._dispatch.workers.values():
            if worker.hello is not None:
                ends = worker.hello.local
                self._outbox.send(worker.peer, m.Shutdown(reason) if ends else m.Goodbye(reason=reason))
        for client in self._audience.clients.values():
            self._outbox.send(client.peer, m.Shutdown(reason))
