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

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import count, islice
from typing import Any, Final

from nbqueue import messages as m
from nbqueue.core import census, timers, verdicts
from nbqueue.core.actions import Peer
from nbqueue.core.audience import Audience, ClientSession
from nbqueue.core.dispatch import Dispatcher
from nbqueue.core.executors import WorkerState
from nbqueue.core.limits import TimeLimits
from nbqueue.core.outbox import Outbox
from nbqueue.core.records import DONE, LEASED
from nbqueue.core.tasks import Tasks
from nbqueue.states import REVOKED

# Topics of Ask
INSPECT: Final = "inspect"
CONTROL: Final = "control"
PURGE: Final = "purge"
REVOKE_STAMPED: Final = "revoke_by_stamped_headers"

#: what workers are asked for, and what they are told to do
ASKED: Final = frozenset({"ping", "stats", "conf", "report"})
TOLD: Final = frozenset({
    "pool_grow", "pool_shrink", "pool_restart", "autoscale", "add_consumer", "cancel_consumer", "shutdown",
})  # fmt: skip
#: seconds that workers may be given to answer
LONGEST: Final = 600.0
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
            REVOKE_STAMPED: self._revoke,
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
        order = str(question.args.get("order", "")) if question.topic != INSPECT else ""
        if order and order in self._given:
            self._outbox.send(client.peer, m.Answer(question.number, self._given[order]))
        elif order and (known := self._known(order)) is not None:
            known.client, known.question = client.id, question.number
        elif question.topic == PURGE:
            self._purge(client, question, order)
        else:
            self._order(client, question, order, now)

    def _known(self, order: str) -> Pending | Purge | None:
        under_way: Iterable[Pending | Purge] = (*self._orders.values(), *self._purges)
        return next((pending for pending in under_way if pending.order == order), None)

    def _order(self, client: ClientSession, question: m.Ask, order: str, now: float) -> None:
        command = str(question.args.get("command", ""))
        args = question.args.get("args") or {}
        timeout = float(question.args.get("patience", 1.0))
        if not isinstance(args, dict) or not math.isfinite(timeout):
            raise ValueError("args is a dict, and patience a number of seconds")
        nodes = self._nodes(question.args.get("destination"))
        allowed = ASKED | census.TOPICS.keys()
        if question.topic == CONTROL:
            allowed = allowed | TOLD | self._done_here.keys()
        if command not in allowed:
            raise ValueError(f"no command is called {command!r}; there are: {', '.join(sorted(allowed))}")
        if command in ASKED or command in TOLD:
            pending = Pending(order, client.id, question.number, command, {})
            self._pass_on(pending, nodes, args, now + min(max(timeout, 0.0), LONGEST))
        else:
            try:
                replies = self._answer_here(command, nodes, args, question, now)
            except KeyError as error:
                raise ValueError(f"{command} needs {error}") from None
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

    def _nodes(self, destination: Any) -> dict[str, WorkerState]:
        """Workers that are there, by name; of several with the same name each has its pid behind it."""
        if isinstance(destination, str):
            destination = [destination]
        workers = [worker for worker in self._dispatch.workers.values() if worker.hello is not None]
        if destination:
            workers = [w for w in workers if {w.name, f"{w.name}#{w.pid}"} & set(map(str, destination))]
        names = [worker.name for worker in workers]
        return {w.name if names.count(w.name) == 1 else f"{w.name}#{w.pid}": w for w in workers}

    @property
    def _here(self) -> str:
        """The broker, as a node."""
        return f"broker@{self._welcome.host}"

    # ── what the broker answers itself ───────────────────────────────────────────────────────

    def _answer_here(
        self, command: str, nodes: dict[str, WorkerState], args: dict[str, Any], question: m.Ask, now: float
    ) -> Replies:
        if command == REVOKE_STAMPED:  # found once: after the first worker's reply they are revoked
            args = {**args, "task_id": self._stamped(dict(args["headers"]))}
        if (act := self._done_here.get(command)) is not None:
            if not nodes and not question.args.get("destination"):
                return {self._here: act(None, args, now)}
            return {node: act(worker, args, now) for node, worker in nodes.items()}
        known = census.Census(self._tasks.records, self._dispatch, self._welcome.epoch)
        everywhere = not question.args.get("destination")
        replies: Replies = census.TOPICS[command](known, nodes, args)
        elsewhere = replies.pop("", None)
        if elsewhere and everywhere:
            replies[self._here] = elsewhere
        return replies

    def _rate_limit(self, worker: WorkerState | None, args: dict[str, Any], now: float) -> Any:
        name, rate = str(args["task_name"]), args["rate_limit"]
        if rate is not None and not 0 <= float(rate) < math.inf:
            raise ValueError(f"a rate is a number of starts a second, not {rate!r}")
        # one reply for each worker, and the rate is all workers'
        if name not in self._tasks.limits.rates or self._tasks.limits.rates[name] != rate:
            self._dispatch.set_rate(name, None if rate is None else float(rate), now)
        if rate is None:
            return {"ok": "rate limit is again what the tasks say"}
        return {"ok": "new rate limit set successfully" if rate else "rate limit disabled successfully"}

    def _time_limit(self, worker: WorkerState | None, args: dict[str, Any], now: float) -> Any:
        name, soft, hard = str(args["task_name"]), args.get("soft"), args.get("hard")
        for limit in (soft, hard):
            if limit is not None and not 0 <= float(limit) < math.inf:
                raise ValueError(f"a time limit is a number of seconds, not {limit!r}")
        if soft is not None and hard is not None and soft > hard:
            raise ValueError(f"soft ({soft:g} s) is above hard ({hard:g} s): it would never be reached")
        known = self._tasks.limits.times.get(name)
        if known is None or (known.soft, known.hard) != (soft, hard):
            self._dispatch.set_time_limits(name, TimeLimits(soft, hard, now))
        return {"ok": "time limits set successfully"}

    def _revoke(self, worker: WorkerState | None, args: dict[str, Any], now: float) -> Any:
        ids = args["task_id"]
        ids = [str(id) for id in ids] if isinstance(ids, list) else [str(ids)]
        terminate = bool(args.get("terminate"))
        unknown = [id for id in ids if self._tasks.records.get(id) is None]
        for id in ids:
            self._tasks.cancel(id, now, terminate=terminate, at_once=bool(args.get("at_once")))
        if len(unknown) == len(ids):
            return {"error": f"no task is known as {', '.join(unknown)}"}
        text = f"tasks {', '.join(ids)} {'terminated' if terminate else 'flagged as revoked'}"
        return {"ok": text + (f"; not known: {', '.join(unknown)}" if unknown else "")}

    def _stamped(self, wanted: Mapping[str, list[Any]]) -> list[str]:
        """Ids of what has not ended and carries one of these stamps.

        Raises
        ------
        ValueError
            There is none.
        """
        records = self._tasks.records
        ids = [r.task.id for r in records if r.place != DONE and _is_stamped(r.task, wanted)]
        if not ids:
            raise ValueError(f"no task that has not ended is stamped so: {', '.join(wanted)}")
        return ids

    def _events(self, worker: WorkerState | None, *, on: bool) -> Any:
        if worker is None:
            return {"error": "no worker is connected"}
        word = "enabled" if on else "disabled"
        already = "already " if worker.tells_events == on else ""
        worker.tells_events = on
        return {"ok": f"task events {already}{word}"}

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


def _is_stamped(task: m.Task, wanted: Mapping[str, list[Any]]) -> bool:
    """Whether a task carries one of these stamps with one of its values."""
    stamps = task.headers.get("stamps") if task.headers is not None else None
    if not isinstance(stamps, dict):
        return False
    mine = {name: values for name in wanted if isinstance(values := stamps.get(name), list)}
    return any(value in wanted[name] for name, values in mine.items() for value in values)
