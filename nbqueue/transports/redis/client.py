"""A client's part: submits, is told of its tasks on ``c:CLIENT``, looks records up, revokes, asks."""

import struct
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any, Final, TypeAlias

import hiredis
import msgspec

from nbqueue import messages as m
from nbqueue.core.audience import story
from nbqueue.core.records import Record, Sender
from nbqueue.core.settings import too_large
from nbqueue.core.validation import flaw
from nbqueue.exceptions import NBQueueError, ProtocolError
from nbqueue.messages import MAX_BATCH, AnyMessage
from nbqueue.transports.redis import answers, periodic, steps, tuning
from nbqueue.transports.redis.blobs import Blobs
from nbqueue.transports.redis.chores import Chores
from nbqueue.transports.redis.desk import Desk, Part, frames, said
from nbqueue.transports.redis.listening import Listening
from nbqueue.transports.redis.names import entry_of, lane_of, size_of, unfit
from nbqueue.transports.redis.pieces import LARGE
from nbqueue.transports.redis.records import Call, Envelope, blobs_of
from nbqueue.transports.redis.remote import TOPICS, Remote
from nbqueue.transports.redis.streams import Readings
from nbqueue.transports.redis.templates import Plan, Plans, Shape
from nbqueue.transports.redis.weaving import RECENT, Weaver, full
from nbqueue.wire.signing import ForgedError

#: seconds between two looks at what is due: workers look more often
_LOOK: Final = 2.0
#: bytes of submissions in one call
_SUBMIT_BYTES: Final = 8 * 2**20
_KNOWN: Final = 1
_FULL: Final = 2


#: a task, and how it is submitted unless that is as a whole
Planned: TypeAlias = tuple[m.Task, Plan | None]


class ClientPart(Part):
    """See the module's docstring."""

    def __init__(self, desk: Desk, hello: m.Hello) -> None:
        super().__init__(desk, hello)
        #: outcomes that were told of together
        self._outcomes: list[m.Outcome] = []
        #: tasks that were submitted again, whose story is to be told
        self._to_watch: list[str] = []
        self._blobs = Blobs(desk)
        self._weaver = Weaver(desk, hello, self._to_watch)
        self._readings = Readings(desk, hello.id)
        self._plans = Plans(desk.sealed, hello.id, hello.notebook)
        #: templates that were sent on this connection
        self._defined: dict[str, Plan] = {}
        #: set at runtime, of tasks that do not say one
        self._rates: dict[str, float] = {}

    def greet(self) -> None:
        self.desk.subscribe(f"c:{self.hello.id}", "news")
        self._rates = tuning.rates(self.desk)
        self._sign_of_life()
        self._chores = Chores(self.desk, _LOOK)
        self._remote = Remote(self.desk, self.hello.id)
        self._listening = Listening(self.desk, self.hello.id)
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
                self._listening.go_on()
                self.desk.wire.call(b"PING", then=lambda _: self.desk.deliver(m.Pong(1)))
            case m.Watch(ids):
                self._watch(ids)
            case m.Cancel():
                for id in message.ids:
                    steps.cancel(self.desk, id, terminate=message.terminate)
            case m.Stream():
                self._readings.say(message)
            case m.Forget(ids):
                self.desk.run("forget", self.hello.id, *ids)
            case m.Ask():
                self._answer(message)
            case m.Listen(types):
                self._listening.listen(types)
            case m.Schedule():
                self._schedule(message)
            case m.Unschedule(number, app, names):
                periodic.remove(self.desk, app, names)
                self.desk.deliver(m.Noted(number))
            case m.Goodbye():
                self._listening.end()
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
            if steps := [task for task, _ in batch.values() if task.step is not None]:
                for step in steps:
                    del batch[step.id]
            if batch:  # they wait for none, so that they may as well come before those that do
                self._send(batch.values())
            if steps:
                self._weaver.submit(steps)

    def _batches(self, tasks: Sequence[m.Task]) -> Iterator[dict[str, Planned]]:
        """Those that can be right, so many as go together."""
        batch: dict[str, Planned] = {}
        room, limit, plan_of = _SUBMIT_BYTES, self.desk.payload_limit, self._plans.of
        for task in tasks:
            if self._rates and not task.rate and (rate := self._rates.get(task.name)):
                task = msgspec.structs.replace(task, rate=rate)
            size, plan = len(task.payload) + len(task.captured), plan_of(task)
            reason = (flaw(task) or unfit(task)) if plan is None else plan.flaw
            if size > limit:
                reason = reason or too_large(f"the arguments of {task.name}()", size, limit)
            if reason:
                self._weaver.reject(task.id, reason)
                continue
            if len(task.payload) > LARGE and not (task.step is not None and task.step.on == m.SAVED):
                task, plan = self._blobs.apart(task), None
                size = len(task.captured)
            if batch and (size > room or len(batch) == MAX_BATCH or task.id in batch):
                yield batch
                batch, room = {}, _SUBMIT_BYTES
            batch[task.id] = task, plan
            room -= size
        if batch:
            yield batch

    def _send(self, batch: Iterable[Planned]) -> None:
        """Submit tasks of different ids, those together that have the rest in common."""
        desk, now = self.desk, self.desk.now
        seal = desk.sealed.call
        groups: dict[Shape, list[m.Task]] = {}
        written: dict[Shape, list[bytes | str]] = {}
        last: Plan | None = None
        for task, plan in batch:
            if plan is None:
                shape = _shape(task)
                words: tuple[str, bytes] = entry_of(task), self._whole(task, now)
                last = None
            else:
                shape = plan.shape
                call = Call(
                    plan.key, now, task.payload, task.captured, task.group, task.parent_id, task.root_id
                )
                words = f"{plan.tag}{size_of(task)}{task.id}", seal(task.id, call)
            if plan is None or plan is not last:
                last = plan
                group, texts = groups.setdefault(shape, []), written.setdefault(shape, [])
                if plan is not None and plan.name not in self._defined:
                    self._keep_template(plan)
            group.append(task)
            texts += words
        head = {
            "max_queued": desk.settings.max_queued,
            "recent": RECENT,
            "expires": desk.expires // 1000,
            "notebook": self.hello.notebook,
            "shapes": [{"number": len(group), **shape._asdict()} for shape, group in groups.items()],
        }
        told = [word for texts in written.values() for word in texts]
        tasks = [task for group in groups.values() for task in group]
        desk.tell("submit", said(head), *told, then=partial(self._on_submitted, tasks))

    def _whole(self, task: m.Task, now: float) -> bytes:
        """What is kept of a task of which no template has anything."""
        return self.desk.sealed.envelope(Envelope(task, self.hello.id, self.hello.notebook, now))

    def _keep_template(self, plan: Plan) -> None:
        self._defined[plan.name] = plan
        # as in Blobs.define
        key = self.desk.names(f"blob:{plan.name}")
        self.desk.wire.call(b"SET", key, plan.template, b"EX", 3600, b"NX", then=_nothing)

    def _on_submitted(self, tasks: list[m.Task], reply: Any) -> None:
        deliver = self.desk.deliver
        if isinstance(reply, hiredis.ReplyError):
            for task in tasks:
                self._blobs.drop(task)
            self._weaver.refused(tasks, str(reply))
            return
        if not reply:
            deliver(m.Accepted([task.id for task in tasks]))
            if self.desk.events_of.on:
                self._tell_sent(tasks)
            return
        accepted: list[str] = []
        known: list[str] = []
        missing: dict[str, list[m.Task]] = {}
        for task, answer in zip(tasks, reply, strict=True):
            if answer == _FULL:
                self._blobs.drop(task)
                self._weaver.reject(task.id, full(task, self.desk.settings.max_queued))
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
        if self.desk.events_of.on:
            new = set(accepted) - set(known)
            self._tell_sent([task for task in tasks if task.id in new])

    def _tell_sent(self, tasks: Sequence[m.Task]) -> None:
        """Those who listen are told of tasks that have been accepted."""
        sender = Sender(self.hello.id, "", self.hello.notebook)
        for task in tasks:
            self.desk.events_of.sent(Record(task, self.desk.now, 0, sender), self.desk.now)

    def _on_missing(self, key: str, tasks: list[m.Task]) -> None:
        """A blob has gone, since no task needed it for an hour."""
        if self._defined.pop(key, None) is not None:
            self._submit(tasks)
        elif self._blobs.was_refused(key):
            self._weaver.refused(tasks, "OOM")
        else:
            self._weaver.miss(key, [task.id for task in tasks])

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

    def _schedule(self, message: m.Schedule) -> None:
        lack = next((lack for entry in message.entries if (lack := unfit(entry.task))), "")
        objection = lack or periodic.register(self.desk, message, self.hello.notebook)
        if objection:
            self.desk.deliver(m.Answer(message.number, None, objection))
        else:
            self.desk.deliver(m.Noted(message.number))

    # ── questions ────────────────────────────────────────────────────────────────────────────

    def _answer(self, question: m.Ask) -> None:
        desk, number = self.desk, question.number
        if question.topic == "noted":
            # all before it has been sent, and is answered first
            desk.wire.call(b"PING", then=lambda _: desk.deliver(m.Noted(number)))
            return
        topic = answers.TOPICS.get(question.topic)
        if topic is None and question.topic not in TOPICS:
            topics = sorted({*answers.TOPICS, *TOPICS})
            error = f"no question is about {question.topic!r}; there are: {', '.join(topics)}"
            desk.deliver(m.Answer(number, None, error))
            return
        try:
            if topic is None:
                self._remote.ask(question)
            else:
                desk.deliver(m.Answer(number, topic(desk, question.args)))
        except (TypeError, ValueError, OverflowError, NBQueueError) as error:
            desk.deliver(m.Answer(number, None, f"{question.topic}: {error}"))

    # ── hearing ──────────────────────────────────────────────────────────────────────────────

    def pushed(self, channel: bytes, message: bytes) -> None:
        if channel.endswith(b":news"):
            if message == tuning.CHANGED:
                self._rates = tuning.rates(self.desk)
            return
        if channel == self._listening.channel:
            self._tell()
            self._listening.heard(message)
            return
        try:
            for kind, sealed in frames(message):
                if kind == b"r":
                    self._outcomes.append(self.desk.sealed.open_news(sealed).outcome)
                elif kind == b"a":
                    self._remote.replied(sealed)
                else:
                    self._tell()
                    for event in self.desk.sealed.open_events(sealed):
                        self.desk.deliver(event)
                        if isinstance(event, m.Started):
                            self._readings.started(event.id)
        except (ForgedError, ProtocolError, struct.error, msgspec.MsgspecError) as error:
            self.desk.report_forgery(str(error))

    def _tell(self) -> None:
        outcomes, self._outcomes = self._outcomes, []
        if outcomes:
            self.desk.deliver(m.Settle(outcomes))

    def turn(self, now: float) -> None:
        self._tell()
        if self._to_watch:
            known = self._to_watch.copy()
            self._to_watch.clear()  # the same list: the weaver adds to it
            self._watch(known)
        self._remote.turn(now)
        self._chores.turn(now)

    def due(self) -> float:
        return min(self._chores.due, self._remote.due())


def _shape(task: m.Task) -> Shape:
    return Shape(
        task.queue, lane_of(task), str(task.priority), tuple(blobs_of(task)), max(0.0, task.countdown),
        -1.0 if task.expires is None else max(0.0, task.expires),
    )  # fmt: skip


def _nothing(reply: object) -> None:
    """For commands whose reply tells nothing."""
