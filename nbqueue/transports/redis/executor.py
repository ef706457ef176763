"""An executor's part, on either of its links: it claims tasks, keeps their outcomes, hears interrupts.

::

    Settle([…]) ─▶ settle.lua ┐  one round trip      ┌─▶ Acknowledge
                   claim.lua  ┴──────────▶ Redis ────┴─▶ Assign
    nothing to do ─▶ lined up as idle, asleep until "x:EXECUTOR" wakes it, at most a second

The main link claims; the control link listens to ``k:EXECUTOR``, compares what is held each heartbeat, and
gives back what waits behind a long task when others are idle.  Endings may go by either.
"""

import time
from collections.abc import Sequence
from functools import partial
from math import inf
from typing import Any, Final, TypeAlias

import hiredis
import msgspec

from nbqueue import messages as m
from nbqueue.core import inputs as core_inputs
from nbqueue.core import verdicts
from nbqueue.core.executors import TARGET, ExecutorState, WorkerState
from nbqueue.core.lifecycle import START, follow
from nbqueue.messages import AnyMessage
from nbqueue.states import READY_STATES
from nbqueue.transports.redis import inputs, losses, records, steps, streams, tuning
from nbqueue.transports.redis.blobs import Blobs
from nbqueue.transports.redis.desk import MAX_EVENT, NOT_OURS, Desk, Part, said
from nbqueue.transports.redis.feed import Publisher
from nbqueue.transports.redis.leases import Lease, leases_of
from nbqueue.transports.redis.losses import seat
from nbqueue.transports.redis.moves import Move, decide
from nbqueue.transports.redis.names import lane_key, queue_of, rate_of
from nbqueue.transports.redis.pieces import LARGE
from nbqueue.transports.redis.records import Origin, Tuned

#: seconds that an idle executor sleeps before it looks for tasks, whether or not it was woken
_LOOK: Final = 1.0
#: bytes of outcomes in one call
_SETTLE_BYTES: Final = 8 * 2**20
#: what runs that are settled together may have in common: see ``settle.lua``
_SHAPE: Final = ("number", "queue", "sender", "blobs", "traces", "state")
#: seconds until a stuck executor looks again whether others are idle
_STUCK_AGAIN: Final = 0.25

#: a run that has ended: what was leased, its state, its result
Ended: TypeAlias = tuple[Lease, str, bytes]


class ExecutorPart(Part):
    """See the module's docstring."""

    def __init__(self, desk: Desk, hello: m.Hello) -> None:
        super().__init__(desk, hello)
        self._seat = seat(hello.worker, hello.id)
        self._is_main = hello.role == m.EXECUTOR
        self._leases = leases_of(f"{desk.url} {desk.names.app}", self._seat)
        self._leases.slots = max(1, hello.slots)
        self._blobs = Blobs(desk)
        self._lanes: list[tuple[Any, ...]] = []
        #: some start at a rate, or occupy something
        self._has_special = False
        self._claims = self._is_main
        self._claiming = False
        self._idle = False
        self._claim_at = 0.0
        self._look_at = 0.0
        self._reports: list[AnyMessage] = []
        self._items: list[m.Item] = []
        #: what was said at runtime of tasks by their names
        self._tuned: dict[str, Tuned] = {}
        self._has_limits = any(limit is not None for limit in hello.limits)
        #: as events tell of it
        self._shown = ExecutorState(hello, WorkerState(hello.worker, 0.0))
        self._shown.worker.called = hello.name
        #: leases of which it was told that they run, while somebody listens
        self._begun: set[int] = set()

    # ── coming ───────────────────────────────────────────────────────────────────────────────

    def greet(self) -> None:
        desk, hello = self.desk, self.hello
        if self._is_main:
            desk.subscribe(f"x:{self._seat}", "news")
        else:
            desk.subscribe(f"k:{self._seat}")
        held, lanes = desk.run(
            "join", hello.worker, desk.settings.worker_lease, self._seat, desk.sealed.hello(hello)
        )
        if self._is_main:
            self._tuned = tuning.everything(desk)
            self._serve(lanes)
            self._reconcile(losses.tokens(held))
        else:
            self._remind(losses.tokens(held))
        desk.deliver(desk.welcome())
        self.said()

    def _serve(self, lanes: Sequence[bytes]) -> None:
        """Find the lanes that this executor can run tasks of."""
        self._lanes = [self._described_lane(lane.decode()) for lane in lanes if self._serves(lane)]
        self._has_special = any(len(lane) > 2 for lane in self._lanes)

    def _described_lane(self, lane: str) -> tuple[Any, ...]:
        """A lane as a claim has it: see ``claim.lua``."""
        key = lane_key(lane)
        if key.is_plain:
            return lane, key.queue
        tuned = self._tuned.get(key.limited)
        rate = rate_of(lane) if tuned is None or tuned.rate is None else tuned.rate
        return lane, key.queue, {"rate": rate, "name": key.limited, "wants": dict(key.resources)}

    def _serves(self, lane: bytes) -> bool:
        try:
            key = lane_key(lane.decode())
        except ValueError:  # not one of ours
            return False
        return key.matches(self.hello)

    def _reconcile(self, held: dict[int, str]) -> None:
        """After a new connection: what was on its way to the executor is lost, what it still has is not."""
        has = {token for _, token in self.hello.held}
        if self.again:  # what it was given since its first Hello need not be in this one, and arrives
            has |= self._leases.tokens
        for token in sorted(held.keys() - has, reverse=True):
            losses.give_back(self.desk, self._seat, token, held[token])
        self._leases.keep(has & held.keys())
        if strange := sorted(has - held.keys()):
            self.desk.deliver(m.Drop(strange))

    def _remind(self, held: dict[int, str]) -> None:
        """The control link was away: say again which leases are over."""
        for token in (token for token, id in held.items() if not id):
            self.desk.deliver(m.Interrupt("", token, "cancel"))
        ids = {id: token for token, id in held.items() if id}
        for id, found in self.desk.look(list(ids)):
            if found is not None and found.record.revoked:
                self.desk.deliver(m.Drop([ids[id]]))

    # ── what it says ─────────────────────────────────────────────────────────────────────────

    def say(self, message: AnyMessage) -> None:
        match message:
            case m.Started() | m.Progress() | m.Update() | m.Output():
                self._reports.append(message)
                return
            case m.Item():
                self._items.append(message)
                return
        self._report()
        match message:
            case m.Settle(outcomes):
                self._settle(outcomes)
            case m.Retry():
                self._retry(message)
            case m.Returned():
                self._returned(message)
            case m.Replaced():
                self._replaced(message)
            case m.Consume(queues):
                self._consume(queues)
            case m.Need(key):
                self._need(key)
            case m.Held():
                self._compare(message)
            case m.Ping():
                self.desk.wire.call(b"PING", then=lambda _: self.desk.deliver(m.Pong(1)))
            case m.Goodbye():
                self._goodbye()
            case _:
                self.refuse(message)

    def said(self) -> None:
        self._report()
        if self._claims and not self._claiming and self._leases.room > 0:
            self._claim()

    def _consume(self, queues: list[str]) -> None:
        """It serves other queues from now on."""
        desk, hello = self.desk, self.hello
        for lane, *_ in self._lanes:
            desk.command(b"ZREM", f"idle:{lane}", self._seat)
        self._idle = False
        self.hello = msgspec.structs.replace(hello, queues=queues)
        sealed = desk.sealed.hello(self.hello)
        _, lanes = desk.run("join", hello.worker, desk.settings.worker_lease, self._seat, sealed)
        self._serve(lanes)

    def _need(self, key: str) -> None:
        if (parsed := core_inputs.parsed(key)) is None:
            self._blobs.fetch(key)
            return
        id, start = parsed
        record = self._leases.record(id)
        inputs.portion(self.desk, key, record.task.step if record is not None else None, start)

    def _goodbye(self) -> None:
        """The main link: it takes no more; the control link: it holds nothing, or its worker will say."""
        lanes = [lane for lane, *_ in self._lanes]
        if self._is_main:
            self._claims = False
            for lane in lanes:
                self.desk.wire.call(b"ZREM", self.desk.names(f"idle:{lane}"), self._seat, then=_nothing)
        else:
            self._tell_totals()
            self.desk.tell("leave", self.hello.worker, self._seat, *lanes, then=_nothing)

    # ── endings ──────────────────────────────────────────────────────────────────────────────

    def _settle(self, outcomes: Sequence[m.Outcome]) -> None:
        batch: list[Ended] = []
        size, now = 0, self.desk.now
        for outcome in outcomes:
            lease = self._released(outcome.token)
            if lease is None:  # it is void, or was given to another
                self.desk.deliver(m.Acknowledge([outcome.token]))
                continue
            state, result = self._result(outcome, lease, now)
            batch.append((lease, state, result))
            size += len(result)
            if size > _SETTLE_BYTES:
                self._keep(batch)
                batch, size = [], 0
        if batch:
            self._keep(batch)

    def _released(self, token: int) -> Lease | None:
        """The executor does not need this lease any more; None if it is not its task's.

        What was said before a connection broke is said again, and we may have heard it the first time: then
        Redis knows best.
        """
        if (lease := self._leases.release(token, time.monotonic())) is not None:
            return lease
        desk, key = self.desk, f"held:{self._seat}"
        id = desk.command(b"HGET", key, str(token))
        if id:
            _, found = desk.look([id.decode(errors="surrogateescape")])[0]
            if found is not None and found.record.token == token:
                record, standing = found.record, records.standing_of(found.record)
                return Lease(token, record.task, record.at, found.origin, standing, traces=True)
        desk.command(b"HDEL", key, str(token))
        return None

    def _result(self, outcome: m.Outcome, lease: Lease, now: float) -> tuple[str, bytes]:
        """The state in which a task has ended, and its result."""
        task, desk = lease.task, self.desk
        self._leases.ran(task, outcome.runtime)
        self._leases.count(task.name)
        ending = verdicts.flaw_of(outcome, task, MAX_EVENT)  # what is larger is not in it
        if ending is None:
            counts = verdicts.accepted(outcome, task, lease.standing.retries, self.hello.name, now)
        else:
            counts = ending.outcome(lease.record, now)
        if desk.events_of.on:
            self._tell_ended(lease, counts)
        kept = records.kept_as(counts, task, lease.at, lease.origin.notebook)
        return counts.state, desk.sealed.result(kept)

    @property
    def _events(self) -> Publisher:
        """Tells of this executor."""
        events = self.desk.events_of
        self._shown.worker.tells_events = self.hello.worker not in events.silent
        return events

    def _tell_ended(self, lease: Lease, outcome: m.Outcome) -> None:
        record = lease.record
        record.started_at = record.leased_at if lease.token in self._begun else None
        self._begun.discard(lease.token)
        self._events.ended(record, outcome, self._shown, self.desk.now)

    def _keep(self, batch: Sequence[Ended]) -> None:
        desk = self.desk
        groups: dict[tuple[Origin, bool, str], list[Ended]] = {}
        for ended in batch:
            lease, state, _ = ended
            groups.setdefault((lease.origin, lease.traces, state), []).append(ended)
        shapes: list[dict[str, Any]] = []
        ordered: list[Ended] = []
        for (origin, traces, state), group in groups.items():
            queue = group[0][0].task.queue
            values = (len(group), queue, origin.client, origin.blobs, traces, state)
            shapes.append(dict(zip(_SHAPE, values, strict=True)))
            ordered += group
        tokens = [lease.token for lease, _, _ in ordered]
        head = {
            "executor": self._seat,
            "expires": desk.expires,
            "tokens": list(map(str, tokens)),
            "ids": [lease.task.id for lease, _, _ in ordered],
            "shapes": shapes,
        }
        results = [result for _, _, result in ordered]
        desk.tell("settle", said(head), *results, then=partial(self._on_settled, tokens))

    def _on_settled(self, tokens: list[int], reply: Any) -> None:
        if isinstance(reply, hiredis.ReplyError):
            raise self.desk.fault(reply)
        self.desk.look_later(reply)
        self.desk.deliver(m.Acknowledge(tokens))

    def _replaced(self, message: m.Replaced) -> None:
        """The run has ended, and its task will end as another one does."""
        desk, token = self.desk, message.token
        if self._released(token) is not None and not steps.replace(desk, message):
            desk.command(b"HDEL", f"held:{self._seat}", str(token))
        desk.deliver(m.Acknowledge([token]))

    def _retry(self, message: m.Retry) -> None:
        """The run asks for another one."""
        desk, token = self.desk, message.token
        if (lease := self._released(token)) is None:
            desk.deliver(m.Acknowledge([token]))
            return
        self._leases.ran(lease.task, message.runtime)

        def decision(move: Move) -> bool:
            if (ending := verdicts.retried(move.record, message, desk.now)) is not None:
                return move.end(ending, release=True)
            record = move.record
            if message.changes is not None:
                task = verdicts.changed(record.task, message.changes, desk.payload_limit)
                if not isinstance(task, m.Task):
                    return move.end(task, release=True)
                record.task = self._blobs.apart(task) if len(task.payload) > LARGE else task
            event = m.Retrying(message.id, record.retries, message.failure, record.due)
            return move.wait(event, again=True)

        if not decide(desk, message.id, token, decision):
            desk.command(b"HDEL", f"held:{self._seat}", str(token))
        elif desk.events_of.on:
            record = lease.record
            record.retries, record.failure = record.retries + 1, message.failure
            self._events.retried(record, self._shown, desk.now)
        desk.deliver(m.Acknowledge([token]))

    def _returned(self, message: m.Returned) -> None:
        for token in reversed(message.tokens):
            if (lease := self._released(token)) is not None:
                id = lease.task.id
                losses.give_back(self.desk, self._seat, token, id, last=message.rejected)
                if message.rejected and self.desk.events_of.on:
                    self._events.rejected(lease.record, self._shown, self.desk.now)

    # ── reports ──────────────────────────────────────────────────────────────────────────────

    def _report(self) -> None:
        reports, self._reports = self._reports, []
        heads, sealed = [], []
        for report in reports:
            lease = self._leases.get(getattr(report, "token", 0))
            head, told = self._described(report, lease)
            if lease is not None:
                lease.traces = True
            heads.append(head)
            sealed.append(self.desk.sealed.events([told]))
        if heads:
            head = {"executor": self._seat, "worker": self.hello.name, "reports": heads}
            self.desk.tell("report", said(head), *sealed, then=self._on_reported)
        if self._items:
            items, self._items = self._items, []
            streams.pass_on(self.desk, self._seat, items)

    def _described(self, report: Any, lease: Lease | None) -> tuple[dict[str, Any], AnyMessage]:
        """What the script is told of a report, and what those who watch are."""
        sender = lease.origin.client if lease is not None else ""
        head = {"id": report.id, "token": str(report.token), "sender": sender}
        match report:
            case m.Started():
                record = lease.record if lease is not None else None
                state = follow(record.state, START, record) if record is not None else ""
                at = self.desk.now
                head |= {"kind": "started", "state": state, "at": at}
                if lease is not None and self.desk.events_of.on:
                    self._begun.add(lease.token)
                    self._events.started(lease.record, self._shown, at)
                return head, m.Started(report.id, report.token, self.hello.name, at, self.hello.pid)
            case m.Update() if report.state not in READY_STATES:  # only an outcome ends a task
                head |= {"kind": "update", "state": report.state}
            case m.Output():
                head["kind"] = "output"
            case _:
                head["kind"] = "progress"
        return head, report

    def _on_reported(self, reply: Any) -> None:
        if isinstance(reply, hiredis.ReplyError):
            self.desk.fault(reply)

    # ── claiming ─────────────────────────────────────────────────────────────────────────────

    def _claim(self) -> None:
        leases = self._leases
        head = {
            "executor": self._seat,
            "worker": self.hello.worker,
            "budget": leases.budget,
            "room": leases.room,
            "free": leases.free,
            "idle": self._idle,
            "lanes": self._lanes,
            "estimates": leases.estimates,
            "unknown": TARGET,
        }
        if self._has_special:
            head["resources"] = self.hello.resources
        self._claiming = True
        self._claim_at = time.monotonic() + _LOOK
        self.desk.tell("claim", said(head), then=partial(self._on_claimed, leases.free))
        if len(self._lanes) > 1:  # so that none of the same priority is always the first
            self._lanes.append(self._lanes.pop(0))

    def _on_claimed(self, free: int, reply: Any) -> None:
        self._claiming = False
        if not isinstance(reply, list):
            raise self.desk.fault(reply)
        if not reply[0]:
            self._claims = False
            self.desk.deliver(m.Unknown())
            return
        _, due, given_at, first, batches = reply
        given = self._assign(float(given_at), int(first), batches)
        self._idle = given < free
        if not self._idle:  # it may have ended meanwhile what it held then
            self._claim_at = 0.0
        if (at := float(due)) and not given:
            self._claim_at = min(self._claim_at, max(self.desk.monotonic(at), time.monotonic() + 0.001))

    def _assign(self, given_at: float, token: int, batches: Sequence[tuple[bytes, list[bytes]]]) -> int:
        """Hand on what a claim brought, and return how many that are."""
        given, first = [], token
        if self.desk.wire.pushes:
            self._catch_up()
        fresh = records.Standing(executor=self._seat, attempt=1, leased_at=given_at)
        for lane, rows in batches:
            for row in range(0, len(rows), 3):
                lease = self._lease(token, fresh, *rows[row : row + 3])
                if lease is not None:
                    given.append(lease)
                else:
                    words = (rows[row], self._seat, str(token), queue_of(lane))
                    self.desk.tell("discard", *words, then=_nothing)
                token += 1
        self._leases.hold(given, time.monotonic())
        if self.desk.events_of.on:
            for lease in given:
                self._events.received(lease.record, self._shown, self.desk.now)
        if given:
            made = list(map(_assignment, given))
            inputs.assign(self.desk, made, lambda: self.desk.deliver(m.Assign(made)))
        return token - first

    def _lease(
        self, token: int, fresh: records.Standing, name: bytes, envelope: bytes, packed: bytes
    ) -> Lease | None:
        """One task that was given to it, how it stands unless that is ``packed``; None, and a report, if it
        is not ours."""
        try:
            task, at, origin = self.desk.templates.open(name.decode(errors="surrogateescape"), envelope)
            standing = records.unpack_standing(packed) if packed else fresh
        except NOT_OURS as error:
            self.desk.report_forgery(str(error))
            return None
        if self._tuned or self._has_limits:
            task = tuning.run_of(task, standing.leased_at, self._tuned, self.hello)
        if task.time_limit is not None or task.soft_time_limit is not None:
            self._watch_limits(token, task, standing.leased_at)
        return Lease(token, task, at, origin, standing, traces=standing.attempt > 1)

    def _watch_limits(self, token: int, task: m.Task, leased_at: float) -> None:
        for kind, limit in (("hard", task.time_limit), ("soft", task.soft_time_limit)):
            if limit is not None:
                timers, name = self.desk.names("timers"), f"{kind}:{token}:{task.id}"
                self.desk.wire.call(b"ZADD", timers, leased_at + limit, name, then=_nothing)

    # ── hearing, and what is due ─────────────────────────────────────────────────────────────

    def pushed(self, channel: bytes, message: bytes) -> None:
        if not self._is_main:
            for order in self.desk.events(message):
                self.desk.deliver(order)
            return
        if channel.endswith(b":news") and message == tuning.CHANGED:
            self._tuned = tuning.everything(self.desk)
        if channel.endswith(b":news"):
            self._serve(self.desk.command(b"HKEYS", "lanes"))
        self._claim_at = 0.0

    def _catch_up(self) -> None:
        """What was said before these tasks were given out counts for them."""
        pushes = self.desk.wire.pushes
        while pushes:
            self.heard(*pushes.popleft())

    def turn(self, now: float) -> None:
        if self._is_main:
            if now >= self._claim_at and self._leases.free:
                self.said()
        elif now >= self._look_at:
            self._rebalance(now)

    def due(self) -> float:
        if self._is_main:
            waits = self._claims and not self._claiming and self._leases.free
            return self._claim_at if waits else inf
        since = self._leases.stuck_since()
        return inf if since is None else max(since, self._look_at)

    def _rebalance(self, now: float) -> None:
        """Give back what waits behind a long task, if others are idle."""
        since = self._leases.stuck_since()
        if since is None or now < since:
            return
        self._look_at = now + _STUCK_AGAIN
        lanes: list[bytes] = self.desk.command(b"HKEYS", "lanes")
        served = [lane.decode() for lane in lanes if self._serves(lane)]
        if any(self.desk.command(b"ZCARD", f"idle:{lane}") for lane in served):
            self._leases.stuck = True
            self.desk.deliver(m.Recall(len(self._leases) - self._leases.slots))

    def _compare(self, report: m.Held) -> None:
        """Make good what got lost on the way, in either direction."""
        desk = self.desk
        self._tell_totals()
        known, rows = desk.run("held", self.hello.worker, self._seat)
        if not known:
            desk.deliver(m.Unknown())
            return
        held, reported = losses.tokens(rows), set(report.tokens)
        absent = {token for token in held if token <= report.latest and token not in reported}
        lost = absent & self._leases.absent  # twice, to be sure: the report travels by another link
        self._leases.absent = absent - lost
        for token in sorted(lost, reverse=True):
            self._leases.release(token, time.monotonic())
            losses.give_back(desk, self._seat, token, held[token])
        if strange := [token for token in report.tokens if token not in held]:
            desk.deliver(m.Drop(strange))
            desk.deliver(m.Acknowledge(strange))

    def _tell_totals(self) -> None:
        """Count for the worker what has ended here."""
        total = self.desk.names(f"total:{self.hello.worker}")
        ended = self._leases.take_ended()
        for name, number in ended.items():
            self.desk.wire.call(b"HINCRBY", total, name, number, then=_nothing)
        if ended:
            self.desk.wire.call(b"EXPIRE", total, 86_400, then=_nothing)


def _assignment(lease: Lease) -> m.Assignment:
    """Without what a step takes from others."""
    task, standing = lease.task, lease.standing
    at = lease.at if (task.countdown or task.expires is not None) and task.step is None else 0.0
    return m.Assignment(task, lease.token, standing.retries, standing.attempt, at=at)


def _nothing(reply: object) -> None:
    """For commands whose reply tells nothing."""
