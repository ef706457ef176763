"""Tasks of a module that a worker was given (``-A module[:attr]``).

What counts as a task there is an agreement, not an import: an object with a true
``__nbqueue_definition__`` has ``name``, ``run`` and ``options``; an App has them in its ``tasks``.
"""

import importlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from nbqueue.exceptions import ConfigurationError
from nbqueue.wire.payload import TaskOptions


class RegisteredTask(NamedTuple):
    """A task that the worker has by its name."""

    name: str
    function: Callable[..., Any]
    options: TaskOptions


def load(app: str) -> list[RegisteredTask]:
    """Import ``module[:attr]`` and return its tasks.

    Raises
    ------
    ConfigurationError
        There is no such module or attribute, or no task in it.
    """
    name, _, attribute = app.partition(":")
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # the module is there, and lacks one that it imports
        raise ConfigurationError(f"-A {app}: there is no module {error.name!r} here") from None
    if attribute and not hasattr(module, attribute):
        raise ConfigurationError(f"-A {app}: module {name!r} has no {attribute!r}")
    objects = [getattr(module, attribute)] if attribute else list(vars(module).values())
    tasks = {task.name: task for found in objects for task in _tasks(found)}
    if not tasks:
        raise ConfigurationError(f"-A {app}: no tasks there; mark functions with @app.task or @nbqueue.task")
    return list(tasks.values())


def _tasks(found: object) -> Iterable[RegisteredTask]:
    if _is_task(found):
        yield _registered(found)
    elif isinstance(mapping := getattr(found, "tasks", None), Mapping):
        yield from (_registered(task) for task in mapping.values() if _is_task(task))


def _is_task(found: object) -> bool:
    # modules have attributes that answer to every name (mocks, proxies): only True counts
    return not isinstance(found, type) and getattr(found, "__nbqueue_definition__", None) is True


def _registered(task: Any) -> RegisteredTask:
    return RegisteredTask(task.name, task.run, task.options)
