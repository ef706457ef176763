"""What the body of a class of tasks says: options by name, and perhaps what the task does.

``root`` is the class that they all come from, whose own body says nothing.
"""

from collections.abc import Callable, Sequence
from typing import Any

from nbqueue.client.options import CLASS_OPTIONS

#: options that are attributes of tasks, and may be set in the body of a class
ATTRIBUTES = frozenset(CLASS_OPTIONS) - {"name", "base", "retry"}

#: marks a class whose name was not said in its body
_NAMED = "_named_when_registered"


def said_by(cls: type, root: type) -> dict[str, Any]:
    """The options in the bodies of a class and of those that it comes from."""
    said: dict[str, Any] = {}
    for each in reversed(_up_to(cls, root)):
        said |= {name: value for name, value in vars(each).items() if name in ATTRIBUTES}
        if "name" in vars(each) and _NAMED not in vars(each):
            said["name"] = vars(each)["name"]
    return {name: value for name, value in said.items() if value is not None or name == "max_retries"}


def give_name(cls: Any, name: str) -> None:
    """A class with a ``run`` of its own was registered under that name: ``app.tasks[AddTask.name]``.  Classes
    derived from it have names of their own."""
    if "run" in vars(cls) and ("name" not in vars(cls) or _NAMED in vars(cls)):
        cls.name = name
        setattr(cls, _NAMED, True)


def own_run(cls: type, root: type) -> Callable[..., Any] | None:
    """The method that makes a subclass a task by itself."""
    return next((vars(each)["run"] for each in _up_to(cls, root) if "run" in vars(each)), None)


def name_of(function: Callable[..., Any], cls: type | None) -> str:
    """What a task is called that nobody has named: as its class, or as its function if it has none."""
    own: Any = function if cls is None else cls
    return str(getattr(own, "__name__", type(own).__name__))


def _up_to(cls: type, root: type) -> Sequence[type]:
    return cls.__mro__[: cls.__mro__.index(root)]
