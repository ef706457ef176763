"""Tasks of the application that a worker was given (``-A``): see ``launch.apps`` for how it is found.

What counts as a task there is an agreement, not an import: an object with a true
``__nbqueue_definition__`` has ``name``, ``function`` and ``options``; an application has them in its
``tasks``, once it has imported what has some.
"""

import logging
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from nbqueue.exceptions import ConfigurationError
from nbqueue.launch import apps
from nbqueue.settings import Settings
from nbqueue.wire.payload import TaskOptions

_logger = logging.getLogger("nbqueue.worker")


class RegisteredTask(NamedTuple):
    """A task that the worker has by its name."""

    name: str
    function: Callable[..., Any]
    options: TaskOptions
    #: the task itself, if it is an object of a class of its own
    instance: Any = None


class Registry(NamedTuple):
    """What an executor has of the application that it was given."""

    tasks: list[RegisteredTask]
    settings: Settings


def load(app: str) -> Registry:
    """Import the application, and what has tasks of it; "" is none.

    Raises
    ------
    ConfigurationError
        There is no such module or attribute, or no task in it.
    """
    if not app:
        return Registry([], Settings())
    found = apps.find(app)
    if callable(import_modules := getattr(found, "import_default_modules", None)):
        import_modules()
    if apps.is_app(found) and callable(set_up := getattr(found, "set_up", None)):
        _set_up(set_up)
    module = sys.modules.get(app)  # tasks of @nbqueue.task beside those of an application count, too
    objects = [*(vars(module).values() if module is not None else ()), found]
    tasks = tasks_in(*objects)
    if not tasks:
        raise ConfigurationError(f"-A {app}: no tasks there; mark functions with @app.task or @nbqueue.task")
    return Registry(tasks, found.conf if apps.is_app(found) else Settings())


def _set_up(set_up: Callable[[], object]) -> None:
    """Call the receivers of ``on_after_configure`` and ``on_after_finalize``: what tasks need may be made
    there.  One that raises does not keep the worker from its tasks, as in Celery."""
    try:
        set_up()
    except Exception as error:
        _logger.exception("a receiver of on_after_configure or on_after_finalize raised %r", error)


def tasks_in(*objects: object) -> list[RegisteredTask]:
    """The tasks among some objects, and of the applications among them."""
    return list({task.name: task for each in objects for task in _tasks(each)}.values())


def _tasks(found: object) -> Iterable[RegisteredTask]:
    if _is_task(found):
        yield _registered(found)
    elif isinstance(mapping := getattr(found, "tasks", None), Mapping):
        yield from (_registered(task) for task in mapping.values() if _is_task(task))


def _is_task(found: object) -> bool:
    # modules have attributes that answer to every name (mocks, proxies): only True counts
    return not isinstance(found, type) and getattr(found, "__nbqueue_definition__", None) is True


def _registered(task: Any) -> RegisteredTask:
    options = task.options
    return RegisteredTask(task.name, task.function, options, task if options.base is not None else None)
