"""Several runs at once in one process: threads in which tasks run, and one event loop for async ones.

::

    main thread      receives, gives each task to a free place, sends what they report
      ├─ Place 0     a thread: its own gate, its own definitions, one task at a time
      ├─ Place 1 …
      └─ SharedLoop  a thread with an event loop: places wait there for their coroutines

An interrupt is raised in the thread, at its next line of Python; of a coroutine, where it awaits.
"""

import asyncio
import queue
import threading
from collections.abc import Callable, Coroutine, Generator
from contextlib import AbstractContextManager, nullcontext
from types import GeneratorType
from typing import Any

from nbqueue.exceptions import SoftTimeLimitExceeded
from nbqueue.worker.executor.exchange import Run
from nbqueue.worker.executor.runner import Runner
from nbqueue.worker.executor.values import Open, finished
from nbqueue.worker.interrupts import CANCEL, Gate, ThreadGate


class PlaceGate(ThreadGate):
    """The gate of a thread that may be waiting for a coroutine: then that is interrupted instead."""

    def __init__(self) -> None:
        super().__init__()
        self._awaiting: _Awaited | None = None

    def interrupt(self, token: int, reason: str) -> None:
        with self._lock:
            awaiting = self._awaiting if self._inside == token else None
            if awaiting is not None:
                self._raised = (token, reason)
        if awaiting is not None:
            awaiting.interrupt(reason)
        else:
            super().interrupt(token, reason)

    def waits_for(self, awaited: "_Awaited | None") -> None:
        with self._lock:
            self._awaiting = awaited


class SharedLoop:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="nbqueue async", daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, Any], gate: PlaceGate) -> Any:
        """Await it there, and return what it returns; the calling thread waits."""
        awaited = _Awaited(coroutine, self.loop)
        gate.waits_for(awaited)
        try:
            # the task inherits the caller's context variables: what it prints is its own
            error, value = asyncio.run_coroutine_threadsafe(awaited.run(), self.loop).result()
        finally:
            gate.waits_for(None)
        if error is not None:
            raise error
        return value


class _Awaited:
    """A coroutine that runs in a loop, and can be interrupted by an exception of our choice."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], loop: asyncio.AbstractEventLoop) -> None:
        self._coroutine = coroutine
        self._loop = loop
        self._task: asyncio.Task[Any] | None = None
        #: asked for before it began
        self._cancelled = False
        self._soft_limit = False

    async def run(self) -> tuple[BaseException | None, Any]:
        """What it raised, or returned: no exception of a task's may end the loop."""
        self._task = asyncio.current_task()
        try:
            if self._cancelled:
                self._coroutine.close()
                raise asyncio.CancelledError
            return None, await _Driven(self)
        except BaseException as error:
            return error, None

    def interrupt(self, reason: str) -> None:
        """From any thread."""
        self._loop.call_soon_threadsafe(self._interrupt, reason)

    def _interrupt(self, reason: str) -> None:
        if self._task is None:
            self._cancelled = True
            return
        self._soft_limit = reason != CANCEL
        self._task.cancel()

    def steps(self) -> Generator[Any, Any, Any]:
        """Drive the coroutine; what a cancellation stands for is raised in it where it awaits."""
        value: Any = None
        error: BaseException | None = None
        while True:
            try:
                waited = self._coroutine.throw(error) if error is not None else self._coroutine.send(value)
            except StopIteration as stop:
                return stop.value
            value, error = None, None
            try:
                value = yield waited
            except asyncio.CancelledError as cancelled:
                error = self._translated(cancelled)
            except BaseException as other:
                error = other

    def _translated(self, cancelled: asyncio.CancelledError) -> BaseException:
        if not self._soft_limit or self._task is None:
            return cancelled
        self._soft_limit = False
        self._task.uncancel()
        return SoftTimeLimitExceeded()


class _Driven:
    """What ``await`` takes."""

    def __init__(self, awaited: _Awaited) -> None:
        self._awaited = awaited

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._awaited.steps()


class Caller:
    """Calls tasks' functions in one place.

    Parameters
    ----------
    turn
        Held while code runs that is not async; None: all places run it at once.
    """

    def __init__(self, loop: SharedLoop, gate: PlaceGate, turn: "threading.Lock | None") -> None:
        self._loop = loop
        self._gate = gate
        self._turn: AbstractContextManager[Any] = nullcontext() if turn is None else turn

    def call(
        self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], stream: Open
    ) -> Any:
        """What the function returns, taken to its end."""
        with self._turn:
            value = function(*args, **kwargs)
            if type(value) is GeneratorType:
                return finished(value, stream)
        return finished(value, stream, lambda coroutine: self._loop.run(coroutine, self._gate))


class Place(threading.Thread):
    """A thread in which tasks run, one after the other.  ``ended`` takes a run and how it ended, in it."""

    def __init__(
        self, number: int, gate: PlaceGate, runner: Runner, ended: Callable[["Place", Run, Any], None]
    ) -> None:
        super().__init__(name=f"nbqueue place {number}", daemon=True)
        self.number = number
        self.gate = gate
        self._runner = runner
        self._ended = ended
        self._given: queue.SimpleQueue[Run | None] = queue.SimpleQueue()

    def give(self, run: Run | None) -> None:
        """The next task; None: no more."""
        self._given.put(run)

    def run(self) -> None:
        self.gate.attach()
        while (run := self._given.get()) is not None:
            self._ended(self, run, self._runner.run(run.assignment, run.reports))


class Gates(Gate):
    """The gates of all places: an interrupt goes to the one where its run is."""

    def __init__(self) -> None:
        self._of: dict[int, Gate] = {}

    def begin(self, token: int, gate: Gate) -> None:
        self._of[token] = gate

    def end(self, token: int) -> None:
        self._of.pop(token, None)

    def attach(self) -> None: ...

    def interrupt(self, token: int, reason: str) -> None:
        if (gate := self._of.get(token)) is not None:
            gate.interrupt(token, reason)

    def cancelled(self, token: int) -> bool:
        gate = self._of.get(token)
        return gate is not None and gate.cancelled(token)
