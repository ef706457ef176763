"""What the caller runs in: a task, set by executors; a notebook, set by its kernel's extension.  Clients ask.

In an executor process a task has the process to itself, so its threads belong to it too.  Executors
that are threads of one process (``memory://``) tell their tasks apart by a context variable, which
threads that a task starts do not inherit.
"""

from collections.abc import Callable
from contextvars import ContextVar
from typing import Final, Generic, TypeVar

from nbqueue.messages import Task

T = TypeVar("T")

#: path of the notebook whose kernel this process is, "" if it is none
notebook = ""


class Current(Generic[T]):
    """What belongs to the running task, None outside of tasks."""

    def __init__(self, name: str) -> None:
        self._of_thread: Final[ContextVar[T | None]] = ContextVar(name, default=None)
        self._of_process: T | None = None

    def get(self) -> T | None:
        return self._of_process or self._of_thread.get()

    def enter(self, value: T | None, *, whole_process: bool) -> None:
        """Make this the current one, of the whole process or of this thread."""
        if whole_process:
            self._of_process = value
        else:
            self._of_thread.set(value)


class Run:
    """A task that runs, as far as others than its executor are concerned."""

    #: what is to be done before its outcome is sent: tasks that it submitted must have been accepted,
    #: or whoever gets their ids from it would ask for them too early
    duties: frozenset[Callable[[], object]] = frozenset()

    def __init__(self, task: Task) -> None:
        self.task = task

    def before_end(self, duty: Callable[[], object]) -> None:
        self.duties |= {duty}


run: Final[Current[Run]] = Current("nbqueue_run")
#: whether a task may wait for others without saying so at each ``get()``
may_wait: Final[ContextVar[bool]] = ContextVar("nbqueue_may_wait", default=False)
