"""The client's side of the protocol, without I/O: what to send, and what to make of what comes.

The session remembers what the broker has not acknowledged and says it again after every new
connection: submissions until they are accepted, questions (and what they make sure of) until they are
answered, and which unfinished tasks it wants to hear of.
"""

import itertools
import logging
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, Protocol

import msgspec

from nbqueue import messages as m
from nbqueue.client.records import Records, TaskRecord
from nbqueue.client.stream import ItemStream
from nbqueue.exceptions import NBQueueError, ProtocolError, SubmissionRefused
from nbqueue.wire.shipment import Blob

logger = logging.getLogger(__name__)


class Submission(msgspec.Struct, frozen=True, gc=False):
    """A task and the blobs that the broker must have for it.  One a call, so it costs next to nothing."""

    task: m.Task
    blobs: tuple[Blob, ...] = ()


class Question(NamedTuple):
    """An Ask, what was said just before it, and whom to tell the answer."""

    messages: tuple[m.AnyMessage, ...]
    answer: Callable[[m.Answer], object]


class Listener(Protocol):
    """Whoever is told of events; ``types`` are those that it wants, None for all."""

    types: list[str] | None

    def put(self, events: list[dict[str, Any]], lost: int) -> None: ...


class Session:
    """One client's conversation with its broker.  ``output_limit`` in characters a task."""

    def __init__(self, hello: m.Hello, output_limit: int) -> None:
        self._hello = hello
        self._output_limit = output_limit
        #: what to send next, in order
        self._outgoing: list[m.AnyMessage] = [hello]
        #: submitted, and not in ``outgoing`` yet
        self._tasks: list[m.Task] = []
        self.records = Records()
        #: submissions that were not accepted yet, in order
        self.pending: dict[str, Submission] = {}
        #: those of them that were cancelled meanwhile, and whether with terminate
        self._cancelled: dict[str, bool] = {}
        self.welcome: m.Welcome | None = None
        #: the broker did not know us, and we were not welcomed again yet
        self._returning = False
        #: what makes all further talk useless
        self.fatal: NBQueueError | None = None
        #: the broker ends
        self.ended = ""
        #: watched records that changed since somebody last looked
        self.changed: set[TaskRecord] = set()
        #: keys that the broker was sent on this connection
        self._defined: set[str] = set()
        #: not answered yet, by number
        self._questions: dict[int, Question] = {}
        self._numbers = itertools.count(1)
        #: who is told of events; those that nobody reads any more are gone from it
        self._listeners: weakref.WeakSet[Listener] = weakref.WeakSet()
        self._handlers: dict[type, Callable[[Any], None]] = {
            m.Welcome: self._on_welcome,
            m.Refused: self._on_refused,
            m.Unknown: self._on_unknown,
            m.Accepted: self._on_accepted,
            m.Rejected: self._on_rejected,
            m.Missing: self._on_missing,
            m.Known: self._on_known,
            m.NotFound: self._on_not_found,
            m.Answer: self._on_answer,
            m.Noted: lambda noted: self._on_answer(m.Answer(noted.number)),
            m.Denied: self._on_denied,
            m.Retrying: self._on_event,
            m.Requeued: self._on_event,
            m.Started: self._on_event,
            m.Progress: self._on_event,
            m.Update: self._on_event,
            m.Output: self._on_event,
            m.Settle: self._on_settle,
            m.Shutdown: self._on_shutdown,
            m.Events: self._on_events,
            m.Item: self._on_item,
        }
        #: those who read items of a task, by its id; who only stops reading is gone
        self.streams: dict[str, list[weakref.ref[ItemStream]]] = {}

    # ── what we want ─────────────────────────────────────────────────────────────────────────

    def submit(self, submission: Submission) -> None:
        """Send a task, and those of its blobs that were not sent yet on this connection."""
        self.pending[submission.task.id] = submission
        for blob in submission.blobs:
            if blob.key not in self._defined:
                self._defined.add(blob.key)
                self._outgoing.append(m.Define(blob.key, blob.data))
        self._tasks.append(submission.task)

    def _gather(self) -> None:
        """Put the tasks submitted since last time into as few messages as may be."""
        tasks, self._tasks = self._tasks, []
        for start in range(0, len(tasks), m.MAX_BATCH):
            self._outgoing.append(m.Submit(tasks[start : start + m.MAX_BATCH]))

    def ask(self, topic: str, args: dict[str, Any], answer: Callable[[m.Answer], object]) -> None:
        """Put a question until it is answered; ``answer`` is called with what comes back."""
        self._put((), topic, args, answer)

    def make_sure(self, message: m.AnyMessage, heard: Callable[[], object] = lambda: None) -> None:
        """Say something until the broker has dealt with it; ``heard`` is called then.

        Answers come in order: that of a question put after it proves it.
        """
        self._put((message,), "noted", {}, lambda _: heard())

    def order(
        self,
        message: Callable[[int], m.AnyMessage],
        blobs: Iterable[Blob],
        answer: Callable[[m.Answer], object],
    ) -> None:
        """Say something with a number until it is answered, and before it what it refers to; ``message`` is
        called with the number, ``answer`` with what comes back."""
        number = next(self._numbers)
        said = (*(m.Define(blob.key, blob.data) for blob in blobs), message(number))
        self._questions[number] = Question(said, answer)
        for each in said:
            self.say(each)

    def cancel(self, ids: list[str], terminate: bool) -> None:
        """Have tasks revoked, also those that the broker may ask for once more."""
        self._cancelled.update({id: terminate for id in ids if id in self.pending})
        self.make_sure(m.Cancel(ids, terminate))

    def _cancel_again(self, ids: Iterable[str]) -> None:
        """After tasks were submitted again of which the broker did not know when they were cancelled."""
        for id in ids:
            if id in self._cancelled:
                self.make_sure(m.Cancel([id], self._cancelled[id]))

    def _put(
        self,
        before: tuple[m.AnyMessage, ...],
        topic: str,
        args: dict[str, Any],
        answer: Callable[[m.Answer], object],
    ) -> None:
        number = next(self._numbers)
        messages = (*before, m.Ask(number, topic, args))
        self._questions[number] = Question(messages, answer)
        for message in messages:
            self.say(message)

    def withdraw(self, answer: Callable[[m.Answer], object]) -> None:
        """Nobody waits for that answer any more: do not ask again on another connection."""
        self._questions = {number: q for number, q in self._questions.items() if q.answer != answer}

    def listen(self, listener: Listener) -> None:
        """Tell it of events from now on."""
        self._listeners.add(listener)
        self.say(self._wanted)

    def unlisten(self, listener: Listener) -> None:
        """Tell it of no more."""
        self._listeners.discard(listener)
        self.say(self._wanted)

    @property
    def _wanted(self) -> m.Listen:
        """The events that somebody listens to."""
        wanted = [listener.types for listener in self._listeners]
        if None in wanted:
            return m.Listen(None)
        return m.Listen(sorted({type for types in wanted for type in types or ()}))

    def forget(self, ids: list[str], records: list[TaskRecord]) -> None:
        """Have records deleted, and end the waiting for them."""
        self.say(m.Forget(ids))
        for record in records:
            if not record.settled:
                record.on_missing()
                self._note(record)

    def take_back(self, message: m.AnyMessage, error: Exception) -> None:
        """A message (of one task at most) cannot be written: tell whom it concerns."""
        if isinstance(message, m.Submit):
            for task in message.tasks:
                self._on_rejected(m.Rejected(task.id, f"it cannot be sent: {error}"))
        elif isinstance(message, m.Ask | m.Schedule | m.Unschedule):
            self._on_answer(m.Answer(message.number, error=f"it cannot be sent: {error}"))

    def say(self, message: m.AnyMessage) -> None:
        """Send a message, after what was submitted before."""
        self._gather()
        self._outgoing.append(message)

    def take(self) -> list[m.AnyMessage]:
        """What is to be sent now."""
        self._gather()
        outgoing, self._outgoing = self._outgoing, []
        return outgoing

    # ── what comes ───────────────────────────────────────────────────────────────────────────

    def receive(self, message: m.AnyMessage) -> None:
        handler = self._handlers.get(type(message))
        if handler is not None:
            handler(message)

    def _on_welcome(self, message: m.Welcome) -> None:
        self.welcome = message
        self.ended = ""
        if self._returning:
            self._returning = False
            self._say_it_all_again()

    def _say_it_all_again(self) -> None:
        self._defined.clear()
        self._tasks.clear()
        for submission in list(self.pending.values()):
            self.submit(submission)
        self._cancel_again(list(self.pending))
        if unfinished := self._unfinished():
            self.say(m.Watch(unfinished))
        if self._listeners:
            self.say(self._wanted)
        for question in self._questions.values():
            for message in question.messages:
                self.say(message)

    def _unfinished(self) -> list[str]:
        """Tasks that the broker keeps; one that is still to be submitted would not be found."""
        return [r.id for r in self.unsettled() if r.accepted and r.id not in self.pending]

    def unsettled(self) -> list[TaskRecord]:
        """Records for which something may still come."""
        return [record for record in self.records if not record.settled]

    def _on_unknown(self, message: m.Unknown) -> None:
        self._returning = True
        if self._hello not in self._outgoing:
            self._outgoing.insert(0, self._hello)

    def _on_refused(self, message: m.Refused) -> None:
        self.fatal = ProtocolError(message.reason)

    def _on_shutdown(self, message: m.Shutdown) -> None:
        self.ended = message.reason or "the broker ended"

    def _on_accepted(self, message: m.Accepted) -> None:
        if self._cancelled:
            for id in message.ids:
                self._cancelled.pop(id, None)
        for id in message.ids:
            self.pending.pop(id, None)
            record = self.records.get(id)
            if record is not None:
                record.on_accepted()
                self._note(record)

    def _on_rejected(self, message: m.Rejected) -> None:
        self.pending.pop(message.id, None)
        self._cancelled.pop(message.id, None)
        record = self.records.get(message.id)
        if record is not None:
            record.on_refused(SubmissionRefused(message.reason))
            self._note(record)

    def _on_missing(self, message: m.Missing) -> None:
        self._defined.discard(message.key)
        for id in message.ids:
            if id in self.pending:
                self.submit(self.pending[id])
        self._cancel_again(message.ids)

    def _on_known(self, message: m.Known) -> None:
        record = self.records.get(message.id)
        if record is not None:
            record.on_known(message, self._unix(message.at))
            self._note(record)

    def _on_not_found(self, message: m.NotFound) -> None:
        for id in message.ids:
            record = self.records.get(id)
            if record is not None and not record.settled:
                record.on_missing()
                self._note(record)

    def _on_answer(self, message: m.Answer) -> None:
        question = self._questions.pop(message.number, None)
        if question is not None:
            question.answer(message)

    def _on_denied(self, message: m.Denied) -> None:
        """Whoever asked for it waits no longer: a log is where it can be read."""
        logger.warning("%s was not done: %s", message.word, message.reason)

    def _on_settle(self, message: m.Settle) -> None:
        for outcome in message.outcomes:
            self.pending.pop(outcome.id, None)
            record = self.records.get(outcome.id)
            if record is not None and record.outcome is None:
                record.on_outcome(outcome, self._unix(outcome.at))
                self._note(record)

    def _on_event(
        self, message: m.Started | m.Progress | m.Update | m.Output | m.Retrying | m.Requeued
    ) -> None:
        record = self.records.get(message.id)
        if record is None:
            return
        self._note(record)
        match message:
            case m.Output():  # a last piece may come after the outcome
                record.on_output(message, self._output_limit)
            case _ if record.settled:
                pass
            case m.Started():
                record.on_started(message, self._unix(message.at))
            case m.Progress():
                record.on_progress(message)
            case m.Update():
                record.on_update(message)
            case m.Retrying():
                record.on_retrying(message, self._unix(message.at))
            case m.Requeued():
                record.on_requeued(message)

    def _on_events(self, message: m.Events) -> None:
        listeners = list(self._listeners)
        for listener in listeners:
            listener.put(message.events, message.lost)
        if not listeners:  # the last one was forgotten, not closed
            self.say(m.Listen([]))

    def _on_item(self, message: m.Item) -> None:
        for stream in self._streams(message.id):
            stream.arrived(message)

    def _streams(self, id: str) -> list[ItemStream]:
        return [stream for held in self.streams.get(id, ()) if (stream := held()) is not None]

    def pull(self, id: str, *, renewed: bool = False) -> None:
        """Say what those who read a task's items have and can take: the slowest of them sets the pace."""
        wishes = [stream.wish(renewed=renewed) for stream in self._streams(id)]
        if wishes:
            position = min(wish.position for wish in wishes)
            upto = min(wish.upto for wish in wishes)
            self.say(m.Stream(id, position, upto, any(wish.again for wish in wishes)))

    def _note(self, record: TaskRecord) -> None:
        if record.subscriptions:
            self.changed.add(record)

    def _unix(self, at: float) -> float:
        return at + (self.welcome.epoch if self.welcome is not None else 0.0)


def singly(messages: list[m.AnyMessage]) -> Iterator[m.AnyMessage]:
    """The same, one task in a message."""
    for message in messages:
        if isinstance(message, m.Submit):
            yield from (m.Submit([task]) for task in message.tasks)
        else:
            yield message
