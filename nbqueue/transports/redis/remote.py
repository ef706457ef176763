"""Remote control, a client's side: questions and commands, as ``core.panel`` has them on the ZeroMQ broker.

::

    Ask(control) ─▶ Remote ─ "o:WORKER" ─▶ each worker: does it      what only a worker knows or can do
                         ◀─ "c:CLIENT" ──  its reply
    Ask(inspect) ─▶ Remote ◀─ Redis                                  what Redis knows
    Ask(control) ─▶ Remote ─▶ Redis                                  what is kept for all workers

Nobody waits for a worker that does not hear, nor for any longer than the question says.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import inf
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from nbqueue import messages as m
from nbqueue.core import census, commands, verdicts
from nbqueue.core.commands import Command
from nbqueue.core.executors import WorkerState
from nbqueue.core.records import DONE, LEASED
from nbqueue.states import REVOKED
from nbqueue.transports.redis import steps, tuning
from nbqueue.transports.redis.desk import LOOK, Desk
from nbqueue.transports.redis.feed import CHANNEL
from nbqueue.transports.redis.moves import Move
from nbqueue.transports.redis.picture import Kept, Picture, waiting
from nbqueue.transports.redis.records import Summons

#: tasks that a turn deletes
_PURGED_AT_ONCE: Final = 4 * LOOK

TOPICS: Final = (commands.INSPECT, commands.CONTROL, commands.PURGE)


@dataclass
class Pending:
    """An order that is not answered yet."""

    question: int
    command: str
    #: on the monotonic clock
    until: float
    #: workers that have not replied, and what their nodes are called
    waiting: dict[str, WorkerState]
    nodes: dict[str, str]
    replies: dict[str, Any] = field(default_factory=dict)


@dataclass
class Purge:
    """Tasks that are to be deleted."""

    question: int
    queues: Sequence[str]
    ids: list[str]
    deleted: int = 0


class Remote:
    """See the module's docstring."""

    def __init__(self, desk: Desk, client: str) -> None:
        self._desk = desk
        self._client = client
        #: by their names
        self._orders: dict[str, Pending] = {}
        self._purges: list[Purge] = []
        self._kept_here: dict[str, Callable[[WorkerState | None, dict[str, Any]], Any]] = {
            "rate_limit": self._rate_limit,
            "time_limit": self._time_limit,
            "revoke": self._revoke,
            commands.REVOKE_STAMPED: self._revoke,
            "enable_events": partial(self._events, on=True),
            "disable_events": partial(self._events, on=False),
        }

    def ask(self, question: m.Ask) -> None:
        """Deal with a question about one of ``TOPICS``; the answer may come later.

        Raises
        ------
        ValueError, TypeError
            It makes no sense; the message says why.
        """
        if question.topic == commands.PURGE:
            queues = [str(queue) for queue in question.args.get("queues") or ()]
            self._purges.append(Purge(question.number, queues, waiting(self._desk)))
            return
        command = commands.read(question.topic, question.args)
        picture = Picture(self._desk)
        nodes = commands.nodes(picture.workers.values(), command.destination)
        if command.is_passed_on:
            order = str(question.args.get("order") or os.urandom(16).hex())
            self._pass_on(order, question.number, command, nodes)
            return
        try:
            replies = self._answer_here(command, nodes, picture)
        except KeyError as error:
            raise ValueError(f"{command.name} needs {error}") from None
        self._desk.deliver(m.Answer(question.number, replies))

    # ── what only workers can answer ─────────────────────────────────────────────────────────

    def _pass_on(self, order: str, question: int, command: Command, nodes: dict[str, WorkerState]) -> None:
        desk = self._desk
        until = desk.monotonic(desk.now) + command.patience
        waiting = {worker.id: worker for worker in nodes.values()}
        names = {worker.id: node for node, worker in nodes.items()}
        pending = self._orders[order] = Pending(question, command.name, until, waiting, names)
        for id in list(waiting):
            summons = Summons(order, self._client, id, desk.now, command.name, command.args)
            channel, sealed = desk.names(f"o:{id}"), desk.sealed.summons(summons)
            desk.wire.call(b"PUBLISH", channel, sealed, then=partial(self._on_published, order, id))
        if not pending.waiting:
            self._finish(order)

    def _on_published(self, order: str, worker: str, heard: Any) -> None:
        if heard == 0:
            self._gone(order, worker)

    def _gone(self, order: str, worker: str) -> None:
        pending = self._orders.get(order)
        if pending is None or worker not in pending.waiting:
            return
        del pending.waiting[worker]
        if not pending.waiting:
            self._finish(order)

    def replied(self, sealed: bytes) -> None:
        """A worker has answered.

        Raises
        ------
        ForgedError, ProtocolError
            Nobody of us has.
        """
        said = self._desk.sealed.open_said(sealed)
        pending = self._orders.get(said.order)
        if pending is None or said.worker not in pending.waiting:
            return  # too late
        data = {"error": said.error} if said.error else said.data
        worker = pending.waiting[said.worker]
        if pending.command == "stats" and isinstance(data, dict):
            data["total"] = worker.total
        pending.replies[pending.nodes[worker.id]] = data
        self._gone(said.order, said.worker)

    def _finish(self, order: str) -> None:
        pending = self._orders.pop(order)
        self._desk.deliver(m.Answer(pending.question, pending.replies))

    # ── what Redis knows, or keeps for all workers ───────────────────────────────────────────

    def _answer_here(self, command: Command, nodes: dict[str, WorkerState], picture: Picture) -> Any:
        args = command.args
        if command.name == commands.REVOKE_STAMPED:  # found once: after the first reply they are revoked
            args = {**args, "task_id": self._stamped(dict(args["headers"]))}
        if (act := self._kept_here.get(command.name)) is not None:
            if not nodes and not command.destination:
                return {self._here: act(None, args)}
            return {node: act(worker, args) for node, worker in nodes.items()}
        known = census.Census(Kept(self._desk, scheduled=command.name == "scheduled"), picture, 0.0)
        replies = census.TOPICS[command.name](known, nodes, command.args)
        elsewhere = replies.pop("", None)
        if elsewhere and not command.destination:
            replies[self._here] = elsewhere
        return replies

    @property
    def _here(self) -> str:
        """Redis, as a node."""
        return f"broker@{urlsplit(self._desk.url).hostname or 'localhost'}"

    def _time_limit(self, worker: WorkerState | None, args: dict[str, Any]) -> Any:
        name, times = commands.times(args, self._desk.now)
        known = tuning.of(self._desk, name)
        # one reply for each worker, and the limits are all workers'
        if known.times is None or (known.times.soft, known.times.hard) != (times.soft, times.hard):
            tuning.keep(self._desk, msgspec.structs.replace(known, times=times))
        return commands.TIMES_SET

    def _rate_limit(self, worker: WorkerState | None, args: dict[str, Any]) -> Any:
        name, rate = commands.rate(args)
        known = tuning.of(self._desk, name)
        # one reply for each worker, and the rate is all workers'
        if known.rate != rate:
            tuning.keep(self._desk, msgspec.structs.replace(known, rate=rate))
        return commands.rate_set(rate)

    def _revoke(self, worker: WorkerState | None, args: dict[str, Any]) -> Any:
        wanted = commands.revocation(args)
        unknown = [id for id, found in self._desk.look(wanted.ids) if found is None]
        for id in wanted.ids:
            steps.cancel(self._desk, id, terminate=wanted.terminate, at_once=wanted.at_once)
        return commands.revoked(wanted, unknown)

    def _stamped(self, wanted: dict[str, list[Any]]) -> list[str]:
        found = self._desk.look(waiting(self._desk))
        return commands.stamped((one.record.task for _, one in found if one is not None), wanted)

    def _events(self, worker: WorkerState | None, args: dict[str, Any], *, on: bool) -> Any:
        if worker is None:
            return commands.NO_WORKER
        if on:
            changed = self._desk.command(b"HDEL", "silent", worker.id)
        else:
            changed = self._desk.command(b"HSET", "silent", worker.id, b"")
        self._desk.command(b"EXPIRE", "silent", 30 * 86_400)
        self._desk.command(b"PUBLISH", CHANNEL, b"")
        return commands.events_told(on, already=not changed)

    # ── purge, and what is due ───────────────────────────────────────────────────────────────

    def turn(self, now: float) -> None:
        """Delete some more; those who have not answered in time will not."""
        for order, pending in list(self._orders.items()):
            if pending.until <= now:
                self._finish(order)
        if self._purges:
            self._purge(self._purges[0])

    def due(self) -> float:
        """When that is to be done next, on the monotonic clock."""
        if self._purges:
            return 0.0
        return min((pending.until for pending in self._orders.values()), default=inf)

    def _purge(self, purge: Purge) -> None:
        for _, found in self._desk.look(purge.ids[:_PURGED_AT_ONCE]):
            if found is None or found.record.place == LEASED:
                continue
            if found.record.place == DONE:  # one before it took it along, which it waited for
                purge.deleted += found.record.state == REVOKED
                continue
            if not purge.queues or found.record.task.queue in purge.queues:
                purge.deleted += Move(self._desk, found).end(verdicts.PURGED, release=False)
        del purge.ids[:_PURGED_AT_ONCE]
        if not purge.ids:
            self._purges.pop(0)
            self._desk.deliver(m.Answer(purge.question, purge.deleted))
