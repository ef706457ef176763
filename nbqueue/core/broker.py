"""The broker without its sockets: messages in, actions out.

::

    receive(peer, message, now) ─▶ Sessions: who says it?
                                     ├─ a client ───▶ Intake      definitions, tasks
                                     │                Requests    cancel, watch, forget, …
                                     │                Questions   status, why, inspect, …
                                     ├─ an executor ▶ Reports     started, progress, settle, …
                                     └─ a worker ───▶ Sessions    heartbeats, deaths
    tick(now) ─▶ timers, leases, expiry ─▶ Tasks ─▶ Dispatcher ─▶ [Send(peer, message), …]

A driver (``nbqueue.broker.daemon``, ``transports.memory``, the simulator) receives, hands to the
core, performs the actions, and calls :meth:`BrokerCore.tick` at :meth:`BrokerCore.next_deadline`.
Time is whatever the driver says; payloads are never looked into.

This file joins the rooms, and says which word of whom goes into which.  What becomes of a task stands in
``core.tasks``, who runs it in ``core.dispatch``, who is told of it in ``core.audience``.
"""

from collections.abc import Iterator, Mapping, Set

from nbqueue import messages as m
from nbqueue.core import inspect, permissions
from nbqueue.core.actions import Action, Keep, Peer
from nbqueue.core.audience import Audience, ClientSession
from nbqueue.core.dispatch import Dispatcher
from nbqueue.core.entries import AnyEntry, Began
from nbqueue.core.executors import ExecutorState, WorkerState
from nbqueue.core.feed import Feed
from nbqueue.core.intake import Intake
from nbqueue.core.ledger import Ledger
from nbqueue.core.outbox import Outbox
from nbqueue.core.ownership import Ownership
from nbqueue.core.panel import Panel
from nbqueue.core.periodic import Schedules
from nbqueue.core.permissions import LOCAL, Key
from nbqueue.core.questions import Questions
from nbqueue.core.recovery import Recovery, standing
from nbqueue.core.reports import Reports
from nbqueue.core.requests import Requests
from nbqueue.core.room import Room
from nbqueue.core.sessions import Handler, Sessions
from nbqueue.core.settings import BrokerSettings
from nbqueue.core.tasks import Tasks
from nbqueue.core.timers import ORDER, Timers

__all__ = ["BrokerCore", "BrokerSettings"]


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
        self._outbox = Outbox()
        self._ledger = Ledger()
        self._timers = Timers()
        self._room = Room()
        self.audience = Audience(self._outbox)
        self.feed = Feed(self.audience, self._outbox, epoch)
        self.dispatch = Dispatcher(boot, self._outbox, self._timers, self._ledger, self.feed, epoch)
        self.tasks = Tasks(settings, self.dispatch, self.audience, self._timers, self._outbox, self._ledger)
        self._panel = Panel(
            self.welcome, self.tasks, self.dispatch, self.audience, self._outbox, self._timers
        )
        self.schedules = Schedules(settings, self.tasks, self._ledger, epoch, self._room.claim)
        self.sessions = Sessions(
            settings,
            self.welcome,
            self.tasks,
            self.dispatch,
            self.audience,
            self.feed,
            self._panel,
            self._outbox,
        )
        ownership = Ownership(self.tasks.records, self.dispatch)
        self._questions = Questions(
            self._books, self.stop, ownership, self.audience, self._panel, self._outbox
        )
        intake = Intake(self.tasks, ownership, self._room, self._outbox, settings.payload_limit)
        requests = Requests(
            self.tasks, self.dispatch, self.schedules, ownership, self.audience, self.feed, self._outbox
        )
        reports = Reports(self.tasks, self.dispatch, self._outbox)
        self._words = self._who_says_what(intake, requests, reports)
        self._next_check = 0.0
        self._busy_at: float | None = None
        self._began: float | None = None

    def _who_says_what(
        self, intake: Intake, requests: Requests, reports: Reports
    ) -> Mapping[type, Mapping[type, Handler]]:
        courtesies: Mapping[type, Handler] = {
            m.Ping: self.sessions.ping,
            m.Goodbye: self.sessions.goodbye,
        }
        return {
            ClientSession: {
                **courtesies,
                m.Define: intake.define,
                m.Submit: intake.submit,
                m.Cancel: requests.cancel,
                m.Watch: requests.watch,
                m.Stream: requests.stream,
                m.Forget: requests.forget,
                m.Listen: requests.listen,
                m.Schedule: requests.schedule,
                m.Unschedule: requests.unschedule,
                m.Ask: self._questions.ask,
            },
            WorkerState: {
                **courtesies,
                m.Heartbeat: self.sessions.heartbeat,
                m.ExecutorLost: self.sessions.executor_lost,
                m.Reply: self._panel.replied,
            },
            ExecutorState: {
                **courtesies,
                m.Need: reports.need,
                m.Started: reports.report,
                m.Progress: reports.report,
                m.Update: reports.report,
                m.Output: reports.report,
                m.Item: reports.report,
                m.Settle: reports.settle,
                m.Retry: reports.retry,
                m.Replaced: reports.replaced,
                m.Returned: reports.returned,
                m.Held: reports.held,
                m.Consume: reports.consume,
            },
        }

    # ── the driver's side ────────────────────────────────────────────────────────────────────

    def receive(self, peer: Peer, message: m.AnyMessage, now: float, key: Key = LOCAL) -> list[Action]:
        """Take a message in, and by which key it came; returns what is to be done about it, in order."""
        if self._began is None:
            self._began = now
        session = self.sessions.by_peer.get(peer)
        if isinstance(message, m.Hello):
            self.sessions.hello(peer, message, now, key)
        elif session is None or not permissions.stands_for(key, session.key):
            if not isinstance(message, m.Goodbye):
                self._outbox.send(peer, m.Unknown())
        elif (handler := self._words[type(session)].get(type(message))) is not None:
            session.seen = now
            if isinstance(session, ClientSession) and not permissions.may_say(key, message):
                self._outbox.refuse(peer, message, permissions.refusal(key))
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

    def tick(self, now: float) -> list[Action]:
        """Do what is due."""
        for timer in self._timers.due(now):
            if timer.kind == ORDER:
                self._panel.time_is_over(timer.id)
            else:
                self.tasks.deadlines.fire(timer, now)
        self.schedules.fire(now)
        if now >= self._next_check:
            self._next_check = now + self.settings.worker_heartbeat
            self.sessions.check(now)
            self.tasks.prune(now)
        self.dispatch.serve(now)
        self.tasks.records.expire(now)
        for client, question in self.audience.tell_on(self.tasks.records):
            self._questions.answer(client, question, now)
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
        self._room.set(room, trouble)
        unwritable = "" if at_all else trouble
        if unwritable != self.tasks.unwritable:
            self.tasks.unwritable = unwritable
            self.tasks.make_room(now)

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

    def _books(self) -> inspect.Books:
        return inspect.Books(
            self.welcome,
            self.tasks.records,
            self.dispatch,
            len(self.audience.clients),
            self._began or 0.0,
            self.schedules.entries,
        )

    def next_deadline(self) -> float | None:
        """When :meth:`tick` is to be called next, at the latest; None: not before a message comes."""
        times = [
            self._timers.next(),
            self.schedules.next_due(),
            self._next_check if self.sessions.by_peer else None,
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

    def paused(self, duration: float) -> None:
        """The broker itself did not run for so long: silence in that time says nothing of the others."""
        self.sessions.paused(duration)

    def wall_clock(self, epoch: float) -> None:
        """Unix time is no longer the broker's time plus what it was: the machine slept, or its clock was set.
        Calendars go by it; all else goes on by the broker's time."""
        self.schedules.set_epoch(epoch)

    def revoke(self, name: str, reason: str, now: float) -> list[Action]:
        """The key of that name is good no longer: end all who came by it; what they ran goes back."""
        self.sessions.revoke(name, reason, now)
        self.dispatch.serve(now)
        return self._flush()

    def stop(self, reason: str) -> None:
        """End: workers of the local cluster end too, others are told, and look for the next broker."""
        self.stopped = True
        self.sessions.stop(reason)
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
