"""Finding the application that ``-A`` names, by Celery's rules, for the command line and for workers.

What is an application is an agreement, not an import, for workers know no client: an object with ``conf``,
which are Settings, and ``tasks``, a mapping.  ``-A proj`` is found in this order::

    proj:NAME                    that object, if a name is given (proj.NAME will do)
    proj.app, proj.celery        variables of that name that are no modules
    proj/celery.py               the same there
    any application in proj

A module with tasks and no application is one, too: of those of ``@nbqueue.task``.
"""

import importlib
import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from nbqueue.exceptions import ConfigurationError
from nbqueue.platform import import_from
from nbqueue.settings import Settings

_NAMES = ("app", "celery", "nbqueue")
_SUBMODULES = ("celery", "app", "nbqueue")


def find(place: str) -> Any:
    """The application that ``MODULE`` or ``MODULE:NAME`` means; the module itself if it has none.

    Raises
    ------
    ConfigurationError
        There is no such module, or nothing of that name in it.
    """
    import_from(str(Path.cwd()))  # `-A tasks` is ./tasks.py
    name, separator, attribute = place.partition(":")
    module = _module(name, place) if separator else _module_or_attribute(place)
    if separator:
        return _attribute(module, attribute, place)
    if not isinstance(module, ModuleType):
        return module
    return _in_module(module) or module


def is_app(found: Any) -> bool:
    """Whether something is an application."""
    members = getattr(found, "__dict__", {})
    # asked of its own members: some modules have objects that answer to every name
    return isinstance(members, Mapping) and isinstance(members.get("conf"), Settings)


def _module_or_attribute(place: str) -> Any:
    """``proj.celery`` is a module, ``proj.celery.app`` may be a variable of it."""
    parent, _, last = place.rpartition(".")
    try:
        return _module(place, place)
    except ConfigurationError:
        if not parent:
            raise
        found = getattr(_module(parent, place), last, None)
        if found is None:
            raise
        return found


def _module(name: str, place: str) -> ModuleType:
    if name == "__main__":
        raise ConfigurationError(f"-A {place}: name the module as others import it")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # the module is there, and lacks one that it imports
        where = f"(looked for from {Path.cwd()})"
        raise ConfigurationError(f"-A {place}: there is no module {error.name!r} here {where}") from None


def _attribute(module: Any, path: str, place: str) -> Any:
    found = module
    for name in path.split("."):
        if not hasattr(found, name):
            raise ConfigurationError(f"-A {place}: {getattr(found, '__name__', found)!r} has no {name!r}")
        found = getattr(found, name)
    return found


def _in_module(module: ModuleType) -> Any:
    members = vars(module)
    named = (members.get(name) for name in _NAMES)
    found = next((value for value in named if is_app(value)), None)
    if found is None and hasattr(module, "__path__"):
        found = _in_submodules(module)
    if found is None:
        found = next((value for value in list(members.values()) if is_app(value)), None)
    return found


def _in_submodules(package: ModuleType) -> Any:
    for last in _SUBMODULES:
        name = f"{package.__name__}.{last}"
        if name in sys.modules or importlib.util.find_spec(name) is not None:
            found = _in_module(importlib.import_module(name))
            if found is not None:
                return found
    return None
