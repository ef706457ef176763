"""The names that cells under ``%%submit -o`` bring back to the notebook.

A name is unbound when its cell is submitted, so that an old value cannot pass for the new one.  It is
set when the cell is done: on the kernel's own loop, so between two cells or during an ``await``, never
in the middle of running code.  When several submitted cells bring back the same name, the one
submitted last sets it, in whatever order they end.

Whoever reads a name too early gets Python's NameError, and below it one line that says what the name
waits for.
"""

import asyncio
import sys
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from IPython.core.async_helpers import get_asyncio_loop

from kernels_ext import cell_runner, text
from nbqueue.exceptions import NBQueueError
from nbqueue.states import READY_STATES, SUCCESS

if TYPE_CHECKING:
    from IPython.core.interactiveshell import ExecutionInfo, ExecutionResult, InteractiveShell

    from nbqueue.client.result import AsyncResult


class Expected(NamedTuple):
    """A submitted cell that is to bring back names."""

    names: Sequence[str]
    result: "AsyncResult"
    ticket: str


class Outputs:
    """The names that one notebook waits for."""

    def __init__(self, shell: "InteractiveShell") -> None:
        self._shell = shell
        self._owners: dict[str, Expected] = {}
        #: name → why its value, which has come, cannot be loaded here
        self._unreadable: dict[str, str] = {}
        self._done: deque[Expected] = deque()

    def expect(self, expected: Expected) -> None:
        """Unbind the names, and set them when the result is there.  Call it on the kernel's thread."""
        for name in expected.names:
            self._shell.user_ns.pop(name, None)
            self._unreadable.pop(name, None)
            self._owners[name] = expected
        loop = get_asyncio_loop()
        expected.result.then(lambda _: self._arrived(expected, loop))

    def deliver(self) -> None:
        """Set the names of all cells that are done."""
        while self._done:
            self._deliver(self._done.popleft())

    def before_cell(self, info: "ExecutionInfo") -> None:
        """IPython's pre_run_cell: deliver, except when a running cell runs another one."""
        if info.store_history:
            self.deliver()

    def after_cell(self, result: "ExecutionResult | None") -> None:
        """IPython's post_run_cell: explain a NameError about a name that has not come yet."""
        error = result.error_in_exec if result is not None else None  # None: interrupted during an await
        name = str(error.name) if isinstance(error, NameError) else ""
        if name in self._owners and name not in self._shell.user_ns:
            trouble = self._unreadable.get(name, "")
            sys.stderr.write(_explanation(name, self._owners[name].result, trouble))

    def _arrived(self, expected: Expected, loop: asyncio.AbstractEventLoop) -> None:
        """On the client's I/O thread."""
        self._done.append(expected)
        _call_soon(loop, self.deliver)

    def _deliver(self, expected: Expected) -> None:
        names = [name for name in expected.names if self._owners.get(name) is expected]
        try:
            values = _values(expected)
        except NBQueueError as error:
            self._unreadable.update(dict.fromkeys(names, str(error)))
            return
        if expected.result.peek().state != SUCCESS:
            return
        self._shell.push({name: values[name] for name in names if name in values})
        for name in names:
            del self._owners[name]


def _values(expected: Expected) -> dict[str, Any]:
    try:
        expected.result.get(timeout=0, propagate=False)  # loading the value is what makes the names arrive
    finally:
        values = cell_runner.collect(expected.ticket)
    return values


def _call_soon(loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
    try:
        loop.call_soon_threadsafe(callback)
    except RuntimeError:
        return  # the loop is closed: the next cell delivers


def _explanation(name: str, result: "AsyncResult", trouble: str) -> str:
    view = result.peek()
    if trouble:
        return f"{name} was to come from a submitted cell:  {text.describe(view)}, but {trouble}\n"
    if view.state == SUCCESS:
        return f"{name} has come while this cell ran, and is set when the cell ends: run it again\n"
    if view.state in READY_STATES:
        return f"{name} was to come from a submitted cell:  {text.describe(view)}\n"
    return f"{name} comes from a submitted cell that is not done:  {text.describe(view)}\n"
