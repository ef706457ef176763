"""``nbqueue.Executor()``: tasks behind the interface of ``concurrent.futures``.

::

    with nbqueue.Executor() as executor:
        totals = list(executor.map(total, files))

What takes an executor of the standard library (``loop.run_in_executor``, other people's libraries) takes this
one, and its calls run on workers, with their code and arguments by value.
"""

import concurrent.futures
import threading
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from nbqueue.client.app import App, default_app
from nbqueue.client.result import AsyncResult
from nbqueue.client.task import Task

P = ParamSpec("P")
T = TypeVar("T")


class Executor(concurrent.futures.Executor):
    """Runs functions on workers; ``submit`` and ``map`` are those of ``concurrent.futures.Executor``.

    Parameters
    ----------
    app
        The application whose broker the calls go to; None: that of ``nbqueue.task``.
    options
        Of each call, as of ``apply_async``: ``queue="gpu"``, ``time_limit=60``.
    """

    def __init__(self, app: App | None = None, **options: Any) -> None:
        self._app = app
        self._options = options
        self._lock = threading.Lock()
        self._closed = False
        #: made of the functions that were submitted last
        self._tasks: dict[Callable[..., Any], Task[..., Any]] = {}
        #: not done yet
        self._waiting: dict[concurrent.futures.Future[Any], AsyncResult[Any]] = {}

    def submit(
        self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> "concurrent.futures.Future[T]":
        """Send a call; a future that is cancelled before its task has started keeps it from running.

        Raises
        ------
        RuntimeError
            The executor was shut down.
        TypeError, SerializationError
            As of ``delay()``.
        """
        __tracebackhide__ = True
        with self._lock:
            if self._closed:
                raise RuntimeError("cannot schedule new futures after shutdown")
            task = self._task(fn)
        result = task.apply_async(args, kwargs, **self._options)
        future = result.future()
        with self._lock:
            self._waiting[future] = result
        future.add_done_callback(self._done)
        return future

    def _task(self, function: Callable[..., Any]) -> "Task[..., Any]":
        if isinstance(function, Task):
            return function
        task = self._tasks.get(function)
        if task is None:
            if len(self._tasks) >= _REMEMBERED:
                self._tasks.clear()
            app = self._app or default_app()
            task = self._tasks[function] = Task.of(function, {}, app=app, router=app._router)
        return task

    def _done(self, future: "concurrent.futures.Future[Any]") -> None:
        with self._lock:
            result = self._waiting.pop(future, None)
        if result is not None and future.cancelled():
            result.revoke()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls; ``wait`` until all are done, ``cancel_futures``: those that have not started
        never run."""
        with self._lock:
            self._closed = True
            waiting = dict(self._waiting)
        if cancel_futures:
            for future, result in waiting.items():
                if result.record.state != "STARTED":
                    future.cancel()
        if wait:
            concurrent.futures.wait(waiting)


#: functions of which a task is kept
_REMEMBERED = 1000
