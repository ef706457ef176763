"""Results: what ``delay()`` returns, and how to wait for it."""

import asyncio
import datetime
import threading
import time
import warnings
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future
from typing import Any, Generic, NamedTuple

from nbqueue import current, exceptions
from nbqueue import messages as m
from nbqueue.client import backends
from nbqueue.client.backends import Backend
from nbqueue.client.client import Client
from nbqueue.client.connections import client_for
from nbqueue.client.control import Control, revoke_args
from nbqueue.client.generics import R
from nbqueue.client.records import NOT_LOADED, TaskRecord, View
from nbqueue.client.registry import current_application
from nbqueue.client.stream import WINDOW, ItemStream
from nbqueue.client.subscription import Subscription
from nbqueue.client.tree import ResultBase
from nbqueue.client.waiting import News, seconds_to_wait
from nbqueue.client.zones import shown_zone
from nbqueue.states import FAILURE, PENDING, READY_STATES, RETRY, STARTED, SUCCESS
from nbqueue.wire import failure as failures
from nbqueue.wire import payload

#: seconds after which get() looks why a task has not started, and warns if nothing can run it
_PATIENCE = 3.0
#: how often a waiting get() looks whether the broker is still there, in seconds
GLANCE = 0.5
_SHORTEST = 0.01


class Progress(NamedTuple):
    """How far a task is."""

    current: float
    #: None when nobody knows
    total: float | None
    description: str

    @property
    def fraction(self) -> float | None:
        """From 0 to 1, None when the total is not known."""
        return min(1.0, max(0.0, self.current / self.total)) if self.total else None

    def __repr__(self) -> str:
        total = "" if self.total is None else f"/{self.total:.15g}"
        percent = "" if self.fraction is None else f"({self.fraction:.0%})"
        words = ("Progress", f"{self.current:.15g}{total}", percent, self.description)
        return f"<{' '.join(filter(None, words))}>"


class AsyncResult(ResultBase, Generic[R]):
    """The outcome of a task, now or later.

    Made by ``task.delay()``, or from an id by ``app.AsyncResult(id)``, ``AsyncResult(id, app=app)``; where no
    application is named it is the current one.  Equal to every other result of the same id, and to the id.
    """

    __slots__ = ("__weakref__", "_backend", "client", "id", "parent", "record")

    def __init__(
        self,
        id: str,
        client: Client | None = None,
        record: TaskRecord | None = None,
        backend: Backend | None = None,
        parent: Any = None,
        *,
        app: Any = None,
        task_name: str | None = None,
    ) -> None:
        if not isinstance(id, str) or not id:
            raise ValueError(f"a task id is a non-empty str, not {id!r}")
        if client is None:
            app = app or current_application()
            client, backend = app.client, backend or app.backend
            backend = backend if backend is not None and backend.url else None
        self.id = id
        self.client = client
        #: the result of what comes before it in a workflow, None if there is nothing: an AsyncResult, or a
        #: group's
        self.parent = parent
        #: what keeps its value, None for the broker
        self._backend = backend
        self.record = record if record is not None else client.record(id)

    client: Client

    #: as attributes, for Celery's sake: ``except result.TimeoutError``
    TimeoutError = exceptions.TimeoutError
    supports_native_join = True

    # ── what it is ───────────────────────────────────────────────────────────────────────────

    def __repr__(self) -> str:
        record = self.record
        state = record.state if record.known else record.listed
        return f"<{' '.join(filter(None, ('AsyncResult', record.name, state, self.id)))}>"

    def __str__(self) -> str:
        return self.id

    def __eq__(self, other: object) -> bool:
        if isinstance(other, AsyncResult):
            return other.id == self.id
        return other == self.id if isinstance(other, str) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.id)

    def __reduce__(self) -> tuple[Callable[..., "AsyncResult[Any]"], tuple[Any, ...]]:
        known = (self.id, self.client.url, "" if self._backend is None else self._backend.url)
        if self.parent is None:
            return _restore, known
        # a long chain must not be pickled one inside of the other; a group knows its own parents
        parents = []
        for node in self.ancestors():
            parents.append(node.id if isinstance(node, AsyncResult) else node)
            if not isinstance(node, AsyncResult):
                break
        return _restore, (*known, parents)

    @property
    def app(self) -> Any:
        """The current application."""
        return current_application()

    @property
    def task_id(self) -> str:
        """Celery's other name of ``id``."""
        return self.id

    # ── state ────────────────────────────────────────────────────────────────────────────────

    def known(self) -> TaskRecord:
        """Its record, which is kept up to date from now on."""
        return self._known()

    def _known(self, timeout: float | None = None) -> TaskRecord:
        """The record, looked up at the broker if this client did not submit the task."""
        if self._backend is not None:
            self._backend.check()
        if not self.record.known:
            self.client.look_up(self.record, timeout)
        return self.record

    @property
    def state(self) -> str:
        """One of ``nbqueue.states``, or a custom state; PENDING for an id that nobody knows."""
        return self._known().state

    status = state

    def ready(self) -> bool:
        """Whether it has succeeded, failed or was revoked."""
        return self.state in READY_STATES

    def successful(self) -> bool:
        """Whether it has a value."""
        return self.state == SUCCESS

    def maybe_throw(
        self, propagate: bool = True, callback: Callable[[str, Any], object] | None = None
    ) -> Any:
        """What :attr:`result` is; raises the exception of a task that has failed, unless ``propagate`` is
        False."""
        return self.get(propagate=propagate, callback=callback) if self.ready() else self.result

    maybe_reraise = maybe_throw

    def failed(self) -> bool:
        """Whether it ended in FAILURE."""
        return self.state == FAILURE

    def exists(self) -> bool:
        """Whether the broker has a record of the id."""
        return not self._known().missing

    @property
    def accepted(self) -> bool:
        """Whether the broker keeps the task, so that it survives the end of this process."""
        return self.record.accepted

    def wait_accepted(self, timeout: float | None = None) -> None:
        """Wait until the broker keeps the task.

        Raises
        ------
        SubmissionRefused
            The broker will not.
        ResultNotFoundError
            It has no record of the id.
        TimeoutError
            Not within ``timeout`` seconds.
        """
        timeout = seconds_to_wait(timeout)
        record = self._known(timeout)
        if not self.client.wait_accepted(record, timeout):
            raise exceptions.TimeoutError(f"task {self.id} was not accepted within {timeout:g} s")
        if record.refusal is not None:
            raise record.refusal
        if record.missing:
            raise self._not_found()

    # ── the outcome ──────────────────────────────────────────────────────────────────────────

    def get(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        interval: float = GLANCE,
        no_ack: bool = True,
        follow_parents: bool = True,
        callback: Callable[[str, Any], object] | None = None,
        on_message: Callable[[dict[str, Any]], object] | None = None,
        on_interval: Callable[[], object] | None = None,
        disable_sync_subtasks: bool = True,
    ) -> R:
        """Wait for the outcome and return the task's value, or raise its exception.

        Parameters
        ----------
        timeout
            Seconds to wait; None: as long as it takes.
        propagate
            False: return the exception instead of raising it.
        interval
            Seconds between two looks whether the broker is still there; the value itself comes at once.
        callback
            Called with the task's id and what is returned.
        on_message
            Called in this thread for each state that the task gets meanwhile, and for its end, with a dict of
            ``task_id``, ``status``, ``result``, ``traceback`` and ``children``.
        on_interval
            Called without arguments after each ``interval`` of waiting.
        no_ack, follow_parents
            Taken for Celery's sake: results are not taken away by reading them, and a failure before the
            task in its workflow is its own.
        disable_sync_subtasks
            False: allow a task to wait for another one; if all executors do so, nobody is left to run it.

        Raises
        ------
        RuntimeError
            Called inside of a task.
        TypeError
            ``timeout`` is no number.
        TimeoutError
            Not done in time; the task goes on, and ``get()`` may be called again.
        TaskRevokedError, WorkerLostError, TimeLimitExceeded
            How the task ended, where it is not by an exception of its own.
        ResultNotFoundError
            The broker has no record of the id.
        ConnectionLostError
            The broker is gone; the task, if it was accepted, is not: call again when it is back.
        """
        __tracebackhide__ = True
        if disable_sync_subtasks and current.run.get() is not None and not current.may_wait.get():
            raise RuntimeError(
                "a task must not wait for another one: it may hold the executor that the other needs."
                "  Return the result's id, or allow it by get(disable_sync_subtasks=False)"
            )
        if self._backend is not None:
            self._backend.check()
        self._wait(seconds_to_wait(timeout), interval, on_message, on_interval)
        is_error, content = self._outcome()
        if on_message is not None:
            on_message(self._message(self.record.state, content))
        if is_error and propagate:
            raise content.with_traceback(failures.remote_traceback(content))
        if callback is not None:
            callback(self.id, content)
        return content  # type: ignore[no-any-return]  # what the task returned

    wait = get

    def _wait(
        self,
        timeout: float | None,
        interval: float,
        on_message: Callable[[dict[str, Any]], object] | None = None,
        on_interval: Callable[[], object] | None = None,
    ) -> None:
        __tracebackhide__ = True
        record = self.record
        if record.known and record.settled:
            return
        began = time.monotonic()
        if self._known(timeout).settled:
            return
        done: threading.Event | News = threading.Event()
        if on_message is not None:
            done = News(record, lambda told: on_message(self._message(told[0], self.result)))
            subscription = Subscription(done.changed, 0.0)
            self.client.subscribe(record, subscription, 0)
        record.when_settled(done.set)
        try:
            self._wait_for(done, timeout, max(interval, _SHORTEST), began, on_interval)
        finally:
            record.unlisten(done.set)
            if on_message is not None:
                subscription.close()

    def _message(self, state: str, content: Any) -> dict[str, Any]:
        """What there is to say of it, in Celery's words."""
        return {
            "task_id": self.id,
            "status": state,
            "result": content,
            "traceback": self.traceback,
            "children": [],
        }

    def _wait_for(
        self,
        done: "threading.Event | News",
        timeout: float | None,
        interval: float,
        began: float,
        on_interval: Callable[[], object] | None,
    ) -> None:
        __tracebackhide__ = True
        warned = False
        while True:
            waited = time.monotonic() - began
            left = interval if timeout is None else min(interval, timeout - waited)
            if done.wait(max(0.0, left)):
                return
            if timeout is not None and waited >= timeout:
                raise exceptions.TimeoutError(
                    f"task {self.id} is not done after {timeout:g} s: {self._reason()}"
                )
            self.client.check()
            if on_interval is not None:
                on_interval()
            if not warned and waited > _PATIENCE and self.record.state == PENDING:
                warned = True
                self._warn_if_stuck()

    def _reason(self) -> str:
        try:
            return self.why()
        except exceptions.NBQueueError as error:
            return str(error)

    def _warn_if_stuck(self) -> None:
        try:
            reason, stuck = self._why()
        except exceptions.NBQueueError as error:
            reason, stuck = str(error), True
        if stuck:
            warnings.warn(f"still waiting for {self.record.name or self.id}: {reason}", stacklevel=5)

    def _outcome(self) -> tuple[bool, Any]:
        """(is an exception, value or exception) of a settled record; loaded once."""
        record = self.record
        if record.loaded is NOT_LOADED:
            record.loaded = self._load(record)
        return record.failed, record.loaded

    def _load(self, record: TaskRecord) -> Any:
        if record.refusal is not None:
            return record.refusal
        outcome = record.outcome
        if outcome is None:
            return self._not_found()
        if outcome.failure is not None:
            return failures.rebuild(outcome.failure, self._note(outcome), self.client.accepted)
        value = outcome.value
        if outcome.stored:
            client = self.client
            known = {**client.own_backend, **client.backends}
            value = backends.load(outcome.stored, known, outcome.id, outcome.token) or b""
            if not value:
                raise exceptions.ResultNotFoundError(
                    f"{outcome.stored} has no value of {self.id!r} any more: it expired, or was deleted there"
                )
        return payload.loads(value, self.client.accepted) if value else None

    def _not_found(self) -> exceptions.ResultNotFoundError:
        known = f"the broker at {self.client.url} has no record of {self.id!r}"
        if self.record.accepted:
            reason = (
                "it expired (result_expires), was forgotten,"
                " or made room for newer ones (max_results, max_result_bytes)"
            )
        else:
            reason = "never submitted there, expired or forgotten"
        return exceptions.ResultNotFoundError(f"{known}: {reason}")

    def _note(self, outcome: m.Outcome) -> str:
        if outcome.origin:
            name = self.client.record(outcome.origin).name
            return f"in task {name}[{outcome.origin}], before {self.record.name}[{self.id}]"
        where = f" on {outcome.worker}" if outcome.worker else ""
        return f"in task {self.record.name}[{self.id}]{where}"

    @property
    def result(self) -> Any:
        """The value, the exception, or while it runs the meta of the last ``update_state``, how far it is, or
        ``{"pid": …, "hostname": …}`` of where it runs; else None."""
        record = self._known()
        if record.missing:
            return None
        if record.settled:
            return self._outcome()[1]
        if record.meta:
            return payload.loads(record.meta, self.client.accepted)
        if record.progress is not None:
            return {"current": record.progress.current, "total": record.progress.total}
        if record.state == STARTED:
            return {"pid": record.pid, "hostname": record.worker}
        return None

    info = result

    @property
    def traceback(self) -> str | None:
        """The formatted remote traceback of a task that failed."""
        failure = self._known().failure
        return failure.traceback if failure is not None and self.record.state in (FAILURE, RETRY) else None

    @property
    def failure(self) -> m.Failure | None:
        """How the last run ended, if not well: readable without loading the exception."""
        return self._known().failure

    # ── what is known of it ──────────────────────────────────────────────────────────────────

    def peek(self) -> View:
        """Everything that is known here just now, without asking the broker.  Safe from any thread."""
        return self.record.view()

    @property
    def name(self) -> str:
        return self._known().name

    @property
    def queue(self) -> str:
        return self._known().queue

    @property
    def worker(self) -> str:
        """Name of the worker that runs or ran it, "" before."""
        return self._known().worker

    @property
    def date_done(self) -> datetime.datetime | None:
        """When it ended, with time zone: that of the settings, else UTC; None before."""
        ended = self._known().finished_at
        if ended is None:
            return None
        zone = datetime.UTC if self.client is None else shown_zone(self.client.settings)
        return datetime.datetime.fromtimestamp(ended, zone)

    @property
    def args(self) -> tuple[Any, ...] | None:
        """What it was called with; None if that is not known, or was large and it has ended."""
        called = self._called_with()
        return None if called is None else tuple(called[0])

    @property
    def kwargs(self) -> dict[str, Any] | None:
        """The same, by name."""
        called = self._called_with()
        return None if called is None else dict(called[1])

    def _called_with(self) -> tuple[Sequence[Any], dict[str, Any]] | None:
        if self._known().missing:
            return None
        data = self.client.ask("arguments", id=self.id)
        return None if data is None else payload.loads(data, self.client.accepted)

    @property
    def backend(self) -> Backend:
        """Where its value is kept."""
        return self._backend if self._backend is not None else Backend(None, self.client.url)

    @property
    def retries(self) -> int:
        return self._known().retries

    @property
    def output(self) -> str:
        """What it has printed so far: standard output, standard error and logging, bounded."""
        return self._known().view().output

    @property
    def progress(self) -> Progress | None:
        """How far it is, as reported last; None before the first report."""
        report = self._known().progress
        return None if report is None else Progress(report.current, report.total, report.description)

    def why(self) -> str:
        """One sentence: why it is not done yet."""
        return self._why()[0]

    def _why(self) -> tuple[str, bool]:
        """Why it is not done yet, and whether nothing that is there can get it done."""
        if self.record.missing:
            return str(self._not_found()), True
        if self.record.settled:
            refused = self.record.refusal is not None
            return ("it is refused" if refused else f"it is done: {self.record.state}"), False
        trouble = self.client.trouble
        if trouble is not None:
            return str(trouble), True
        if self.record.known:
            self.client.wait_accepted(self.record, 1.0)
        answer = self.client.ask("why", id=self.id)
        record = self.record
        setback = f" ({record.setback})" if record.setback and record.state == PENDING else ""
        return answer["text"] + setback, answer["stuck"]

    def stream(self, *, window: int = WINDOW, timeout: float | None = None) -> ItemStream:
        """The items of a generator task, as they are yielded; ``for item in …`` or ``async for item in …``.

        Parameters
        ----------
        window
            Items that may be on the way; the task waits until more can be taken.
        timeout
            Seconds to wait for each; None: as long as it takes.

        Raises
        ------
        TimeoutError
            While iterating: none came in time; the task goes on, and so may the iteration.
        TypeError
            While iterating: the task is no generator.
        """
        return ItemStream(self, window, timeout)

    # ── other ways to wait ───────────────────────────────────────────────────────────────────

    def then(
        self,
        callback: Callable[["AsyncResult[R]"], object],
        on_error: Callable[["AsyncResult[R]"], object] | None = None,
        weak: bool = False,
    ) -> "AsyncResult[R]":
        """Call ``callback(result)`` when done: on the client's I/O thread, where it must not block, or here
        and now if it is done already.  ``on_error`` is called in its place if there is no value."""
        record = self._known()
        record.when_settled(lambda: (callback if on_error is None or not record.failed else on_error)(self))
        return self

    def future(self) -> "Future[R]":
        """A ``concurrent.futures.Future`` of the outcome; cancelling it leaves the task alone."""
        future: Future[Any] = Future()

        record = self._known()

        def transfer() -> None:
            if future.done() or not future.set_running_or_notify_cancel():
                return
            try:
                is_error, content = self._outcome()
            except Exception as error:
                is_error, content = True, error
            if is_error:
                future.set_exception(content)
            else:
                future.set_result(content)

        def fail(error: exceptions.NBQueueError) -> None:
            if not future.done() and future.set_running_or_notify_cancel():
                future.set_exception(error)

        record.when_settled(transfer)
        record.when_given_up(fail)
        if not record.settled and (verdict := self.client.verdict) is not None:
            record.give_up(verdict)  # perhaps there is no I/O thread any more that would
        future.add_done_callback(lambda _: record.unlisten(transfer))  # cancelled: nobody waits any more
        return future

    def __await__(self) -> Generator[Any, None, R]:
        # a future for each await: one that times out must not spoil the others
        return asyncio.wrap_future(self.future()).__await__()

    # ── steering ─────────────────────────────────────────────────────────────────────────────

    def revoke(
        self,
        terminate: bool = False,
        signal: Any = None,
        wait: bool = False,
        timeout: float | None = None,
        connection: Any = None,
    ) -> None:
        """Cancel: what waits never runs.  May be repeated.

        Parameters
        ----------
        terminate
            End it where it runs, too: interrupted as by Ctrl-C, killed after ``cancel_grace`` seconds.
        signal
            ``"KILL"``: with ``terminate``, kill its process at once.
        wait
            Return when the broker has heard of it, not at once; ``timeout`` in seconds, 1 unless it is said.
        connection
            Taken for Celery's sake.

        Raises
        ------
        ConfigurationError
            No task can be ended by that signal.
        """
        args = revoke_args(self.id, terminate, signal)
        if wait or args["at_once"]:
            control = Control(lambda: self.client)
            control.broadcast("revoke", args, reply=wait, timeout=1.0 if timeout is None else timeout)
        else:
            self.client.cancel([self.id], terminate)

    def cancel(self) -> None:
        """Cancel it, waiting or running."""
        self.revoke(terminate=True)

    def forget(self) -> None:
        """Delete the record of a task that is done, and those of its parents; of another one, hear no more.
        What a step of a workflow still needs goes when the step is done."""
        for node in self.ancestors():
            node._forget_alone()
        self._forget_alone()

    def _forget_alone(self) -> None:
        self.client.forget([self.id])

    # ── what came of it ──────────────────────────────────────────────────────────────────────

    @property
    def children(self) -> list[Any]:
        """The results of the tasks that it has submitted, and of those that come after it in its workflow,
        the oldest first.  The broker is asked anew each time."""
        return self._children()

    def _children(self) -> list[Any]:
        found = []
        for row in self.client.ask("children", id=self.id):
            child = AsyncResult(row["id"], self.client, parent=self)
            child.record.name, child.record.listed = row["name"], row["state"]
            found.append(child)
        return found


def _restore(id: str, url: str, backend: str = "", parents: Sequence[Any] = ()) -> AsyncResult[Any]:
    # unpickled elsewhere, perhaps in a worker: by that process' own client
    client = client_for(url)
    kept = Backend(backend, url) if backend else None
    parent: Any = None
    for each in reversed(parents):
        parent = AsyncResult(each, client, backend=kept, parent=parent) if isinstance(each, str) else each
    return AsyncResult(id, client, backend=kept, parent=parent)
