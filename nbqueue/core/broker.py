"""The broker without its sockets: messages in, actions out.

::

    receive(peer, message, now) ─▶ sessions ─▶ records ─▶ dispatch ─▶ [Send(peer, message), …]
    tick(now)                   ─▶ timers, leases, expiry ─▶ the same

A driver (``nbqueue.broker.daemon``, ``transports.memory``, the simulator) receives, hands to the
core, performs the actions, and calls :meth:`BrokerCore.tick` at :meth:`BrokerCore.next_deadline`.
Time is whatever the driver says; payloads are never looked into.
"""

from dataclasses import dataclass
from typing import Final

from nbqueue import messages as m
from nbqueue.core import inspect, lifecycle, timers
from nbqueue.core.actions import Action, Peer
from nbqueue.core.blobs import Blobs
from nbqueue.core.dispatch import Dispatcher
from nbqueue.core.executors import ExecutorState, WorkerState
from nbqueue.core.outbox import Outbox
from nbqueue.core.output import OutputLog
from nbqueue.core.records import DONE, LEASED, READY, SCHEDULED, Record
from nbqueue.core.store import Records
from nbqueue.states import FAILURE, READY_STATES, REVOKED, SUCCESS

_EVENT_OF: Final = {SUCCESS: lifecycle.SUCCEED, FAILURE: lifecycle.FAIL, REVOKED: lifecycle.REVOKE}


@dataclass(frozen=True, kw_only=True)
class BrokerSettings:
    """What the core needs of ``nbqueue.settings``; times in seconds."""

    worker_heartbeat: float = 2.0
    worker_lease: float = 10.0
    max_task_deaths: int = 3
    max_worker_losses: int = 10
    cancel_grace: float = 3.0
    #: 0: never
    idle_timeout: float = 0.0
    result_expires: float = 86_400.0
    max_result_bytes: int = 2**30
    max_output_bytes: int = 2**20


@dataclass
class ClientSession:
    """A client that is connected now."""

    hello: m.Hello
    peer: Peer
    seen: float


Session = ClientSession | WorkerState | ExecutorState


class BrokerCore:
    """See the module's docstring.  ``boot`` is larger than that of any earlier broker of the same
    data; ``epoch`` added to a time gives Unix time; ``identity`` is what Welcome says of the broker."""

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
        self.records = Records(settings.result_expires, settings.max_result_bytes)
        self.blobs = Blobs()
        self.clients: dict[str, ClientSession] = {}
        beat, lease = settings.worker_heartbeat, settings.worker_lease
        self.welcome = m.Welcome(boot, version, beat, lease, epoch, host, pid)
        self._sessions: dict[Peer, Session] = {}
        self._outbox = Outbox()
        self._timers = timers.Timers()
        self.dispatch = Dispatcher(boot, self._outbox, self._timers)
        self._next_check = 0.0
        self._busy_at: float | None = None
        self._stopped = False
        self._began: float | None = None
        self._handlers = {
            m.Ping: self._on_ping,
            m.Goodbye: self._on_goodbye,
            m.Define: self._on_define,
            m.Submit: self._on_submit,
            m.Cancel: self._on_cancel,
            m.Watch: self._on_watch,
            m.Forget: self._on_forget,
            m.Ask: self._on_ask,
            m.Need: self._on_need,
            m.Settle: self._on_settle,
            m.Retry: self._on_retry,
            m.Started: self._on_started,
            m.Progress: self._on_event,
            m.Update: self._on_event,
            m.Output: self._on_event,
            m.Returned: self._on_returned,
            m.Held: self._on_held,
            m.Heartbeat: self._on_heartbeat,
            m.ExecutorLost: self._on_executor_lost,
        }

    # ── the driver's side ────────────────────────────────────────────────────────────────────

    def receive(self, peer: Peer, message: m.AnyMessage, now: float) -> list[Action]:
        """Take a message in; returns what is to be done about it, in order."""
        if self._began is None:
            self._began = now
        if isinstance(message, m.Hello):
            self._on_hello(peer, message, now)
        elif (session := self._sessions.get(peer)) is None:
            if not isinstance(message, m.Goodbye):
                self._outbox.send(peer, m.Unknown())
        elif (handler := self._handlers.get(type(message))) is not None:
            if not isinstance(session, ExecutorState):
                session.seen = now
            handler(peer, session, message, now)  # type: ignore[operator]  # each takes its own message
        else:
            self._outbox.send(peer, m.Refused(f"{type(message).__name__} is not for a broker"))
        return self._outbox.flush()

    def tick(self, now: float) -> list[Action]:
        """Do what is due."""
        for timer in self._timers.due(now):
            self._fire(timer, now)
        if now >= self._next_check:
            self._next_check = now + self.settings.worker_heartbeat
            self._check_sessions(now)
        self.records.expire(now)
        self.dispatch.rebalance(now)
        self._check_idle(now)
        return self._outbox.flush()

    def next_deadline(self) -> float | None:
        """When :meth:`tick` is to be called next, at the latest; None: not before a message comes."""
        times = [
            self._timers.next(),
            self._next_check if self._sessions else None,
            self.records.next_expiry(),
            self.dispatch.next_rebalance(),
            self._idle_deadline(),
        ]
        return min((t for t in times if t is not None), default=None)

    def paused(self, duration: float, now: float) -> None:
        """The broker itself did not run for so long: silence in that time says nothing of the others."""
        for client in self.clients.values():
            client.seen += duration
        for worker in self.dispatch.workers.values():
            worker.seen += duration

    # ── sessions ─────────────────────────────────────────────────────────────────────────────

    def _on_hello(self, peer: Peer, hello: m.Hello, now: float) -> None:
        if hello.protocol != m.PROTOCOL:
            self._outbox.send(peer, m.Refused(self._other_protocol(hello)))
            return
        session: Session
        if hello.role == m.CLIENT:
            session = self._client_hello(peer, hello, now)
        elif hello.role == m.WORKER:
            session = self._worker_hello(peer, hello, now)
        elif hello.role in (m.EXECUTOR, m.CONTROL):
            session = self.dispatch.executor(hello, now)
        else:
            self._outbox.send(peer, m.Refused(f"no peer has the role {hello.role!r}"))
            return
        self._sessions[peer] = session
        self._outbox.send(peer, self.welcome)
        if isinstance(session, ExecutorState):
            self._attach(session, peer, hello, now)

    def _other_protocol(self, hello: m.Hello) -> str:
        return (
            f"the broker is nbqueue {self.welcome.version} (protocol {m.PROTOCOL}), this is nbqueue"
            f" {hello.version} (protocol {hello.protocol}): install the same version on both"
        )

    def _client_hello(self, peer: Peer, hello: m.Hello, now: float) -> ClientSession:
        old = self.clients.get(hello.id)
        if old is not None and old.peer != peer:
            self._sessions.pop(old.peer, None)
        self.clients[hello.id] = session = ClientSession(hello, peer, now)
        return session

    def _worker_hello(self, peer: Peer, hello: m.Hello, now: float) -> WorkerState:
        worker = self.dispatch.worker(hello.id, now)
        if worker.peer is not None and worker.peer != peer:
            self._sessions.pop(worker.peer, None)
        worker.peer, worker.hello, worker.seen = peer, hello, now
        return worker

    def _attach(self, executor: ExecutorState, peer: Peer, hello: m.Hello, now: float) -> None:
        """One of an executor's links has said hello, perhaps not for the first time."""
        old = executor.peer if hello.role == m.EXECUTOR else executor.control
        if old is not None and old != peer:
            self._sessions.pop(old, None)
        if hello.role == m.CONTROL:
            executor.control = peer
            return
        executor.peer = peer
        executor.recalled = False
        if (
            old != peer
        ):  # on the same connection nothing was lost, and what is under way is not in its list yet
            self._reconcile(executor, {token for _, token in hello.held}, now)
        self.dispatch.feed(executor, now)

    def _reconcile(self, executor: ExecutorState, held: set[int], now: float) -> None:
        """After a new connection: what was on its way to the executor is lost, what it still has is not."""
        for token in [t for t in executor.held if t not in held]:
            self._take_back(executor, token, now)
        strange = [token for token in held if token not in executor.held]
        if strange:
            self._outbox.send(executor.control or executor.peer, m.Drop(strange))

    def _on_ping(self, peer: Peer, session: Session, message: m.Ping, now: float) -> None:
        self._outbox.send(peer, m.Pong(self.welcome.boot))

    def _on_heartbeat(self, peer: Peer, session: Session, message: m.Heartbeat, now: float) -> None:
        if not isinstance(session, WorkerState):
            return
        # an executor that its worker does not know of was lost while we were not told
        for executor in list(session.executors.values()):
            if executor.id not in message.executors and executor.peer is None:
                self._executor_gone(executor, now)

    def _on_goodbye(self, peer: Peer, session: Session, message: m.Goodbye, now: float) -> None:
        self._sessions.pop(peer, None)
        if isinstance(session, ClientSession):
            self._client_gone(session)
        elif isinstance(session, WorkerState):
            session.peer = None
            if not message.unreachable:
                self._worker_gone(session, now, "its worker was stopped", charge=False)
        elif peer == session.control:
            session.control = None
        else:
            self.dispatch.detach(session)
            if not session.held:
                self._executor_gone(session, now)

    def _client_gone(self, session: ClientSession) -> None:
        if self.clients.get(session.hello.id) is session:
            del self.clients[session.hello.id]

    def _worker_gone(self, worker: WorkerState, now: float, reason: str, *, charge: bool) -> None:
        """A worker left or was not heard of for a lease: its leases end."""
        self.dispatch.workers.pop(worker.id, None)
        if worker.peer is not None:
            self._sessions.pop(worker.peer, None)
        for executor in list(worker.executors.values()):
            self._executor_gone(executor, now, reason, charge=charge)

    def _executor_gone(
        self,
        executor: ExecutorState,
        now: float,
        reason: str = "its worker was stopped",
        *,
        charge: bool = False,
    ) -> None:
        for peer in (executor.peer, executor.control):
            if peer is not None:
                self._sessions.pop(peer, None)
        for record in self.dispatch.remove(executor):
            if charge and record.started_at is not None:
                record.losses += 1
                if record.losses >= self.settings.max_worker_losses:
                    self._fail(
                        record, "WorkerLostError", f"lost {record.losses} workers; the last: {reason}", now
                    )
            self._requeue(record, reason, now)

    def _check_sessions(self, now: float) -> None:
        limit = now - self.settings.worker_lease
        for client in [c for c in self.clients.values() if c.seen < limit]:
            self._sessions.pop(client.peer, None)
            self._client_gone(client)
        for worker in [w for w in self.dispatch.workers.values() if w.seen < limit]:
            reason = f"worker {worker.name} was not heard of for {self.settings.worker_lease:g} s"
            self._worker_gone(worker, now, reason, charge=True)

    # ── submission ───────────────────────────────────────────────────────────────────────────

    def _on_define(self, peer: Peer, session: Session, message: m.Define, now: float) -> None:
        self.blobs.add(message.key, message.blob)

    def _on_need(self, peer: Peer, session: Session, message: m.Need, now: float) -> None:
        self._outbox.send(peer, m.Define(message.key, self.blobs.get(message.key)))

    def _on_submit(self, peer: Peer, session: Session, message: m.Submit, now: float) -> None:
        watchers = (session.hello.id,) if isinstance(session, ClientSession) else ()
        accepted: list[str] = []
        for task in message.tasks:
            if (known := self.records.get(task.id)) is not None:
                # sent again by a client that did not hear of its acceptance
                accepted.append(task.id)
                self._watch(known, watchers)
            elif missing := [k for k in (task.definition, task.captured_key) if k and k not in self.blobs]:
                self._outbox.send(peer, m.Missing(missing[0], [task.id]))
            else:
                accepted.append(task.id)
                self._accept(task, watchers, now)
        self._outbox.accepted(peer, accepted)

    def _accept(self, task: m.Task, watchers: tuple[str, ...], now: float) -> None:
        record = Record(task, now, self.records.next_order(), watchers=watchers)
        self.records.add(record)
        for key in (task.definition, task.captured_key):
            if key:
                self.blobs.refer(key)
        if task.expires is not None:
            self._timers.set(now + task.expires, timers.EXPIRY, task.id)
        if task.countdown > 0:
            self._schedule(record, now + task.countdown)
        else:
            self.dispatch.enqueue(record, now)

    def _schedule(self, record: Record, due: float) -> None:
        record.place, record.due = SCHEDULED, due
        self._timers.set(due, timers.DUE, record.task.id, record.token)

    # ── what executors report ────────────────────────────────────────────────────────────────

    def _current(self, id: str, token: int) -> Record | None:
        """The record, if the report is about its current lease."""
        record = self.records.get(id)
        return record if record is not None and record.token == token and record.place == LEASED else None

    def _on_started(self, peer: Peer, session: Session, message: m.Started, now: float) -> None:
        record = self._current(message.id, message.token)
        if record is not None and isinstance(session, ExecutorState):
            record.started_at = now
            record.state = lifecycle.follow(record.state, lifecycle.START, record)
            self._tell(record, self._started(record))

    def _started(self, record: Record) -> m.Started:
        executor = self.dispatch.executors.get(record.executor)
        name = executor.worker.name if executor is not None else ""
        return m.Started(record.task.id, record.token, name, record.started_at or 0.0)

    def _on_event(
        self, peer: Peer, session: Session, message: m.Progress | m.Update | m.Output, now: float
    ) -> None:
        record = self.records.get(message.id)
        if record is None:
            return
        if isinstance(message, m.Output):
            # a last piece may come after the outcome, by the other link
            if record.output is None:
                record.output = OutputLog(self.settings.max_output_bytes)
            record.output.add(message)
        elif self._current(message.id, message.token) is None:
            return
        elif isinstance(message, m.Progress):
            record.progress = message
        elif message.state in READY_STATES:
            return  # only an outcome ends a task
        else:
            record.update = message
            lifecycle.follow(record.state, lifecycle.REPORT, record)
            record.state = message.state
        self._tell(record, message)

    def _on_settle(self, peer: Peer, session: Session, message: m.Settle, now: float) -> None:
        if not isinstance(session, ExecutorState):
            return
        for outcome in message.outcomes:
            record = self.dispatch.release(session, outcome.token, now)
            if record is not None and record.token == outcome.token and record.place == LEASED:
                self.dispatch.durations.note(record.task, outcome.runtime)
                self._settle(record, self._complete(outcome, record, session, now), now)
        session.recalled = False
        self._outbox.acknowledge(peer, [outcome.token for outcome in message.outcomes])
        self.dispatch.feed(session, now)

    def _complete(self, outcome: m.Outcome, record: Record, executor: ExecutorState, now: float) -> m.Outcome:
        return m.Outcome(
            outcome.id,
            outcome.token,
            outcome.state,
            b"" if record.task.ignore_result else outcome.value,
            outcome.failure,
            outcome.runtime,
            executor.worker.name,
            now,
            record.retries,
        )

    def _on_retry(self, peer: Peer, session: Session, message: m.Retry, now: float) -> None:
        if not isinstance(session, ExecutorState):
            return
        record = self.dispatch.release(session, message.token, now)
        if record is not None and record.token == message.token and record.place == LEASED:
            self._again(record, message, now)
        self._outbox.acknowledge(peer, [message.token])
        self.dispatch.feed(session, now)

    def _again(self, record: Record, message: m.Retry, now: float) -> None:
        if record.revoked:
            self._revoke(record, "cancelled", now)
            return
        record.retries += 1
        record.failure = message.failure
        record.state = lifecycle.follow(record.state, lifecycle.AGAIN, record)
        due = now + max(0.0, message.countdown)
        self._tell(record, m.Retrying(record.task.id, record.retries, message.failure, due))
        self._schedule(record, due)

    def _on_returned(self, peer: Peer, session: Session, message: m.Returned, now: float) -> None:
        if not isinstance(session, ExecutorState):
            return
        for token in reversed(message.tokens):  # each goes to the front of its lane
            self._take_back(session, token, now)
        session.recalled = False
        session.moved_at = now
        self.dispatch.feed(session, now)

    def _take_back(self, executor: ExecutorState, token: int, now: float) -> None:
        record = self.dispatch.release(executor, token, now)
        if record is not None:
            self._requeue(record, "", now)

    def _on_held(self, peer: Peer, session: Session, message: m.Held, now: float) -> None:
        """Make good what got lost on the way, in either direction."""
        if not isinstance(session, ExecutorState):
            return
        reported = set(message.tokens)
        settled = now - self.settings.worker_heartbeat
        for token, record in list(session.held.items()):
            if token in reported or record.leased_at > settled:
                session.absent.discard(token)
            elif token in session.absent:
                self._take_back(session, token, now)
            else:
                session.absent.add(token)
        if strange := [token for token in message.tokens if token not in session.held]:
            self._outbox.send(peer, m.Drop(strange))
            if session.peer is not None:
                self._outbox.acknowledge(session.peer, strange)
        self.dispatch.feed(session, now)

    def _on_executor_lost(self, peer: Peer, session: Session, message: m.ExecutorLost, now: float) -> None:
        executor = self.dispatch.executors.get(message.executor)
        if executor is None:
            return
        record = self.dispatch.release(executor, message.token, now)
        if record is not None and record.token == message.token and record.place == LEASED:
            self._death(record, message, now)
        self._executor_gone(executor, now, inspect.manner_of_death(message))

    def _death(self, record: Record, message: m.ExecutorLost, now: float) -> None:
        """The task that was running when its process died is charged for it."""
        record.deaths += 1
        limit = record.task.max_deaths
        if record.deaths >= (self.settings.max_task_deaths if limit is None else limit):
            self._fail(record, "WorkerLostError", inspect.obituary(record, message), now)
        else:
            self._requeue(record, inspect.manner_of_death(message), now)

    def _requeue(self, record: Record, reason: str, now: float) -> None:
        """A lease ended without outcome: the task waits again, before the others."""
        if record.place != LEASED:
            return
        if record.revoked:
            self._revoke(record, "cancelled", now)
            return
        record.state = lifecycle.follow(record.state, lifecycle.REQUEUE, record)
        record.started_at = None
        record.executor = ""
        if reason:
            self._tell(record, m.Requeued(record.task.id, reason))
        self.dispatch.enqueue(record, now, front=True)

    # ── outcomes ─────────────────────────────────────────────────────────────────────────────

    def _settle(self, record: Record, outcome: m.Outcome, now: float) -> None:
        """The one outcome of a task."""
        if record.place == READY:
            self.dispatch.lane(record.task).revoked()
        record.state = lifecycle.follow(record.state, _EVENT_OF[outcome.state], record)
        record.outcome = outcome
        for key in (record.task.definition, record.task.captured_key):
            if key:
                self.blobs.release(key)
        self.records.finished(record, now)
        for id in record.watchers:
            client = self.clients.get(id)
            if client is not None:
                self._outbox.settled(client.peer, outcome)

    def _fail(self, record: Record, error: str, text: str, now: float) -> None:
        self._settle(record, inspect.broker_outcome(record, FAILURE, error, text, now), now)

    def _revoke(self, record: Record, text: str, now: float) -> None:
        self._settle(record, inspect.broker_outcome(record, REVOKED, "TaskRevokedError", text, now), now)

    def _on_cancel(self, peer: Peer, session: Session, message: m.Cancel, now: float) -> None:
        for id in message.ids:
            record = self.records.get(id)
            if record is None or record.place == DONE:
                continue
            if record.place != LEASED:
                self._revoke(record, "cancelled", now)
            elif message.terminate:
                self._interrupt(record, "cancel", now)
                self._revoke(record, "cancelled", now)
            else:
                record.revoked = True
                executor = self.dispatch.executors.get(record.executor)
                if executor is not None:
                    self._outbox.send(executor.control, m.Drop([record.token]))

    def _interrupt(self, record: Record, reason: str, now: float) -> None:
        """Ask the executor to stop a run, and see to it later that it did."""
        executor = self.dispatch.executors.get(record.executor)
        if executor is None:
            return
        self._outbox.send(executor.control, m.Interrupt(record.task.id, record.token, reason))
        self._timers.set(now + self.settings.cancel_grace, timers.KILL, record.task.id, record.token)

    def _kill(self, record: Record, token: int, reason: str) -> None:
        executor = self.dispatch.executors.get(record.executor)
        if executor is not None and token in executor.held:
            self._outbox.send(executor.worker.peer, m.Kill(executor.id, token, reason))

    # ── time ─────────────────────────────────────────────────────────────────────────────────

    def _fire(self, timer: timers.Timer, now: float) -> None:
        record = self.records.get(timer.id)
        if record is None:
            return
        if timer.kind == timers.KILL:
            self._kill(record, timer.token, "cancelled, and did not stop")
        elif record.place == DONE:
            return
        elif timer.kind == timers.EXPIRY:
            self._expire(record, now)
        elif record.token != timer.token:
            return
        elif timer.kind == timers.DUE:
            if record.place == SCHEDULED:
                self.dispatch.enqueue(record, now)
        else:
            self._limit(record, timer, now)

    def _expire(self, record: Record, now: float) -> None:
        if record.started_at is None and record.retries == 0:
            if record.place == LEASED:
                self._interrupt(record, "cancel", now)
            self._revoke(record, "expired: not started in time", now)

    def _limit(self, record: Record, timer: timers.Timer, now: float) -> None:
        """A time limit: counted from the start where it was reported, else from the assignment."""
        task = record.task
        limit = task.time_limit if timer.kind == timers.HARD_LIMIT else task.soft_time_limit
        if limit is None or record.place != LEASED:
            return
        if record.started_at is not None and record.started_at + limit > now:
            self._timers.set(record.started_at + limit, timer.kind, task.id, timer.token)
        elif timer.kind == timers.HARD_LIMIT:
            self._kill(record, timer.token, f"ran past its time limit of {limit:g} s")
            self._fail(record, "TimeLimitExceeded", f"ran past its time limit of {limit:g} s", now)
        else:
            executor = self.dispatch.executors.get(record.executor)
            if executor is not None:
                self._outbox.send(executor.control, m.Interrupt(task.id, timer.token, "soft_time_limit"))

    def _idle_deadline(self) -> float | None:
        if not self.settings.idle_timeout or self._busy_at is None or self._stopped:
            return None
        return self._busy_at + self.settings.idle_timeout

    def _check_idle(self, now: float) -> None:
        if self._busy_at is None or self.clients or self.records.unfinished:
            self._busy_at = now
        deadline = self._idle_deadline()
        if deadline is not None and now >= deadline:
            self.stop(f"no clients and no work for {self.settings.idle_timeout:g} s")

    def stop(self, reason: str) -> None:
        """End: workers of the local cluster end too, others are left to look for the next broker."""
        self._stopped = True
        for worker in self.dispatch.workers.values():
            if worker.hello is not None and worker.hello.local:
                self._outbox.send(worker.peer, m.Shutdown(reason))
        for client in self.clients.values():
            self._outbox.send(client.peer, m.Shutdown(reason))
        self._outbox.stop(reason)

    def _books(self) -> inspect.Books:
        return inspect.Books(self.welcome, self.records, self.dispatch, self.clients, self._began or 0.0)

    # ── clients that ask ─────────────────────────────────────────────────────────────────────

    def _watch(self, record: Record, watchers: tuple[str, ...]) -> None:
        """Tell these clients of the record from now on, and what was so far."""
        record.watchers += tuple(id for id in watchers if id not in record.watchers)
        for id in watchers:
            if (client := self.clients.get(id)) is not None:
                for message in self._story(record):
                    self._outbox.send(client.peer, message)

    def _story(self, record: Record) -> list[m.AnyMessage]:
        """A record as the messages that a client would have seen of it."""
        task = record.task
        story: list[m.AnyMessage] = [
            m.Known(task.id, task.name, record.state, task.queue, task.group, record.at)
        ]
        if record.retries:
            story.append(m.Retrying(task.id, record.retries, record.failure, record.due))
        if record.started_at is not None:
            story.append(self._started(record))
        story += [event for event in (record.update, record.progress) if event is not None]
        if record.output is not None:
            story += record.output.pieces
        if record.outcome is not None:
            story.append(m.Settle([record.outcome]))
        return story

    def _tell(self, record: Record, message: m.AnyMessage) -> None:
        for id in record.watchers:
            client = self.clients.get(id)
            if client is not None:
                self._outbox.send(client.peer, message)

    def _on_watch(self, peer: Peer, session: Session, message: m.Watch, now: float) -> None:
        if not isinstance(session, ClientSession):
            return
        absent = []
        for id in message.ids:
            record = self.records.get(id)
            if record is None:
                absent.append(id)
            else:
                self._watch(record, (session.hello.id,))
        if absent:
            self._outbox.send(peer, m.NotFound(absent))

    def _on_forget(self, peer: Peer, session: Session, message: m.Forget, now: float) -> None:
        for id in message.ids:
            record = self.records.get(id)
            if record is None:
                continue
            if record.place == DONE:
                self.records.forget(id)
            elif isinstance(session, ClientSession):
                record.watchers = tuple(w for w in record.watchers if w != session.hello.id)

    def _on_ask(self, peer: Peer, session: Session, message: m.Ask, now: float) -> None:
        topic = inspect.TOPICS.get(message.topic)
        if topic is None:
            error = f"no topic is called {message.topic!r}; there are: {', '.join(inspect.TOPICS)}"
            self._outbox.send(peer, m.Answer(message.number, None, error))
            return
        self._outbox.send(peer, m.Answer(message.number, topic(self._books(), message.args, now)))
        if message.topic == "stop":
            self.stop("asked to stop")
