"""Which tasks this process has: how a signature that came as JSON finds its function again."""

import weakref
from typing import Any

_tasks: "weakref.WeakValueDictionary[str, Any]" = weakref.WeakValueDictionary()


def add(task: Any) -> None:
    """An application has a task under its name; the last one of a name is found."""
    _tasks[task.name] = task


def find(name: str) -> Any | None:
    """The task of that name, None if this process has none."""
    return _tasks.get(name)
