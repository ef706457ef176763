"""The broker without its sockets: messages in, actions out.

::

    receive(peer, message, now) ─▶ who says it? ─▶ Tasks ─▶ Dispatcher ─▶ [Send(peer, message), …]
    tick(now)                   ─▶ timers, leases, expiry ─▶ the same

A driver (``nbqueue.broker.daemon``, ``transports.memory``, the simulator) receives, hands to the
core, performs the actions, and calls :meth:`BrokerCore.tick` at :meth:`BrokerCore.next_deadline`.
Time is whatever the driver says; payloads are never looked into.

This file knows who is connected and which of them may say what, by their keys (``core.permissions``).
What becomes of a task stands in ``core.tasks``, who runs it in ``core.dispatch``, who is told of
it in ``core.audience``.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Set
from typing import Any, Final, TypeAlias

from nbqueue import messages as m
from nbqueue.core import inputs, inspect, panel, permissions
from nbqueue.core.actions import Action, Keep, Peer
from nbqueue.core.audience import Audience, ClientSession
from nbqueue.core.blobs import BLOB_BYTES, name_of
from nbqueue.core.deaths import manner_of_death
from nbqueue.core.dispatch import Dispatcher
from nbqueue.core.entries import AnyEntry, Began
from nbqueue.core.executors import ExecutorState, WorkerState
from nbqueue.core.feed import Feed
from nbqueue.core.ledger import Ledger
from nbqueue.core.outbox import Outbox
from nbqueue.core.periodic import Schedules
from nbqueue.core.permissions import LOCAL, Key
from nbqueue.core.records import DONE, LEASED, task_size
from nbqueue.core.recovery import Recovery, standing
from nbqueue.core.settings import BrokerSettings, too_large
from nbqueue.core.tasks import Tasks
from nbqueue.core.timers import ORDER, Timers
from nbqueue.core.validation import flaw

__all__ = ["BrokerCore", "BrokerSettings"]

Session: TypeAlias = ClientSession | WorkerState | ExecutorState
#: takes the peer, its session, its message and the time
Handler: TypeAlias = Callable[[Peer, Any, Any, float], None]

#: the topic whose answer proves that what was said before it has been dealt with
NOTED: Final = "noted"
#: blobs remembered for which there was no room
MAX_UNFIT: Final = 1000
#: tasks remembered that were not taken from a client, for those that were to come after them
MAX_TURNED_AWAY: Final = 100_000


class BrokerCore:
    """See the module's docstring.

    Parameters
    ----------
    boot
        Larger than that of any earlier broker of the same data.
    epoch
        Added to a time, gives Unix time.
    version, host, pid
        What Welcome says of the broker.
    """

    def __init__(
        self,
        settings: BrokerSettings,
        *,
        boot: int,
        epoch: float = 0.0,
        version: str = "",
        host: str = "",
        pid: int = 0,
    ) -> None:
        self.settings = settings
        beat, lease = settings.worker_heartbeat, settings.worker_lease
        self.welcome = m.Welcome(
            boot, version, beat, lease, epoch, host, pid, settings.payload_limit, settings.max_output_bytes
        )
        self.stopped = False
        #: bytes of new tasks for which there is room in what is written down, and why there is no more
        self._room = math.inf
        self._no_room = ""
        #: sizes of blobs for which there was none
        self._unfit: dict[str, int] = {}
        self._outbox = Outbox()
        self._ledger = Ledger()
        self._timers = Timers()
        self._sessions: dict[Peer, Session] = {}
        self.audience = Audience(self._outbox)
        self.feed = Feed(self.audience, self._outbox, epoch)
        self.dispatch = Dispatcher(boot, self._outbox, self._timers, self._ledger, self.feed, epoch)
        self.tasks = Tasks(settings, self.dispatch, self.audience, self._timers, self._outbox, self._ledger)
        self._panel = panel.Panel(
            self.welcome, self.tasks, self.dispatch, self.audience, self._outbox, self._timers
        )
        self.schedules = Schedules(settings, self.tasks, self._ledger, epoch, self._claim_room)
        self._next_check = 0.0
        self._busy_at: float | None = None
        self._began: float | None = None
        self._words = self._who_says_what()

    def _who_says_what(self) -> Mapping[type, Mapping[type, Handler]]:
        return {
            ClientSession: {
                m.Ping: self._on_ping,
                m.Goodbye: self._on_client_goodbye,
                m.Define: self._on_define,
                m.Submit: self._on_submit,
                m.Cancel: self._on_cancel,
                m.Watch: self._on_watch,
                m.Forget: self._on_forget,
                m.Ask: self._on_ask,
                m.Listen: self._on_listen,
                m.Stream: self._on_stream,
                m.Schedule: self._on_schedule,
                m.Unschedule: self._on_unschedule,
            },
            WorkerState: {
                m.Ping: self._on_ping,
                m.Goodbye: self._on_worker_goodbye,
                m.Heartbeat: self._on_heartbeat,
                m.ExecutorLost: self._on_executor_lost,
                m.Reply: self._on_reply,
            },
            ExecutorState: {
                m.Ping: self._on_ping,
                m.Goodbye: self._on_executor_goodbye,
                m.Need: self._on_need,
                m.Started: self._on_report,
                m.Progress: self._on_report,
                m.Update: self._on_report,
                m.Output: self._on_report,
                m.Item: self._on_report,
                m.Settle: self._on_settle,
                m.Retry: self._on_retry,
                m.Replaced: self._on_replaced,
                m.Returned: self._on_returned,
                m.Held: self._on_held,
                m.Consume: self._on_consume,
            },
        }

    # ── the driver's side ────────────────────────────────────────────────────────────────────

    def receive(self, peer: Peer, message: m.AnyMessage, now: float, key: Key = LOCAL) -> list[Action]:
        """Take a message in, and by which key it came; returns what is to be done about it, in order."""
        if self._began is None:
            self._began = now
        session = self._sessions.get(peer)
        if isinstance(message, m.Hello):
            self._on_hello(peer, message, now, key)
        elif session is None or not permissions.stands_for(key, session.key):
            if not isinstance(message, m.Goodbye):
                self._outbox.send(peer, m.Unknown())
        elif (handler := self._words[type(session)].get(type(message))) is not None:
            session.seen = now
            if isinstance(session, ClientSession) and not permissions.may_say(key, message):
                self._refuse(peer, message, permissions.refusal(key))
            else:
                handler(peer, session, message, now)
        else:
            kind = type(message).__name__
            self._outbox.send(peer, m.Refused(f"a broker expects no {kind} of this peer"))
        self.dispatch.serve(now)
        return self._flush()

    def _flush(self) -> list[Action]:
        if self.feed.on:
            self.feed.flush()
        entries, actions = self._ledger.flush(), self._outbox.flush()
        return [Keep(entries), *actions] if entries else actions

    def _refuse(self, peer: Peer, message: m.AnyMessage, reason: str) -> None:
        """Say no, in the words in which the sender waits for an answer."""
        match message:
            case m.Submit(tasks):
                for task in tasks:
                    self._outbox.send(peer, m.Rejected(task.id, reason))
            case m.Ask(number) | m.Schedule(number) | m.Unschedule(number):
                self._outbox.send(peer, m.Answer(number, None, reason))
            case _:
                self._outbox.send(peer, m.Denied(type(message).__name__, reason))

    def tick(self, now: float) -> list[Action]:
        """Do what is due."""
        for timer in self._timers.due(now):
            if timer.kind == ORDER:
                self._panel.time_is_over(timer.id)
            else:
                self.tasks.fire(timer, now)
        self.schedules.fire(now)
        if now >= self._next_check:
            self._next_check = now + self.settings.worker_heartbeat
            self._check_sessions(now)
        self.dispatch.serve(now)
        self.tasks.records.expire(now)
        for client, question in self.audience.tell_on(self.tasks.records):
            self._answer(client, question, now)
        self._panel.go_on(now)
        if self.dispatch.paused:
            self.tasks.make_room(now)
        self.dispatch.rebalance(now)
        self._check_idle(now)
        return self._flush()

    def may_write(self, room: float, trouble: str, *, at_all: bool, now: float) -> None:
        """How much more can be written down, as the driver finds it.

        Parameters
        ----------
        room
            Bytes of new tasks that fit; those that do not are refused, with ``trouble`` as the reason.
        at_all
            False: not even outcomes fit, and so no task is run.
        """
        self._room, self._no_room = room, trouble
        unwritable = "" if at_all else trouble
        if unwritable != self.tasks.unwritable:
            self.tasks.unwritable = unwritable
            self.tasks.make_room(now)

    def _lack_of_room(self, size: int) -> str:
        """Why something of that size cannot be kept, "" if it can."""
        if size <= self._room:
            return ""
        return (
            self._no_room or f"the broker's disk has room for {self._room:,.0f} bytes, and this is {size:,}"
        )

    def _claim_room(self, size: int) -> str:
        """The same; what fits is counted."""
        lack = self._lack_of_room(size)
        if not lack:
            self._room -= size
        return lack

    # ── what was and what will be known ──────────────────────────────────────────────────────

    def recovery(self) -> Recovery:
        """Reads what earlier brokers wrote down; to be finished before anything is received."""
        return Recovery(self.tasks, self.schedules, self.welcome.epoch, self.settings.max_output_bytes)

    @property
    def began(self) -> Began:
        """The first entry that this broker writes."""
        return Began(self.welcome.boot, self.welcome.epoch)

    def standing(self) -> Iterator[list[AnyEntry]]:
        """All that a later broker has to know, in portions that take little time each."""
        return standing(self.tasks, self.schedules, list(self.dispatch.executors.values()), self.began)

    def next_deadline(self) -> float | None:
        """When :meth:`tick` is to be called next, at the latest; None: not before a message comes."""
        times = [
            self._timers.next(),
            self.schedules.next_due(),
            self._next_check if self._sessions else None,
            self.tasks.records.next_expiry(),
            self.dispatch.next_rebalance(),
            self._idle_deadline(),
            0.0
            if self.audience.has_more_to_tell or self._panel.has_more_to_do or self.feed.has_more_to_tell
            else None,
        ]
        return min((t for t in times if t is not None), default=None)

    def behind(self, peers: Set[Peer]) -> None:
        """These peers do not read as fast as they are sent to: they are told no more than they must be,
        until they are named no longer."""
        self.audience.behind(peers)

    def paused(self, duration: float, now: float) -> None:
        """The broker itself did not run for so long: silence in that time says nothing of the others."""
        for client in self.audience.clients.values():
            client.seen += duration
        for worker in self.dispatch.workers.values():
            worker.seen += duration

    def wall_clock(self, epoch: float) -> None:
        """Unix time is no longer the broker's time plus what it was: the machine slept, or its clock was set.
        Calendars go by it; all else goes on by the broker's time."""
        self.schedules.set_epoch(epoch)

    def revoke(self, name: str, reason: str, now: float) -> list[Action]:
        """The key of that name is good no longer: end all who came by it; what they ran goes back."""
        for client in [c for c in self.audience.clients.values() if c.key.name == name]:
            self._outbox.send(client.peer, m.Refused(reason))
            self._client_gone(client)
        for executor in [e for e in self.dispatch.executors.values() if e.key.name == name]:
            for peer in {executor.peer, executor.control}:
                self._outbox.send(peer, m.Refused(reason))
            self._executor_gone(executor, now, reason)
        for worker in [w for w in self.dispatch.workers.values() if w.key.name == name]:
            self._outbox.send(worker.peer, m.Refused(reason))
            self._worker_gone(worker, now, reason, charge=False)
        self.dispatch.serve(now)
        return self._flush()

    def stop(self, reason: str) -> None:
        """End: workers of the local cluster end too, others are told, and look for the next broker."""
        self.stopped = True
        for worker in self.dispatch.workers.values():
            if worker.hello is not None:
                ends = worker.hello.local
                self._outbox.send(worker.peer, m.Shutdown(reason) if ends else m.Goodbye(reason=reason))
        for client in self.audience.clients.values():
            self._outbox.send(client.peer, m.Shutdown(reason))
        self._outbox.stop(reason)

    def _idle_deadline(self) -> float | None:
        if not self.settings.idle_timeout or self._busy_at is None or self.stopped:
            return None
        return self._busy_at + self.settings.idle_timeout

    def _check_idle(self, now: float) -> None:
        if self._busy_at is None or self.tasks.records.unfinished or self.schedules.entries:
            self._busy_at = now
        for client in self.audience.clients.values():
            self._busy_at = max(self._busy_at, min(now, client.seen + self.settings.worker_lease))
        deadline = self._idle_deadline()
        if deadline is not None and now >= deadline:
            self.stop(f"no clients and no work for {self.settings.idle_timeout:g} s")

    # ── coming ───────────────────────────────────────────────────────────────────────────────

    def _on_hello(self, peer: Peer, hello: m.Hello, now: float, key: Key) -> None:
        if objection := self._objection_to(peer, hello, key):
            self._outbox.send(peer, m.Refused(objection))
            return
        self._forget_other(peer, hello, now)
        session: Session
        if hello.role == m.CLIENT:
            session = self._client_hello(peer, hello, now)
        elif hello.role == m.WORKER:
            session = self._worker_hello(peer, hello, now)
        else:
            session = self.dispatch.executor(hello, now, key)
        session.key = key
        self._sessions[peer] = session
        self._outbox.send(peer, self.welcome)
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
        limit = self.settings.max_connections
        is_new = peer not in self._sessions and (relative is None or relative.id != hello.id)
        if is_new and len(self._sessions) >= limit:
            return f"this broker has {limit} connections already, which is its setting max_connections"
        return ""

    def _relative(self, hello: m.Hello) -> Session | None:
        """Who has its id (itself, before it lost its connection), or else is its worker."""
        if hello.role == m.CLIENT:
            return self.audience.clients.get(hello.id)
        if hello.role == m.WORKER:
            return self.dispatch.workers.get(hello.id)
        return self.dispatch.executors.get(hello.id) or self.dispatch.workers.get(hello.worker)

    def _forget_other(self, peer: Peer, hello: m.Hello, now: float) -> None:
        """One connection is one peer: who says another Hello than before is no longer who he was."""
        session = self._sessions.get(peer)
        if session is not None and session is not self._relative(hello):
            self._words[type(session)][m.Goodbye](peer, session, m.Goodbye(unreachable=True), now)

    def _other_protocol(self, hello: m.Hello) -> str:
        return (
            f"the broker is nbqueue {self.welcome.version} (protocol {m.PROTOCOL}), this is nbqueue"
            f" {hello.version} (protocol {hello.protocol}): install the same version on both"
        )

    def _client_hello(self, peer: Peer, hello: m.Hello, now: float) -> ClientSession:
        old = self.audience.clients.get(hello.id)
        if old is not None:
            self._replaced(old.peer, peer)
            self.audience.gone(old)
            self.feed.gone(old)
        self.audience.clients[hello.id] = session = ClientSession(hello, peer, now)
        return session

    def _worker_hello(self, peer: Peer, hello: m.Hello, now: float) -> WorkerState:
        worker = self.dispatch.worker(hello.id, now)
        self._replaced(worker.peer, peer)
        is_new = worker.hello is None
        worker.peer, worker.hello, worker.seen = peer, hello, now
        if is_new and self.feed.on:
            self.feed.worker("worker-online", worker, now, self.settings.worker_heartbeat)
        return worker

    def _replaced(self, old: Peer | None, new: Peer) -> None:
        """A peer has come back by another connection."""
        if old is not None and old != new:
            self._sessions.pop(old, None)

    def _attach(self, executor: ExecutorState, peer: Peer, hello: m.Hello, now: float) -> None:
        """One of an executor's links has said hello, perhaps not for the first time."""
        if hello.role == m.CONTROL:
            old, executor.control = executor.control, peer
            self._replaced(old, peer)
            if old != peer:
                executor.stuck = False
                self.tasks.remind(executor, now)
            return
        old, executor.peer = executor.peer, peer
        self._replaced(old, peer)
        # on the same connection nothing was lost, and what is under way is not in its list yet
        if old != peer:
            self._reconcile(executor, hello.held, now)
        self.dispatch.feed(executor, now)

    def _reconcile(self, executor: ExecutorState, held: list[tuple[str, int]], now: float) -> None:
        """After a new connection: what was on its way to the executor is lost, what it still has is not."""
        tokens = {token for _, token in held}
        for token in [t for t in reversed(list(executor.held)) if t not in tokens]:
            self.tasks.take_back(executor, token, now)
        strange = [
            token
            for id, token in held
            if token not in executor.held and not self.tasks.claim(executor, id, token, now)
        ]
        if strange:
            self._outbox.send(executor.control or executor.peer, m.Drop(strange))
        self.tasks.remind(executor, now)

    def _on_ping(self, peer: Peer, session: Session, message: m.Ping, now: float) -> None:
        self._outbox.send(peer, m.Pong(self.welcome.boot))

    # ── going ────────────────────────────────────────────────────────────────────────────────

    def _on_client_goodbye(self, peer: Peer, client: ClientSession, message: m.Goodbye, now: float) -> None:
        self._client_gone(client)

    def _client_gone(self, client: ClientSession) -> None:
        self._sessions.pop(client.peer, None)
        self.audience.gone(client)
        self.feed.gone(client)

    def _on_worker_goodbye(self, peer: Peer, worker: WorkerState, message: m.Goodbye, now: float) -> None:
        self._sessions.pop(peer, None)
        worker.peer = None
        if not message.unreachable:
            self._worker_gone(worker, now, "its worker was stopped", charge=False)

    def _worker_gone(self, worker: WorkerState, now: float, reason: str, *, charge: bool) -> None:
        """A worker left or was not heard of for a lease: its leases end."""
        self.dispatch.workers.pop(worker.id, None)
        self._panel.gone(worker)
        if worker.peer is not None:
            self._sessions.pop(worker.peer, None)
        for executor in list(worker.executors.values()):
            self._executor_gone(executor, now, reason, charge=charge)
        if self.feed.on and worker.hello is not None:
            self.feed.worker("worker-offline", worker, now, self.settings.worker_heartbeat)

    def _on_executor_goodbye(
        self, peer: Peer, executor: ExecutorState, message: m.Goodbye, now: float
    ) -> None:
        self._sessions.pop(peer, None)
        if peer == executor.control:
            executor.control = None
            return
        self.dispatch.detach(executor)
        if not executor.held:  # else it may come back, or its worker will say how it died
            self._executor_gone(executor, now, "it left")

    def _on_executor_lost(self, peer: Peer, worker: WorkerState, message: m.ExecutorLost, now: float) -> None:
        executor = worker.executors.get(message.executor)
        if executor is not None:
            if message.token:
                self.tasks.spare(executor, message.token, now)
            for token in (message.token, *message.others):
                self.tasks.died(executor, token, message, now)
            self._executor_gone(executor, now, manner_of_death(message))

    def _executor_gone(
        self, executor: ExecutorState, now: float, reason: str, *, charge: bool = False
    ) -> None:
        for peer in (executor.peer, executor.control):
            if peer is not None:
                self._sessions.pop(peer, None)
        self.tasks.abandoned(executor, reason, now, charge=charge)

    def _on_heartbeat(self, peer: Peer, worker: WorkerState, message: m.Heartbeat, now: float) -> None:
        worker.load = message.load
        if self.feed.on:
            self.feed.worker("worker-heartbeat", worker, now, self.settings.worker_heartbeat)
        for executor in list(worker.executors.values()):
            # one that its worker does not know of died while we were not told: make sure, then let it go
            if executor.id not in message.executors:
                if executor.peer is None:
                    self._executor_gone(executor, now, "its process is gone")
                self._outbox.send(executor.peer, m.Pong(self.welcome.boot))

    def _on_reply(self, peer: Peer, worker: WorkerState, message: m.Reply, now: float) -> None:
        self._panel.replied(worker, message)

    def _check_sessions(self, now: float) -> None:
        lease = self.settings.worker_lease
        for client in self.audience.clients.values():
            client.silent = client.seen < now - lease
            if client.silent:
                # silent, perhaps for a large message on its way: if the connection is gone, this shows it
                self._outbox.send(client.peer, m.Pong(self.welcome.boot))
        for worker in [w for w in self.dispatch.workers.values() if w.seen < now - lease]:
            reason = f"worker {worker.name} was not heard of for {lease:g} s"
            self._worker_gone(worker, now, reason, charge=True)
        self.tasks.prune(now)

    # ── what clients say ─────────────────────────────────────────────────────────────────────

    def _on_define(self, peer: Peer, client: ClientSession, message: m.Define, now: float) -> None:
        limit = self.settings.payload_limit
        if len(message.blob) > limit:
            self._outbox.send(peer, m.Refused(too_large("a function", len(message.blob), limit)))
            return
        if client.key.only_own:
            if message.key != name_of(message.blob):  # would be taken for a definition of others
                self._outbox.send(peer, m.Refused(f"the blob is not what its name {message.key!r} says"))
                return
            if not self._runs_any(client.key):  # the Submit that follows is told why
                return
        size = len(message.blob) + BLOB_BYTES
        if self._lack_of_room(size):  # the Submit that follows is told
            if len(self._unfit) > MAX_UNFIT:
                self._unfit.clear()
            self._unfit[message.key] = size
        elif self.tasks.define(message):
            self._room -= size

    def _runs_any(self, key: Key) -> bool:
        """Whether an executor of that key runs something."""
        return any(executor.held and executor.key == key for executor in self.dispatch.executors.values())

    def _runs(self, key: Key, id: str) -> bool:
        """Whether an executor of that key holds a lease on the task."""
        record = self.tasks.records.get(id)
        if record is None or record.place != LEASED:
            return False
        executor = self.dispatch.executors.get(record.executor)
        return executor is not None and executor.key == key

    def _others(self, client: ClientSession, ids: list[str]) -> bool:
        """Whether some of these tasks are not the client's to deal with."""
        if not client.key.only_own:
            return False
        found = (self.tasks.records.get(id) for id in ids)
        return any(r is not None and not permissions.sees(client.key, r.sender.owner) for r in found)

    def _on_submit(self, peer: Peer, client: ClientSession, message: m.Submit, now: float) -> None:
        accepted: list[str] = []
        missing: dict[str, list[str]] = {}
        for task in message.tasks:
            is_new = self.tasks.records.get(task.id) is None
            reason = self._foreign(task, client.key) if client.key.only_own else ""
            if is_new:
                size = task_size(task)
                reason = reason or flaw(task) or self._lack_of_room(size) or self.tasks.refusal(task)
            key = self.tasks.lacking(task) if is_new else ""
            if key and not reason:
                reason = self._lack_of_room(self._unfit.get(key, 0))
            if task.step is not None and is_new and not reason:
                key, reason = self._turned_away(task.step, client, key)
            if reason:
                self._outbox.send(peer, m.Rejected(task.id, reason))
                _remember(client.rejected, task.id, reason)
            elif key:
                missing.setdefault(key, []).append(task.id)
                _remember(client.missing, task.id, key)
            else:
                if client.missing:
                    client.missing.pop(task.id, None)
                self._room -= size if is_new else 0
                self.tasks.accept(task, client.sender, now)
                accepted.append(task.id)
        for key, ids in missing.items():
            self._outbox.send(peer, m.Missing(key, ids))
        self._outbox.accepted(peer, accepted)

    def _turned_away(self, step: m.Step, client: ClientSession, key: str) -> tuple[str, str]:
        """The blob that a task before it waits for (or ``key``), and why one was refused; "" for none."""
        if not (client.missing or client.rejected):
            return key, ""
        for id in step.after:
            if self.tasks.records.get(id) is None:
                if id in client.rejected:
                    return "", f"task {id}, which it comes after, was refused: {client.rejected[id]}"
                key = key or client.missing.get(id, "")
        return key, ""

    def _foreign(self, task: m.Task, key: Key) -> str:
        """Why a task is not one that a worker's key may submit, "" if it is."""
        known = self.tasks.records.get(task.id)
        if known is not None:
            return "" if permissions.sees(key, known.sender.owner) else permissions.refusal(key)
        if not self._runs(key, task.parent_id):
            return permissions.refusal(key)
        before = task.step.after if task.step is not None else ()
        return "" if all(self._may_follow(key, id) for id in before) else permissions.refusal(key)

    def _may_follow(self, key: Key, id: str) -> bool:
        """Whether a worker's key may have something come after a task: it submitted that, or runs it."""
        record = self.tasks.records.get(id)
        return record is None or permissions.sees(key, record.sender.owner) or self._runs(key, id)

    def _on_cancel(self, peer: Peer, client: ClientSession, message: m.Cancel, now: float) -> None:
        if self._others(client, message.ids):
            self._refuse(peer, message, permissions.refusal(client.key))
            return
        for id in message.ids:
            self.tasks.cancel(id, now, terminate=message.terminate)

    def _on_watch(self, peer: Peer, client: ClientSession, message: m.Watch, now: float) -> None:
        absent = []
        for id in message.ids:
            record = self.tasks.records.get(id)
            if record is None or record.unwanted or not permissions.sees(client.key, record.sender.owner):
                absent.append(id)
            else:
                self.audience.join(record, client.hello.id)
        if absent:
            self._outbox.send(peer, m.NotFound(absent))

    def _on_stream(self, peer: Peer, client: ClientSession, message: m.Stream, now: float) -> None:
        if self._others(client, [message.id]):
            self._refuse(peer, message, permissions.refusal(client.key))
        else:
            self.tasks.stream(client.id, message, now)

    def _on_forget(self, peer: Peer, client: ClientSession, message: m.Forget, now: float) -> None:
        if self._others(client, message.ids):
            self._refuse(peer, message, permissions.refusal(client.key))
            return
        for id in message.ids:
            record = self.tasks.records.get(id)
            if record is not None and record.place == DONE:
                self.tasks.steps.forget(record)
            elif record is not None:
                self.audience.leave(record, client.hello.id)
        if self.dispatch.paused:
            self.tasks.make_room(now)

    def _on_schedule(self, peer: Peer, client: ClientSession, message: m.Schedule, now: float) -> None:
        objection = self.schedules.register(
            message.app, message.entries, client.sender, now, complete=message.complete
        )
        if objection:
            self._refuse(peer, message, objection)
        else:
            self._outbox.send(peer, m.Noted(message.number))

    def _on_unschedule(self, peer: Peer, client: ClientSession, message: m.Unschedule, now: float) -> None:
        self.schedules.remove(message.app, dict.fromkeys(message.names))
        self._outbox.send(peer, m.Noted(message.number))

    def _on_listen(self, peer: Peer, client: ClientSession, message: m.Listen, now: float) -> None:
        self.feed.listen(client, message.types)

    def _on_ask(self, peer: Peer, client: ClientSession, message: m.Ask, now: float) -> None:
        if self.audience.listens(client):
            self._answer(client, message, now)
        elif not self.audience.put_off(client, message):
            error = "too many questions wait until what was asked for before has been read"
            self._outbox.send(peer, m.Answer(message.number, None, error))

    def _answer(self, client: ClientSession, message: m.Ask, now: float) -> None:
        peer = client.peer
        if message.topic == NOTED:
            self._outbox.send(peer, m.Noted(message.number))
            return
        if message.topic in (panel.INSPECT, panel.CONTROL, panel.PURGE):
            try:
                self._panel.ask(client, message, now)
            except (TypeError, ValueError, KeyError, OverflowError) as error:
                self._refuse(peer, message, f"{message.topic}: {error}")
            return
        topic = inspect.TOPICS.get(message.topic)
        if topic is None:
            others = ", ".join((*inspect.TOPICS, panel.INSPECT, panel.CONTROL, panel.PURGE))
            self._refuse(peer, message, f"no topic is called {message.topic!r}; there are: {others}")
            return
        if self._others(client, [str(message.args.get("id", ""))]):
            self._refuse(peer, message, permissions.refusal(client.key))
            return
        books = inspect.Books(
            self.welcome,
            self.tasks.records,
            self.dispatch,
            len(self.audience.clients),
            self._began or 0.0,
            self.schedules.entries,
        )
        try:
            data = topic(books, message.args, now)
        except (TypeError, ValueError, OverflowError) as error:
            self._refuse(peer, message, f"{message.topic}: {error}")
            return
        self._outbox.send(peer, m.Answer(message.number, data))
        if message.topic == "stop":
            self.stop("asked to stop")

    # ── what executors say ───────────────────────────────────────────────────────────────────

    def _on_need(self, peer: Peer, executor: ExecutorState, message: m.Need, now: float) -> None:
        if (step := inputs.parsed(message.key)) is not None:
            id, start = step
            portion = self.tasks.steps.portion(id, start) if executor.holds_task(id) else b""
            self._outbox.send(peer, m.Define(message.key, portion))
            return
        allowed = not executor.key.only_own or executor.needs(message.key)
        self._outbox.send(peer, m.Define(message.key, self.tasks.blobs.get(message.key) if allowed else b""))

    def _on_report(self, peer: Peer, executor: ExecutorState, message: Any, now: float) -> None:
        if executor.key.only_own:
            record = executor.held.get(message.token)
            if record is None or record.task.id != message.id:
                return  # not its run, or no longer
        if isinstance(message, m.Started):
            self.tasks.started(message, executor, now)
        elif isinstance(message, m.Progress):
            self.tasks.progressed(message)
        elif isinstance(message, m.Update):
            self.tasks.updated(message)
        elif isinstance(message, m.Item):
            self.tasks.yielded(message)
        else:
            self.tasks.printed(message)

    def _on_settle(self, peer: Peer, executor: ExecutorState, message: m.Settle, now: float) -> None:
        for outcome in message.outcomes:
            self.tasks.ended(outcome, executor, now)
        self._outbox.acknowledge(peer, [outcome.token for outcome in message.outcomes])
        self.dispatch.feed(executor, now)

    def _on_retry(self, peer: Peer, executor: ExecutorState, message: m.Retry, now: float) -> None:
        self.tasks.retried(message, executor, now)
        self._outbox.acknowledge(peer, [message.token])
        self.dispatch.feed(executor, now)

    def _on_replaced(self, peer: Peer, executor: ExecutorState, message: m.Replaced, now: float) -> None:
        self.tasks.replaced(message, executor, now)
        self._outbox.acknowledge(peer, [message.token])
        self.dispatch.feed(executor, now)

    def _on_returned(self, peer: Peer, executor: ExecutorState, message: m.Returned, now: float) -> None:
        for token in reversed(message.tokens):
            self.tasks.take_back(executor, token, now, last=message.rejected)
        self.dispatch.feed(executor, now)

    def _on_consume(self, peer: Peer, executor: ExecutorState, message: m.Consume, now: float) -> None:
        self.dispatch.consume(executor, message.queues)
        self.dispatch.feed(executor, now)

    def _on_held(self, peer: Peer, executor: ExecutorState, message: m.Held, now: float) -> None:
        """Make good what got lost on the way, in either direction."""
        for token in self.dispatch.lost(executor, message):
            self.tasks.take_back(executor, token, now)
        if strange := [token for token in message.tokens if token not in executor.held]:
            self._outbox.send(peer, m.Drop(strange))
            if executor.peer is not None:
                self._outbox.acknowledge(executor.peer, strange)
        self.dispatch.feed(executor, now)


def _remember(turned_away: dict[str, str], id: str, why: str) -> None:
    if len(turned_away) >= MAX_TURNED_AWAY:
        del turned_away[next(iter(turned_away))]
    turned_away[id] = why
