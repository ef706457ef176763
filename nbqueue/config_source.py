"""Settings from somewhere else than code: a module, by its name or itself, a class, an object, a dict.

It is read when a setting is first looked up, so that an application may be made, and its tasks defined,
before there is a configuration.  A module has more names than settings: what is private, imported or
defined there is none.  Of the rest, whatever looks like a setting has to be one.
"""

import importlib
from collections.abc import Iterator, Mapping
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any, NamedTuple

from nbqueue.exceptions import ConfigModuleNotFoundError, ConfigurationError

_DEFINED = (FunctionType, BuiltinFunctionType, ModuleType, type)
#: how names of settings begin, Celery's old ones among them
_BEGINNINGS = (
    "accept_", "backend", "beat_", "broker", "celery", "enable_utc", "import", "include", "result_", "task_",
    "timezone", "worker_",
)  # fmt: skip


class ConfigSource(NamedTuple):
    """Where settings come from; nothing of it has been looked at yet."""

    #: a name (``celeryconfig``, ``proj.settings:Production``), or the thing itself
    place: Any
    #: how the settings in it begin: ``CELERY`` for Django's; "" when it has no others
    namespace: str = ""
    #: a module that is not there is none, and no error
    silent: bool = False

    @property
    def label(self) -> str:
        """What to call it."""
        if isinstance(self.place, str):
            return self.place
        return str(getattr(self.place, "__name__", type(self.place).__name__))

    def read(self) -> dict[str, Any]:
        """What may be a setting, by the name that it has there (without the namespace).

        Raises
        ------
        ConfigModuleNotFoundError
            There is nothing of that name.
        """
        found = self._found()
        return {} if found is None else dict(self._candidates(found))

    def _found(self) -> Any:
        if not isinstance(self.place, str):
            return self.place
        try:
            return _by_name(self.place, self.place)
        except ConfigModuleNotFoundError:
            if self.silent:
                return None
            raise

    def _candidates(self, found: Any) -> Iterator[tuple[str, Any]]:
        beginning = f"{self.namespace}_" if self.namespace else ""
        for name, value in _members(found):
            if beginning and name.startswith(beginning):
                yield name.removeprefix(beginning).lower(), value
            elif not beginning and not name.startswith("_") and not _is_defined(value, found):
                yield name, value


def looks_like_a_setting(name: str) -> bool:
    """Whether a name that is no setting must be a mistake, and not a variable of the module's own."""
    return name.lower().startswith(_BEGINNINGS)


def _members(found: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(found, Mapping):
        yield from found.items()
    else:
        for name in dir(found):
            if not name.startswith("__") and hasattr(found, name):
                yield name, getattr(found, name)


def _is_defined(value: Any, found: Any) -> bool:
    """Whether it is code of a module or class; in a dict, a function is a value."""
    return isinstance(value, _DEFINED) and not isinstance(found, Mapping)


def _by_name(said: str, place: str) -> Any:
    """What ``said``, or a part of it, names: a module, or ``MODULE:NAME``, or ``MODULE.NAME``."""
    name, _, attribute = said.partition(":")
    try:
        found: Any = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # it is there, and lacks one that it imports
        module, _, last = name.rpartition(".")
        if attribute or not module:
            raise _missing(place, f"there is no module {error.name!r}") from None
        return getattr(_by_name(module, place), last, None) or _raise(place, f"{module} has no {last!r}")
    if attribute and not hasattr(found, attribute):
        raise _missing(place, f"{name} has no {attribute!r}")
    return getattr(found, attribute) if attribute else found


def _raise(place: str, reason: str) -> Any:
    raise _missing(place, reason)


def _missing(place: str, reason: str) -> ConfigurationError:
    return ConfigModuleNotFoundError(f"the settings were to be read from {place!r}, but {reason}")
