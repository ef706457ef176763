"""Pickling: by name what a worker has, by value what it cannot have (``wire.locality`` says which).

Plain pickle is tried first.  The :class:`Pickler` is cloudpickle's, with functions of our own making:
those of one module share its namespace when they are loaded, closures that share a variable go on
sharing it, and classes keep their identity on the way there and back (``wire.namespaces``).
"""

import dataclasses
import functools
import importlib
import io
import pickle
import sys
import types
import typing
from types import CellType, FunctionType
from typing import Any
from weakref import WeakKeyDictionary

import cloudpickle

# cloudpickle makes a class of an importable module by value only if the whole process is told to do so.
from cloudpickle.cloudpickle import _dynamic_class_reduce

from nbqueue.wire import namespaces
from nbqueue.wire.locality import (
    goes_by_value,
    is_local,
    is_local_module,
    is_module_namespace,
    mentions_local,
    mentions_main,
)
from nbqueue.wire.reads import EMPTY, Read, cell_content, reads, stands_for_builtin, submodules

PROTOCOL = 5
Reduced = Any  # what __reduce_ex__ may return, or NotImplemented: by name
_ATTRIBUTES = (
    "__name__", "__qualname__", "__module__", "__doc__", "__defaults__", "__kwdefaults__", "__annotations__",
    "__type_params__",
)  # fmt: skip


def dumps(value: Any, *, local: bool = True) -> bytes:
    """Pickle a value; ``local``: code of all local modules goes by value, not only that of ``__main__``."""
    try:
        data = pickle.dumps(value, PROTOCOL)
    except Exception:  # whatever it was, it is tried again by value, and is raised from there
        return _dumps_by_value(value, local)
    mentions = mentions_local if local else mentions_main
    return _dumps_by_value(value, local) if mentions(data) else data


def _dumps_by_value(value: Any, local: bool) -> bytes:
    buffer = io.BytesIO()
    Pickler(buffer, local=local).dump(value)
    return buffer.getvalue()


class Space:
    """Stands in a pickle for the namespace of a module."""

    def __init__(self, key: str, namespace: dict[str, Any]) -> None:
        self.key = key
        self.name = namespace.get("__name__") or "__main__"
        self._package = namespace.get("__package__")

    def __reduce__(self) -> Reduced:
        return namespaces.open_module, (self.key, self.name, self._package)


class Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle ships no types
    """One pickle, in which all of a function's globals go along with it."""

    def __init__(self, file: io.BytesIO, *, local: bool = True) -> None:
        super().__init__(file, protocol=PROTOCOL)
        self._local = local
        self._spaces: dict[int, Space] = {}

    def reducer_override(self, obj: Any) -> Reduced:
        """How to pickle what is more than a builtin container or atom (called by pickle)."""
        kind = type(obj)
        special = _SPECIAL.get(kind)
        if special is not None:
            return special(self, obj)
        if issubclass(kind, type):
            return self._reduce_class(obj)
        if issubclass(kind, types.ModuleType):
            return self._reduce_module(obj)
        if kind in _FILES and obj is not sys.stdout and obj is not sys.stderr:
            # cloudpickle would send all that is in a file opened for reading, without a word
            raise pickle.PicklingError(
                f"cannot pickle an open file ({getattr(obj, 'name', obj)!r}): send its name"
            )
        return super().reducer_override(obj)

    # ── functions ────────────────────────────────────────────────────────────────────────────

    def _reduce_function(self, function: FunctionType) -> Reduced:
        if not goes_by_value(function, local=self._local):
            return NotImplemented
        return self._reduce_function_by_value(function)

    def _reduce_function_by_value(self, function: FunctionType) -> Reduced:
        arguments = (
            self.space(function.__globals__),
            function.__code__,
            function.__name__,
            function.__closure__,
        )
        attributes = {name: getattr(function, name) for name in _ATTRIBUTES if hasattr(function, name)}
        bound: dict[int, tuple[Space, dict[str, Any]]] = {}
        for read in reads(function):
            value = read.namespace.get(read.name, EMPTY)
            if self._goes_along(read, value, function):
                space = self.space(read.namespace)
                bound.setdefault(id(space), (space, {}))[1][read.name] = value
        state = (attributes, dict(vars(function)), list(bound.values()), submodules(function))
        return namespaces.make_function, arguments, state, None, None, namespaces.set_function_state

    def _goes_along(self, read: Read, value: Any, reader: FunctionType) -> bool:
        """Whether a value that a function reads goes along with it."""
        return value is not EMPTY and not stands_for_builtin(read.name, value)

    def space(self, namespace: dict[str, Any]) -> Space:
        """What stands for a namespace in this pickle."""
        space = self._spaces.get(id(namespace))
        if space is None:
            space = self._spaces[id(namespace)] = Space(self._space_key(namespace), namespace)
        return space

    def _space_key(self, namespace: dict[str, Any]) -> str:
        if is_module_namespace(namespace):
            return str(namespace["__name__"])
        return str(namespace.get(namespaces.SPACE, ""))

    def _reduce_cell(self, cell: CellType) -> Reduced:
        return self._reduce_cell_with(cell, cell_content(cell))

    def _reduce_cell_with(self, cell: CellType, content: Any) -> Reduced:
        state = None if content is EMPTY else (content,)
        return namespaces.empty_cell, (), state, None, None, namespaces.fill_cell

    def _reduce_cached(self, function: Any) -> Reduced:
        """``functools.lru_cache`` pickles its functions by name, wherever they come from."""
        if not goes_by_value(function, local=self._local):
            return NotImplemented
        return namespaces.make_cached, (function.__wrapped__, function.cache_parameters())

    # ── modules and classes ──────────────────────────────────────────────────────────────────

    def _reduce_module(self, module: types.ModuleType) -> Reduced:
        """A local module goes as its namespace, which has what the functions of this pickle mention of it."""
        if self._local and is_local_module(module):
            return namespaces.same_module, (self.space(vars(module)),)
        if (
            module.__name__ in sys.modules
        ):  # cloudpickle does not know lazy modules, which are of other classes
            return importlib.import_module, (module.__name__,)
        return super().reducer_override(module)

    def _reduce_class(self, cls: type) -> Reduced:
        reduced = super().reducer_override(cls)
        if reduced is NotImplemented and self._local and is_local(cls.__module__):
            reduced = _dynamic_class_reduce(cls)
        if reduced is NotImplemented or len(reduced) == 2:  # by name, or one of the interpreter's own types
            return reduced
        return self._reduce_class_by_value(cls, reduced)

    def _reduce_class_by_value(self, cls: type, reduced: tuple[Any, ...]) -> Reduced:
        make, arguments, members, _, _, set_state = reduced
        # cloudpickle's own identity is the last argument but one; ours is known for each definition
        untracked = (*arguments[:-2], None, arguments[-1])
        identified = (namespaces.identity(cls), make, untracked)
        return namespaces.make_class, identified, (set_state, members), None, None, namespaces.set_class_state

    def _reduce_type_variable(self, variable: typing.TypeVar) -> Reduced:
        return (
            super().reducer_override(variable)
            if not is_local(variable.__module__)
            else _type_variable(variable)
        )


def _type_variable(variable: typing.TypeVar) -> Reduced:
    constraints = (variable.__name__, *variable.__constraints__)
    options = {
        "bound": variable.__bound__,
        "covariant": variable.__covariant__,
        "contravariant": variable.__contravariant__,
    }
    return namespaces.make_type_variable, (constraints, options)


def _named(kind: Any, *attributes: str) -> Any:
    """Made anew where pickle knows only the name, which a worker lacks."""

    def reduce(pickler: Pickler, obj: Any) -> Reduced:
        if not is_local(obj.__module__):
            return NotImplemented
        return kind, tuple(getattr(obj, name) for name in attributes)

    return reduce


def _by_name(name: str) -> Any:
    """One of a kind: the receiver has its own, and compares with ``is``."""
    return lambda pickler, obj: name


_FILES = (io.TextIOWrapper, io.BufferedReader, io.BufferedWriter, io.BufferedRandom, io.FileIO)

_SPECIAL: dict[type, Any] = {
    FunctionType: Pickler._reduce_function,
    CellType: Pickler._reduce_cell,
    functools._lru_cache_wrapper: Pickler._reduce_cached,
    typing.TypeVar: Pickler._reduce_type_variable,
    typing.ParamSpec: _named(typing.ParamSpec, "__name__"),
    typing.TypeVarTuple: _named(typing.TypeVarTuple, "__name__"),
    typing.NewType: _named(typing.NewType, "__name__", "__supertype__"),
    type(dataclasses.MISSING): _by_name("MISSING"),
    # a sentinel of generated __init__ methods, which typeshed does not know
    type(dataclasses._HAS_DEFAULT_FACTORY): _by_name("_HAS_DEFAULT_FACTORY"),  # type: ignore[attr-defined]  # private
    WeakKeyDictionary: lambda pickler, obj: (WeakKeyDictionary, (dict(obj),)),
}
