"""The tasks of an application by their names, those that any application shares, and which one is current."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from nbqueue import current
from nbqueue.exceptions import NotRegistered


class TaskRegistry(dict[str, Any]):
    """``app.tasks``: name → task."""

    def __missing__(self, name: str) -> Any:
        raise NotRegistered(f"no task called {name!r} is registered in this application")

    def register(self, task: Any) -> Any:
        """Add a task, or an object of a class of tasks; the class alone will do."""
        task = task() if isinstance(task, type) else task
        self[task.name] = task
        return task

    def unregister(self, task: Any) -> None:
        """Remove a task, or the one of that name.

        Raises
        ------
        NotRegistered
            It is not there.
        """
        name = getattr(task, "name", task)
        if self.pop(name, None) is None:
            raise NotRegistered(f"no task called {name!r} is registered in this application")


class SharedTask:
    """A task of ``@shared_task``: that of the current application, whichever that is at its use."""

    __nbqueue_definition__ = True

    def __init__(self, function: Callable[..., Any], options: dict[str, Any]) -> None:
        self._function = function
        self._options = options

    def _of(self, app: Any) -> Any:
        """This task in an application."""
        return app._shared(self, self._function, self._options)

    def _current(self) -> Any:
        return self._of(current_application())

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        return self._current()(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._current(), name)

    def __repr__(self) -> str:
        return repr(self._current())

    def __reduce__(self) -> Any:
        return self._current().__reduce__()


#: of @shared_task, in the order in which they were defined
_shared: list[SharedTask] = []


def share(function: Callable[..., Any], options: dict[str, Any]) -> SharedTask:
    """Make a task of every application, those that are to come included."""
    task = SharedTask(function, options)
    _shared.append(task)
    return task


def shared_tasks() -> list[SharedTask]:
    """All that were defined so far."""
    return _shared


# ── the current application ──────────────────────────────────────────────────────────────────────

_current: Any = None
_make_default: Callable[[], Any]


def set_current_application(app: Any) -> None:
    """From now on ``current_app`` is this one."""
    global _current
    _current = app


@contextlib.contextmanager
def keep_current() -> Iterator[None]:
    """Afterwards the application is current again that was before."""
    before = _current
    try:
        yield
    finally:
        set_current_application(before)


def current_application() -> Any:
    """The application made last or set by ``app.set_default()``; else that of ``nbqueue.task``."""
    return _current if _current is not None else _make_default()


def make_default_by(function: Callable[[], Any]) -> None:
    """How to get the default application."""
    global _make_default
    _make_default = function


class Proxy:
    """Stands for something that is looked up at each use; ``variable`` is its own name in this module."""

    def __init__(self, variable: str, name: str, find: Callable[[], Any]) -> None:
        object.__setattr__(self, "_variable", variable)
        object.__setattr__(self, "_name", name)
        object.__setattr__(self, "_get_current_object", find)

    def __getattr__(self, name: str) -> Any:
        found = self._get_current_object()
        if found is None:
            raise AttributeError(f"there is no {self._name} here, and so no {name!r} of it")
        return getattr(found, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._get_current_object(), name, value)

    def __reduce__(self) -> str:
        # a function that mentions it: where that runs, it is looked up there
        return str(self._variable)

    def __bool__(self) -> bool:
        return self._get_current_object() is not None

    def __eq__(self, other: object) -> bool:
        return bool(self._get_current_object() == other)

    def __hash__(self) -> int:
        return hash(self._get_current_object())

    def __repr__(self) -> str:
        return repr(self._get_current_object())

    def __iter__(self) -> Iterator[Any]:
        return iter(self._get_current_object())


current_app = Proxy("current_app", "application", current_application)
#: the task that the caller runs in, on a worker: ``current_task.request.id``
current_task = Proxy("current_task", "running task", current.run.get)
