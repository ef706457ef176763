"""What this client knows of one task: a mirror of the broker's record, kept up to date by its events.

Only the I/O thread writes; any thread reads.  An ``AsyncResult`` is a view of one of these, so two
results of the same id see the same.
"""

import functools
import logging
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

from nbqueue import messages as m
from nbqueue.core.output import OutputLog
from nbqueue.exceptions import NBQueueError
from nbqueue.states import FAILURE, PENDING, RETRY, STARTED

logger = logging.getLogger(__name__)

# guards the hand-over between "not done yet, call me" and "done, call them"; held for a moment only
_lock = threading.Lock()
#: records that somebody waits for, who may hold nothing but a callback
_awaited: set["TaskRecord"] = set()


#: of a record whose value or exception nobody has asked for
NOT_LOADED: Final = object()


class View(NamedTuple):
    """A task as it is known here at one moment; times are Unix seconds, None where not known."""

    id: str
    name: str
    state: str
    worker: str
    queue: str
    retries: int
    submitted_at: float | None
    started_at: float | None
    finished_at: float | None
    #: progress: None while nothing was reported
    current: float | None
    total: float | None
    description: str
    output: str
    failure: m.Failure | None
    accepted: bool
    has_value: bool
    #: when its next run is due, while it is in RETRY
    due_at: float | None = None
    #: how it lost its last worker, while it waits for another
    setback: str = ""


class TaskRecord:
    """The mirror of one record."""

    __slots__ = (
        "__weakref__",
        "_callbacks",
        "_mourners",
        "accepted",
        "due_at",
        "failure",
        "finished_at",
        "group",
        "id",
        "known",
        "listed",
        "loaded",
        "meta",
        "missing",
        "name",
        "outcome",
        "output",
        "pid",
        "progress",
        "queue",
        "refusal",
        "retries",
        "setback",
        "started_at",
        "state",
        "submitted_at",
        "subscriptions",
        "worker",
    )

    def __init__(self, id: str, name: str = "", queue: str = "", group: str = "") -> None:
        self.id = id
        self.name = name
        self.queue = queue
        self.group = group
        self.state = PENDING
        #: the broker keeps it
        self.accepted = False
        #: the broker has told of it, or was sent it by us
        self.known = False
        #: its state in a list of tasks, which is all that is heard of it until it is known
        self.listed = ""
        #: the broker has no record of it
        self.missing = False
        #: why the broker did not accept it
        self.refusal: NBQueueError | None = None
        self.worker = ""
        #: of the process that runs or ran it, as far as that is known
        self.pid = 0
        self.retries = 0
        self.submitted_at: float | None = None
        self.started_at: float | None = None
        #: of the next run; counts in RETRY
        self.due_at: float | None = None
        #: how it lost its last worker; counts while it waits for another
        self.setback = ""
        self.finished_at: float | None = None
        self.progress: m.Progress | None = None
        #: pickled meta of the last update_state
        self.meta = b""
        self.output: OutputLog | None = None
        #: of the run that ended last, when it did not succeed
        self.failure: m.Failure | None = None
        self.outcome: m.Outcome | None = None
        #: what the value or exception was unpickled to
        self.loaded: Any = NOT_LOADED
        #: (subscription, index) of those who are told of changes
        self.subscriptions: tuple[tuple[Any, int], ...] = ()
        #: whom to call when it is settled; None from then on
        self._callbacks: tuple[Callable[[], object], ...] | None = ()
        #: whom to tell that the broker is gone, with the task unfinished
        self._mourners: tuple[Callable[[NBQueueError], object], ...] = ()

    @property
    def settled(self) -> bool:
        """Nothing more will come: an outcome, a refusal, or no record at the broker."""
        return self._callbacks is None

    @property
    def failed(self) -> bool:
        """Whether what a settled record has to show is an exception."""
        outcome = self.outcome
        return outcome is None or outcome.failure is not None or self.refusal is not None

    def when_settled(self, callback: Callable[[], object]) -> None:
        """Call once when settled: on the I/O thread, or at once in this one if it is settled already."""
        with _lock:
            if self._callbacks is not None:
                self._callbacks += (callback,)
                _awaited.add(self)
                return
        _call(callback)

    def unlisten(self, callback: Callable[[], object]) -> None:
        """Take back :meth:`when_settled`."""
        with _lock:
            if self._callbacks and callback in self._callbacks:
                self._callbacks = tuple(c for c in self._callbacks if c != callback)
                if not self._callbacks:
                    _awaited.discard(self)

    def _settle(self) -> None:
        with _lock:
            callbacks, self._callbacks = self._callbacks, None
            self._mourners = ()
            if callbacks:
                _awaited.discard(self)
        for callback in callbacks or ():
            _call(callback)

    def when_given_up(self, callback: Callable[[NBQueueError], object]) -> None:
        """Call once if the broker is gone before it is settled: for those who cannot look for themselves."""
        with _lock:
            self._mourners += (callback,)

    def give_up(self, error: NBQueueError) -> None:
        """The broker is gone; should it come back, the record may still be settled."""
        with _lock:
            mourners, self._mourners = self._mourners, ()
        if not self.settled:
            for callback in mourners:
                _call(functools.partial(callback, error))

    def ask_again(self) -> None:
        """A record that was missing or refused may be there by now."""
        with _lock:
            if self._callbacks is None and self.outcome is None:
                self.missing, self.refusal, self.loaded = False, None, NOT_LOADED
                self.state = PENDING
                self._callbacks = ()

    # ── what the broker says: I/O thread only ────────────────────────────────────────────────

    def on_known(self, message: m.Known, at: float) -> None:
        self.name, self.queue, self.group = message.name, message.queue, message.group
        self.state = message.state
        self.accepted = self.known = True
        self.submitted_at = at

    def on_accepted(self) -> None:
        self.accepted = True

    def on_refused(self, error: NBQueueError) -> None:
        self.refusal = error
        self.state = FAILURE
        self._settle()

    def on_missing(self) -> None:
        self.missing = True
        self._settle()

    def on_started(self, message: m.Started, at: float) -> None:
        self.state, self.worker, self.started_at = STARTED, message.worker, at
        self.pid = message.pid

    def on_progress(self, message: m.Progress) -> None:
        self.progress = message

    def on_update(self, message: m.Update) -> None:
        self.state, self.meta = message.state, message.meta

    def on_output(self, message: m.Output, limit: int) -> None:
        if self.output is None:
            self.output = OutputLog(limit)
        self.output.add(message)

    def on_retrying(self, message: m.Retrying, at: float) -> None:
        self.state, self.retries, self.failure = RETRY, message.retries, message.failure
        self.started_at, self.due_at = None, at
        self.progress, self.meta = None, b""

    def on_requeued(self, message: m.Requeued) -> None:
        self.state, self.started_at, self.progress, self.meta = PENDING, None, None, b""
        self.setback = message.reason

    def on_outcome(self, outcome: m.Outcome, at: float) -> None:
        self.outcome = outcome
        self.state = outcome.state
        self.accepted = True
        self.finished_at = at
        self.failure = outcome.failure
        self.worker = outcome.worker or self.worker
        self.retries = outcome.retries
        if self.started_at is None and outcome.runtime:
            self.started_at = at - outcome.runtime
        self._settle()

    # ── reading ──────────────────────────────────────────────────────────────────────────────

    def view(self) -> View:
        """Everything at once, without asking anybody."""
        progress, outcome = self.progress, self.outcome
        return View(
            id=self.id,
            name=self.name,
            state=self.state,
            worker=self.worker,
            queue=self.queue,
            retries=self.retries,
            submitted_at=self.submitted_at,
            started_at=self.started_at,
            finished_at=self.finished_at,
            current=progress.current if progress is not None else None,
            total=progress.total if progress is not None else None,
            description=progress.description if progress is not None else "",
            output=self.output.text if self.output is not None else "",
            failure=self.failure,
            accepted=self.accepted,
            has_value=outcome is not None
            and outcome.failure is None
            and bool(outcome.value or outcome.stored),
            due_at=self.due_at if self.state == RETRY else None,
            setback=self.setback if self.state == PENDING else "",
        )


class Records:
    """The records that somebody still holds, by id.

    A ``WeakValueDictionary`` would do the same for five times the price, which each call pays: here
    entries of records that are gone stay until there are as many of them as of others.
    """

    #: entries below which nobody minds those that are gone
    _FEW = 1000

    def __init__(self) -> None:
        self._refs: dict[str, weakref.ref[TaskRecord]] = {}
        self._sweep_at = self._FEW
        #: held while a record gets its name, and while names go
        self._naming = threading.Lock()

    def get(self, id: str) -> TaskRecord | None:
        ref = self._refs.get(id)
        return None if ref is None else ref()

    def add(self, record: TaskRecord) -> None:
        """Add the record of an id that nobody else can know."""
        self._refs[record.id] = weakref.ref(record)
        if len(self._refs) > self._sweep_at:
            self._sweep()

    def named(self, id: str) -> TaskRecord:
        """The record of an id, one object for all who ask."""
        with self._naming:
            record = self.get(id)
            if record is None:
                record = TaskRecord(id)
                self._refs[id] = weakref.ref(record)
            return record

    def pop(self, id: str) -> TaskRecord | None:
        ref = self._refs.pop(id, None)
        return None if ref is None else ref()

    def __iter__(self) -> Iterator[TaskRecord]:
        # copied in one step: other threads add records all the time
        return iter([record for ref in list(self._refs.values()) if (record := ref()) is not None])

    def _sweep(self) -> None:
        with self._naming:
            # a copy, unlike a list of items, makes no pair for each, which Python's gc would look at
            for id, ref in self._refs.copy().items():
                if ref() is None:
                    self._refs.pop(id, None)
            self._sweep_at = max(self._FEW, 2 * len(self._refs))


def _call(callback: Callable[[], object]) -> None:
    try:
        callback()
    except Exception:  # it is the user's, and the thread serves all tasks
        logger.exception("a callback of a result failed")
