"""Remote control: what may be asked of workers, and what can be done to them, by name.

What the broker knows it answers itself, one reply for each worker, as Celery's workers would.  What only a
worker knows, or has to do, is passed on to it::

    client            broker                    workers
      │ Ask(control) ──▶ │ ── Order(number) ──────▶ │ │ │
      │                  │ ◀──────── Reply(number)  │ │
      │ ◀────── Answer   │    … all have answered, or time is over

An order has a name of its client's making.  A question that is asked once more, over another connection, is
the same order, and is carried out once.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import count, islice
from typing import Any, Final

from nbqueue import messages as m
from nbqueue.core import census, commands, timers, verdicts
from nbqueue.core.actions import Peer
from nbqueue.core.audience import Audience, ClientSession
from nbqueue.core.commands import Command
from nbqueue.core.dispatch import Dispatcher
from nbqueue.core.executors import WorkerState
from nbqueue.core.outbox import Outbox
from nbqueue.core.records import DONE, LEASED
from nbqueue.core.tasks import Tasks
from nbqueue.states import REVOKED

#: orders that wait for replies
UNDER_WAY: Final = 1000
#: orders of which the answer is remembered, for those who ask again
REMEMBERED: Final = 1000
#: tasks that a turn deletes
PURGED_AT_ONCE: Final = 2000

Replies = dict[str, dict[str, Any]]


@dataclass
class Pending:
    """An order that is not answered yet."""

    order: str
    client: str
    question: int
    command: str
    #: workers that have not replied, and what their nodes are called
    waiting: dict[str, str]
    replies: Replies = field(default_factory=dict)


@dataclass
class Purge:
    """Tasks that are to be deleted."""

    order: str
    client: str
    question: int
    ids: list[str]
    deleted: int = 0


class Panel:
    """See the module's docstring."""

    def __init__(
        self,
        welcome: m.Welcome,
        tasks: Tasks,
        dispatch: Dispatcher,
        audience: Audience,
        outbox: Outbox,
        pending: timers.Timers,
    ) -> None:
        self._welcome = welcome
        self._tasks = tasks
        self._dispatch = dispatch
        self._audience = audience
        self._outbox = outbox
        self._timers = pending
        self._numbers = count(1)
        #: by the number of their Order
        self._orders: dict[int, Pending] = {}
        self._purges: list[Purge] = []
        #: answers that were given, by order
        self._given: dict[str, Any] = {}
        self._done_here: Mapping[str, Callable[[WorkerState | None, dict[str, Any], float], Any]] = {
            "rate_limit": self._rate_limit,
            "time_limit": self._time_limit,
            "revoke": self._revoke,
            commands.REVOKE_STAMPED: self._revoke,
            "enable_events": lambda worker, args, now: self._events(worker, on=True),
            "disable_events": lambda worker, args, now: self._events(worker, on=False),
        }

    # ── questions ────────────────────────────────────────────────────────────────────────────

    def ask(self, client: ClientSession, question: m.Ask, now: float) -> None:
        """Deal with a question about one of the topics above; the answer may come later.

        Raises
        ------
        ValueError, TypeError
            It makes no sense; the message says why.
        """
        # to look twice does no harm, and what was seen may be large
        order = str(question.args.get("order", "")) if question.topic != commands.INSPECT else ""
        if order and order in self._given:
            self._outbox.send(client.peer, m.Answer(question.number, self._given[order]))
        elif order and (known := self._known(order)) is not None:
            known.client, known.question = client.id, question.number
        elif question.topic == commands.PURGE:
            self._purge(client, question, order)
        else:
            self._order(client, question, order, now)

    def _known(self, order: str) -> Pending | Purge | None:
        under_way: Iterable[Pending | Purge] = (*self._orders.values(), *self._purges)
        return next((pending for pending in under_way if pending.order == order), None)

    def _order(self, client: ClientSession, question: m.Ask, order: str, now: float) -> None:
        command = commands.read(question.topic, question.args)
        nodes = commands.nodes(self._dispatch.workers.values(), command.destination)
        if command.is_passed_on:
            pending = Pending(order, client.id, question.number, command.name, {})
            self._pass_on(pending, nodes, command.args, now + command.patience)
        else:
            try:
                replies = self._answer_here(command, nodes, now)
            except KeyError as error:
                raise ValueError(f"{command.name} needs {error}") from None
            self._answer(order, client.id, question.number, replies)

    def _pass_on(
        self, pending: Pending, nodes: dict[str, WorkerState], args: dict[str, Any], until: float
    ) -> None:
        """Ask workers; they have until then to answer."""
        if len(self._orders) >= UNDER_WAY:
            raise ValueError("too many orders wait for their workers: try again in a moment")
        number = next(self._numbers)
        for node, worker in nodes.items():
            if worker.peer is not None:
                pending.waiting[worker.id] = node
                self._outbox.send(worker.peer, m.Order(number, pending.command, args))
        self._orders[number] = pending
        self._timers.set(until, timers.ORDER, str(number))
        if not pending.waiting:
            self._finish(number)

    @property
    def _here(self) -> str:
        """The broker, as a node."""
        return f"broker@{self._welcome.host}"

    # ── what the broker answers itself ───────────────────────────────────────────────────────

    def _answer_here(self, command: Command, nodes: dict[str, WorkerState], now: float) -> Replies:
        args = command.args
        if command.name == commands.REVOKE_STAMPED:  # found once: after the first reply they are revoked
            args = {**args, "task_id": self._stamped(dict(args["headers"]))}
        if (act := self._done_here.get(command.name)) is not None:
            if not nodes and not command.destination:
                return {self._here: act(None, args, now)}
            return {node: act(worker, args, now) for node, worker in nodes.items()}
        known = census.Census(self._tasks.records, self._dispatch, self._welcome.epoch)
        replies: Replies = census.TOPICS[command.name](known, nodes, args)
        elsewhere = replies.pop("", None)
        if elsewhere and not command.destination:
            replies[self._here] = elsewhere
        return replies

    def _rate_limit(self, worker: WorkerState | None, args: dict[str, Any], now: float) -> Any:
        name, rate = commands.rate(args)
        # one reply for each worker, and the rate is all workers'
        if name not in self._tasks.limits.rates or self._tasks.limits.rates[name] != rate:
            self._dispatch.set_rate(name, rate, now)
        return commands.rate_set(rate)

    def _time_limit(self, worker: WorkerState | None, args: dict[str, Any], now: float) -> Any:
        name, times = commands.times(args, now)
        known = self._tasks.limits.times.get(name)
        if known is None or (known.soft, known.hard) != (times.soft, times.hard):
            self._dispatch.set_time_limits(name, times)
        return commands.TIMES_SET

    def _revoke(self, worker: WorkerState | None, args: dict[str, Any], now: float) -> Any:
        wanted = commands.revocation(args)
        unknown = [id for id in wanted.ids if self._tasks.records.get(id) is None]
        for id in wanted.ids:
            self._tasks.cancel(id, now, terminate=wanted.terminate, at_once=wanted.at_once)
        return commands.revoked(wanted, unknown)

    def _stamped(self, wanted: Mapping[str, list[Any]]) -> list[str]:
        return commands.stamped((r.task for r in self._tasks.records if r.place != DONE), wanted)

    def _events(self, worker: WorkerState | None, *, on: bool) -> Any:
        if worker is None:
            return commands.NO_WORKER
        already, worker.tells_events = worker.tells_events == on, on
        return commands.events_told(on, already=already)

    # ── what workers answer ──────────────────────────────────────────────────────────────────

    def replied(self, peer: Peer, worker: WorkerState, reply: m.Reply, now: float) -> None:
        """A worker has answered an order."""
        pending = self._orders.get(reply.number)
        if pending is None or worker.id not in pending.waiting:
            return  # too late
        data = {"error": reply.error} if reply.error else reply.data
        if pending.command == "stats" and isinstance(data, dict):
            data["total"] = dict(worker.total)
        pending.replies[pending.waiting.pop(worker.id)] = data
        if not pending.waiting:
            self._finish(reply.number)

    def gone(self, worker: WorkerState) -> None:
        """A worker left: nobody waits for what it would say."""
        for number, pending in list(self._orders.items()):
            if pending.waiting.pop(worker.id, None) is not None and not pending.waiting:
                self._finish(number)

    def time_is_over(self, number: str) -> None:
        """Those who have not answered will not."""
        if int(number) in self._orders:
            self._finish(int(number))

    def _finish(self, number: int) -> None:
        pending = self._orders.pop(number)
        self._answer(pending.order, pending.client, pending.question, pending.replies)

    def _answer(self, order: str, client_id: str, question: int, data: Any) -> None:
        if order:
            self._given[order] = data
            while len(self._given) > REMEMBERED:
                del self._given[next(iter(self._given))]
        client = self._audience.clients.get(client_id)
        if client is not None:
            self._outbox.send(client.peer, m.Answer(question, data))

    # ── purge ────────────────────────────────────────────────────────────────────────────────

    def _purge(self, client: ClientSession, question: m.Ask, order: str) -> None:
        """Delete what waits, in some queues or all; a part of it each turn."""
        queues = question.args.get("queues") or ()
        ids = [
            record.task.id
            for record in self._tasks.records
            if record.place not in (LEASED, DONE) and (not queues or record.task.queue in queues)
        ]
        self._purges.append(Purge(order, client.id, question.number, ids))

    @property
    def has_more_to_do(self) -> bool:
        return bool(self._purges)

    def go_on(self, now: float) -> None:
        """Delete some more."""
        if not self._purges:
            return
        purge = self._purges[0]
        for id in islice(purge.ids, PURGED_AT_ONCE):
            record = self._tasks.records.get(id)
            if record is not None and record.place not in (LEASED, DONE):
                self._tasks.end(record, verdicts.PURGED, now)
            # or one before it took it along, which it waited for
            purge.deleted += record is not None and record.state == REVOKED
        del purge.ids[:PURGED_AT_ONCE]
        if not purge.ids:
            self._purges.pop(0)
            self._answer(purge.order, purge.client, purge.question, purge.deleted)
