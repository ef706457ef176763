"""Telling definitions from values, and whether a definition is still what it was.

A *definition* is a value whose identity says all of it: a function, a class, a module, a task.  Every
other value is *captured* at each call.
"""

import functools
from collections.abc import Callable
from itertools import repeat
from operator import is_
from types import BuiltinFunctionType, CellType, CodeType, FunctionType, ModuleType
from typing import Any

from nbqueue.wire.locality import is_local
from nbqueue.wire.reads import EMPTY, Read, cell_content

#: types of values that cannot change in place
ATOMS = frozenset({type(None), bool, int, float, complex, str, bytes})
_DEFINITIONS = (FunctionType, type, ModuleType, functools._lru_cache_wrapper)


def is_definition(value: Any) -> bool:
    """Whether a value goes with the function that reads it, once, and not with each call."""
    kind = type(value)  # not isinstance: it would ask proxies what they stand for
    return (
        issubclass(kind, _DEFINITIONS)
        or getattr(kind, "__nbqueue_definition__", False)
        or (kind is BuiltinFunctionType and isinstance(value.__self__, ModuleType | None))
        or is_sentinel(value)
    )


def is_sentinel(value: Any) -> bool:
    """Whether an object has no state: it is there to be compared with ``is``, by whatever refers to it."""
    kind = type(value)
    return kind is object or (
        kind.__bases__ == (object,) and is_local(kind.__module__) and getattr(value, "__dict__", None) == {}
    )


class Fingerprint:
    """What a definition was made of."""

    def __init__(self) -> None:
        self._names: dict[int, tuple[Callable[..., Any], list[str], list[Any]]] = {}
        self._functions: list[tuple[FunctionType, CodeType, Any]] = []
        self._cells: list[tuple[CellType, Any]] = []
        self._classes: list[tuple[type, list[Any]]] = []
        self._sentinels: list[Any] = []

    def add_name(self, read: Read, value: Any) -> None:
        """A name that is bound to a definition, or to nothing (EMPTY)."""
        _, names, values = self._names.setdefault(id(read.namespace), (read.namespace.get, [], []))
        names.append(read.name)
        values.append(value)
        if is_sentinel(value) and value is not EMPTY:
            self._sentinels.append(value)

    def add_function(self, function: FunctionType) -> None:
        """A function that went by value; autoreload replaces the code of one in place."""
        self._functions.append((function, function.__code__, function.__defaults__))

    def add_cell(self, cell: CellType, content: Any) -> None:
        """A closure's cell that holds a definition, an atom, or nothing (EMPTY)."""
        self._cells.append((cell, content))

    def add_class(self, cls: type) -> None:
        """A class that went by value: ``Config.rate = 0.1`` makes it another one."""
        self._classes.append((cls, list(vars(cls).values())))

    def holds(self) -> bool:
        """Whether all of it is as it was: the same objects under the same names."""
        for get, names, values in self._names.values():
            if not all(map(is_, map(get, names, repeat(EMPTY)), values)):
                return False
        for function, code, defaults in self._functions:
            if function.__code__ is not code or function.__defaults__ is not defaults:
                return False
        return not (self._cells or self._classes or self._sentinels) or self._rest_holds()

    def _rest_holds(self) -> bool:
        return (
            all(cell_content(cell) is content for cell, content in self._cells)
            and all(_has_members(cls, members) for cls, members in self._classes)
            and all(map(is_sentinel, self._sentinels))
        )


def _has_members(cls: type, members: list[Any]) -> bool:
    now = vars(cls).values()
    return len(now) == len(members) and all(map(is_, now, members))
