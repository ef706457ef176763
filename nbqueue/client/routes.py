"""What the settings say of tasks by their names: ``task_routes`` and ``task_annotations``.

A route fills in what neither the task nor the call says; the first that matches counts.  An annotation
wins over what the task says.  Both are looked up once a task, and again when settings have changed; only
routes that are functions are asked at each call.
"""

import fnmatch
import importlib
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

from nbqueue.exceptions import ConfigurationError

#: what a route says: a queue, options, or nothing
Said: TypeAlias = str | Mapping[str, Any] | None
#: the name of a task, its arguments, and the options of the call → what a route says
Router: TypeAlias = Callable[[str, tuple[Any, ...], dict[str, Any], Mapping[str, Any]], Said]


class Routes:
    """``task_routes``, in any of the forms that Celery knows.

    Raises
    ------
    ConfigurationError
        It is none of them.
    """

    def __init__(self, setting: Any) -> None:
        parts = setting if isinstance(setting, list | tuple) and not _is_pairs(setting) else [setting]
        self._routers = [_router(part) for part in parts if part is not None]

    @property
    def depend_on_calls(self) -> bool:
        """Whether a function decides, which may look at the arguments."""
        return not all(isinstance(router, _ByName) for router in self._routers)

    def options(
        self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], options: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """What the first route that matches says, {} if none does."""
        for router in self._routers:
            said = router(name, args, kwargs, options)
            if isinstance(said, str):
                return {"queue": said}
            if isinstance(said, Mapping):
                return said
            if said is not None:
                raise ConfigurationError(f"task_routes: {said!r} for {name} is neither a queue nor options")
        return {}


def _is_pairs(setting: Iterable[Any]) -> bool:
    """``[('feeds.*', 'feeds'), …]`` is one map, in order."""
    return all(isinstance(part, list | tuple) and len(part) == 2 for part in setting)


def _router(part: Any) -> Router:
    if isinstance(part, str):
        part = _imported(part)
        part = part() if isinstance(part, type) else part
    if isinstance(part, Mapping | list | tuple):
        return _ByName(dict(part))
    if callable(old := getattr(part, "route_for_task", None)):
        return lambda name, args, kwargs, options: _said(old(name, args, kwargs))
    if callable(part):
        return lambda name, args, kwargs, options: _said(part(name, args, kwargs, dict(options), task=None))
    raise ConfigurationError(f"task_routes: {part!r} is neither a dict nor a function, nor a list of these")


def _said(found: Any) -> Said:
    return found  # type: ignore[no-any-return]  # whatever the user's function returns; checked where it is used


def _imported(path: str) -> Any:
    module, separator, name = path.rpartition(":" if ":" in path else ".")
    if not separator:
        raise ConfigurationError(f"task_routes: {path!r} is no function's path, such as 'proj.routers.route'")
    return getattr(importlib.import_module(module), name)


class _ByName:
    """A dict of names, globs and regular expressions."""

    def __init__(self, routes: Mapping[Any, Any]) -> None:
        self._exact: dict[str, Said] = {}
        self._patterns: list[tuple[re.Pattern[str], Said]] = []
        for key, said in routes.items():
            if isinstance(key, re.Pattern):
                self._patterns.append((key, _checked(key, said)))
            elif isinstance(key, str) and any(sign in key for sign in "*?["):
                self._patterns.append((re.compile(fnmatch.translate(key)), _checked(key, said)))
            elif isinstance(key, str):
                self._exact[key] = _checked(key, said)
            else:
                raise ConfigurationError(f"task_routes: {key!r} is neither a name nor a pattern")

    def __call__(self, name: str, *_: Any) -> Said:
        if name in self._exact:
            return self._exact[name]
        return next((said for pattern, said in self._patterns if pattern.match(name)), None)


def _checked(key: object, said: Any) -> Said:
    if isinstance(said, str | Mapping):
        return said
    raise ConfigurationError(f"task_routes: {said!r} for {key!r} is neither a queue nor a dict of options")


# ── annotations ──────────────────────────────────────────────────────────────────────────────────


def annotations(setting: Any, task: Any) -> dict[str, Any]:
    """What ``task_annotations`` says of a task; what stands under its name wins over ``'*'``.

    An object with ``annotate(task)`` may say more, as in Celery.
    """
    said: dict[str, Any] = {}
    parts = setting if isinstance(setting, list | tuple) else [setting] if setting is not None else []
    for part in reversed(parts):  # the first wins
        if isinstance(part, Mapping):
            said |= {**_options(part.get("*")), **_options(part.get(task.name))}
        elif callable(annotate := getattr(part, "annotate", None)):
            said |= _options(annotate(task))
        else:
            raise ConfigurationError(
                f"task_annotations: {part!r} is neither a dict nor has it annotate(task)"
            )
    return said


def _options(said: Any) -> Mapping[str, Any]:
    if said is None:
        return {}
    if not isinstance(said, Mapping):
        raise ConfigurationError(f"task_annotations: {said!r} is no dict of options")
    return said
