"""A client's part: submits, is told of its tasks on ``c:CLIENT``, looks records up, revokes, asks."""

import struct
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

import hiredis
import msgspec

from nbqueue import messages as m
from nbqueue.core import verdicts
from nbqueue.core.audience import story
from nbqueue.core.records import DONE, LEASED
from nbqueue.core.settings import too_large
from nbqueue.core.validation import flaw
from nbqueue.exceptions import NBQueueError, ProtocolError
from nbqueue.messages import MAX_BATCH, AnyMessage
from nbqueue.transports.redis import answers
from nbqueue.transports.redis.blobs import Blobs
from nbqueue.transports.redis.chores import Chores, interruption, kill_timer
from nbqueue.transports.redis.desk import Desk, Part, said
from nbqueue.transports.redis.moves import Move, decide
from nbqueue.transports.redis.names import entry_of, lane_of, size_of
from nbqueue.transports.redis.pieces import LARGE
from nbqueue.transports.redis.records import Call, Envelope, blobs_of
from nbqueue.transports.redis.templates import Plan, Plans
from nbqueue.wire.signing import ForgedError

#: seconds between two looks at what is due: workers look more often
_LOOK: Final = 2.0
#: ids that are listed, of all and of each notebook
_RECENT: Final = 10_000
#: bytes of submissions in one call
_SUBMIT_BYTES: Final = 8 * 2**20
_LENGTH: Final = struct.Struct(">I")
_KNOWN: Final = 1
_FULL: Final = 2


#: what tasks may ask for that Redis does not see to yet, by the field that says so
_LACKS: Final = {
    "step": "workflows",
    "rate": "rate limits",
    "demand": "demands on workers",
}


def _absent(what: str) -> str:
    return f"{what} need nbqueue's own broker: Redis as the broker does not have them yet"


def _lack(task: m.Task) -> str:
    """Why a task is not for Redis, "" if it is."""
    return next((_absent(what) for field, what in _LACKS.items() if getattr(task, field)), "")


class Shape(NamedTuple):
    """What many tasks have in common when they are submitted; the fields are those of ``submit.lua``."""

    queue: str
    lane: str
    priority: str
    blobs: tuple[str, ...]
    delay: float = 0.0
    expires: float = -1.0


class ClientPart(Part):
    """See the module's docstring."""

    def __init__(self, desk: Desk, hello: m.Hello) -> None:
        super().__init__(desk, hello)
        #: outcomes that were told of together
        self._outcomes: list[m.Outcome] = []
        #: tasks that were submitted again, whose story is to be told
        self._to_watch: list[str] = []
        self._blobs = Blobs(desk)
        self._plans = Plans(desk.sealed, hello.id, hello.notebook)
        #: templates that were sent on this connection
        self._defined: dict[str, Plan] = {}

    def greet(self) -> None:
        self.desk.subscribe(f"c:{self.hello.id}")
        self._sign_of_life()
        self._chores = Chores(self.desk, _LOOK)
        self.desk.wire.ask(b"PING")  # what we may not do is said before anybody relies on us
        self.desk.deliver(self.desk.welcome())

    def _sign_of_life(self) -> None:
        desk = self.desk
        clients = desk.names("clients")
        desk.wire.call(b"ZADD", clients, desk.now, self.hello.id, then=_nothing)
        desk.wire.call(b"EXPIRE", clients, int(desk.settings.worker_lease) + 1, then=_nothing)

    def say(self, message: AnyMessage) -> None:
        match message:
            case m.Submit(tasks):
                self._submit(tasks)
            case m.Define():
                self._define(message)
            case m.Ping():
                self._sign_of_life()
                self.desk.wire.call(b"PING", then=lambda _: self.desk.deliver(m.Pong(1)))
            case m.Watch(ids):
                self._watch(ids)
            case m.Cancel():
                for id in message.ids:
                    decide(self.desk, id, None, partial(self._cancel, terminate=message.terminate))
            case m.Forget(ids):
                self.desk.run("forget", self.hello.id, *ids)
            case m.Ask():
                self._answer(message)
            case m.Schedule(number) | m.Unschedule(number):
                self.desk.deliver(m.Answer(number, None, _absent("periodic tasks")))
            case m.Goodbye():
                self.desk.wire.call(b"ZREM", self.desk.names("clients"), self.hello.id, then=_nothing)
            case _:
                self.refuse(message)

    # ── submitting ───────────────────────────────────────────────────────────────────────────

    def _define(self, message: m.Define) -> None:
        size, limit = len(message.blob), self.desk.payload_limit
        if size > limit:
            self.desk.deliver(m.Refused(too_large("a function", size, limit)))
            return
        self._blobs.define(message.key, message.blob)

    def _submit(self, tasks: Sequence[m.Task]) -> None:
        for batch in self._batches(tasks):
            self._send(batch)

    def _batches(self, tasks: Sequence[m.Task]) -> Iterator[dict[str, m.Task]]:
        """Those that can be right, so many as go together."""
        batch: dict[str, m.Task] = {}
        room, limit = _SUBMIT_BYTES, self.desk.payload_limit
        for task in tasks:
            size = len(task.payload) + len(task.captured)
            reason = flaw(task) or _lack(task)
            if size > limit:
                reason = reason or too_large(f"the arguments of {task.name}()", size, limit)
            if reason:
                self.desk.deliver(m.Rejected(task.id, reason))
                continue
            if len(task.payload) > LARGE:
                task = self._blobs.apart(task)
                size = len(task.captured)
            if batch and (size > room or len(batch) == MAX_BATCH or task.id in batch):
                yield batch
                batch, room = {}, _SUBMIT_BYTES
            batch[task.id] = task
            room -= size
        if batch:
            yield batch

    def _send(self, batch: dict[str, m.Task]) -> None:
        """Submit tasks of different ids, those together that have the rest in common."""
        desk, now = self.desk, self.desk.now
        shapes: dict[Shape, list[bytes | str]] = {}
        order: dict[Shape, list[m.Task]] = {}
        for task in batch.values():
            if not task.payload_key and (plan := self._plans.of(task)) is not None:
                shape, written = self._called(plan, task, now)
            else:
                shape, written = self._whole(task, now)
            shapes.setdefault(shape, []).extend(written)
            order.setdefault(shape, []).append(task)
        head = {
            "max_queued": desk.settings.max_queued,
            "recent": _RECENT,
            "expires": desk.expires // 1000,
            "notebook": self.hello.notebook,
            "shapes": [{"number": len(order[shape]), **shape._asdict()} for shape in shapes],
        }
        words = [word for written in shapes.values() for word in written]
        tasks = [task for group in order.values() for task in group]
        desk.tell("submit", said(head), *words, then=partial(self._on_submitted, tasks))

    def _called(self, plan: Plan, task: m.Task, now: float) -> tuple[Shape, tuple[str, bytes]]:
        """The shape of a task, its entry, and what is kept of it, if a template has the rest."""
        if plan.name not in self._defined:
            self._keep_template(plan)
        call = Call(plan.key, now, task.payload, task.captured, task.group, task.parent_id, task.root_id)
        shape = Shape(plan.queue, plan.lane, plan.priority, plan.blobs)
        return shape, (f"{plan.tag}{size_of(task)}{task.id}", self.desk.sealed.call(task.id, call))

    def _whole(self, task: m.Task, now: float) -> tuple[Shape, tuple[str, bytes]]:
        """The same if none has."""
        shape = Shape(
            task.queue, lane_of(task), str(task.priority), tuple(blobs_of(task)), max(0.0, task.countdown),
            -1.0 if task.expires is None else max(0.0, task.expires),
        )  # fmt: skip
        envelope = Envelope(task, self.hello.id, self.hello.notebook, now)
        return shape, (entry_of(task), self.desk.sealed.envelope(envelope))

    def _keep_template(self, plan: Plan) -> None:
        self._defined[plan.name] = plan
        # as in Blobs.define
        key = self.desk.names(f"blob:{plan.name}")
        self.desk.wire.call(b"SET", key, plan.template, b"EX", 3600, b"NX", then=_nothing)

    def _on_submitted(self, tasks: list[m.Task], reply: Any) -> None:
        deliver = self.desk.deliver
        if isinstance(reply, hiredis.ReplyError):
            self._on_refusal(tasks, str(reply))
            return
        if not reply:
            deliver(m.Accepted([task.id for task in tasks]))
            return
        accepted: list[str] = []
        known: list[str] = []
        missing: dict[str, list[m.Task]] = {}
        for task, answer in zip(tasks, reply, strict=True):
            if answer == _FULL:
                self._blobs.drop(task)
                most = self.desk.settings.max_queued
                deliver(
                    m.Rejected(
                        task.id,
                        f"queue {task.queue!r} is full: it has {most:,} unfinished tasks (max_queued);"
                        " submit again when some are done",
                    )
                )
            elif isinstance(answer, bytes):
                missing.setdefault(answer.decode(), []).append(task)
            else:
                accepted.append(task.id)
                if answer == _KNOWN:
                    self._blobs.drop(task)
                    known.append(task.id)
        for key, those in missing.items():
            self._on_missing(key, those)
        if accepted:
            deliver(m.Accepted(accepted))
        if known:
            self._to_watch += known

    def _on_missing(self, key: str, tasks: list[m.Task]) -> None:
        """A blob has gone, since no task needed it for an hour."""
        if self._defined.pop(key, None) is not None:
            self._submit(tasks)
        elif self._blobs.was_refused(key):
            self._on_refusal(tasks, "OOM")
        else:
            self.desk.deliver(m.Missing(key, [task.id for task in tasks]))

    def _on_refusal(self, tasks: list[m.Task], error: str) -> None:
        if not error.startswith("OOM"):
            raise self.desk.fault(error)
        for task in tasks:
            self._blobs.drop(task)
            text = "Redis has no memory left for tasks (its maxmemory): submit again when some are done"
            self.desk.deliver(m.Rejected(task.id, text))

    # ── records ──────────────────────────────────────────────────────────────────────────────

    def _watch(self, ids: Sequence[str]) -> None:
        absent = []
        for id, found in self.desk.look(ids, watcher=self.hello.id, traces=True):
            if found is None:
                absent.append(id)
                continue
            for message in story(found.record):
                self.desk.deliver(message)
        if absent:
            self.desk.deliver(m.NotFound(absent))

    def _cancel(self, move: Move, *, terminate: bool) -> bool | None:
        record, desk = move.record, self.desk
        if record.place == DONE:
            return None
        if record.place != LEASED:
            return move.end(verdicts.CANCELLED, release=False)
        if terminate:
            timer = (desk.now + desk.settings.cancel_grace, kill_timer(move))
            orders = interruption(move, "cancel")
            return move.end(verdicts.CANCELLED, release=False, timers=[timer], orders=orders)
        record.revoked = True
        return move.stay(orders=[(f"k:{move.executor}", m.Drop([move.token]))])

    # ── questions ────────────────────────────────────────────────────────────────────────────

    def _answer(self, question: m.Ask) -> None:
        desk, number = self.desk, question.number
        if question.topic == "noted":
            # all before it has been sent, and is answered first
            desk.wire.call(b"PING", then=lambda _: desk.deliver(m.Noted(number)))
            return
        topic = answers.TOPICS.get(question.topic)
        if topic is None:
            error = _absent(f"questions about {question.topic!r}")
            desk.deliver(m.Answer(number, None, error))
            return
        try:
            data = topic(desk, question.args)
        except (TypeError, ValueError, OverflowError, NBQueueError) as error:
            desk.deliver(m.Answer(number, None, f"{question.topic}: {error}"))
            return
        desk.deliver(m.Answer(number, data))

    # ── hearing ──────────────────────────────────────────────────────────────────────────────

    def pushed(self, channel: bytes, message: bytes) -> None:
        try:
            for kind, sealed in _frames(message):
                if kind == b"r":
                    self._outcomes.append(self.desk.sealed.open_news(sealed).outcome)
                else:
                    self._tell()
                    for event in self.desk.sealed.open_events(sealed):
                        self.desk.deliver(event)
        except (ForgedError, ProtocolError, struct.error, msgspec.MsgspecError) as error:
            self.desk.report_forgery(str(error))

    def _tell(self) -> None:
        outcomes, self._outcomes = self._outcomes, []
        if outcomes:
            self.desk.deliver(m.Settle(outcomes))

    def turn(self, now: float) -> None:
        self._tell()
        if self._to_watch:
            known, self._to_watch = self._to_watch, []
            self._watch(known)
        self._chores.turn(now)

    def due(self) -> float:
        return self._chores.due


def _frames(message: bytes) -> Iterator[tuple[bytes, bytes]]:
    """What was published as one: kind and content of each."""
    at = 0
    while at < len(message):
        (length,) = _LENGTH.unpack_from(message, at)
        at += _LENGTH.size
        yield message[at : at + 1], message[at + 1 : at + length]
        at += length


def _nothing(reply: object) -> None:
    """For commands whose reply tells nothing."""
