"""What a function reads from the modules around it.

Found in its byte code, and in that of the functions and classes nested in it.  Names that are only
put together at run time (``globals()["x"]``, ``eval``) are not seen.
"""

import builtins
import dis
import sys
from collections.abc import Iterator
from types import CellType, CodeType, FunctionType, ModuleType
from typing import Any, Final, NamedTuple
from weakref import WeakKeyDictionary

from nbqueue.wire.locality import is_local_module

#: stands for a value that is not there
EMPTY: Final = object()

_CO_OPTIMIZED = 0x1
_GLOBAL_READS = frozenset({"LOAD_GLOBAL"})
#: the body of a class looks its names up itself before it turns to the globals
_CLASS_READS = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"})


class Read(NamedTuple):
    """A name that is looked up in a module's namespace."""

    namespace: dict[str, Any]
    name: str


class _Names(NamedTuple):
    #: looked up in the globals
    globals: tuple[str, ...]
    #: mentioned at all: attributes too
    mentioned: tuple[str, ...]


_known: WeakKeyDictionary[CodeType, _Names] = WeakKeyDictionary()


def reads(function: FunctionType) -> list[Read]:
    """What a function may look up: its globals, and of each local module among them what it mentions."""
    names = _names(function.__code__)
    space = function.__globals__
    found = {(id(space), name): Read(space, name) for name in names.globals}
    pending = [module for module in _values(function, names) if is_local_module(module)]
    while pending:
        namespace = vars(pending.pop())
        for name in names.mentioned:
            if name in namespace and (id(namespace), name) not in found:
                found[id(namespace), name] = Read(namespace, name)
                if is_local_module(namespace[name]):
                    pending.append(namespace[name])
    return list(found.values())


def submodules(function: FunctionType) -> tuple[str, ...]:
    """Submodules that a function reaches through a package: ``import scipy.stats`` binds only ``scipy``."""
    names = _names(function.__code__)
    found: list[str] = []
    pending = [
        value.__name__
        for value in _values(function, names)
        if type(value) is ModuleType and not is_local_module(value)
    ]
    while pending:
        package = pending.pop()
        inner = [f"{package}.{name}" for name in names.mentioned if f"{package}.{name}" in sys.modules]
        found += inner
        pending += inner
    return tuple(found)


def stands_for_builtin(name: str, value: Any) -> bool:
    """Whether IPython has put its own where a builtin was (``open``, ``exit``): workers have the builtin."""
    module = getattr(value, "__module__", None) if hasattr(builtins, name) else None
    return isinstance(module, str) and module.startswith("IPython.")


def cell_content(cell: CellType) -> Any:
    """What a closure's cell holds, EMPTY if nothing yet."""
    try:
        return cell.cell_contents
    except ValueError:
        return EMPTY


def _values(function: FunctionType, names: _Names) -> Iterator[Any]:
    """What the function finds in its globals and its closure."""
    yield from (function.__globals__.get(name) for name in names.globals)
    yield from map(cell_content, function.__closure__ or ())


def _names(code: CodeType) -> _Names:
    names = _known.get(code)
    if names is None:
        names = _known[code] = _Names(
            globals=tuple(dict.fromkeys(_walk_globals(code))),
            mentioned=tuple(dict.fromkeys(_walk_names(code))),
        )
    return names


def _walk_globals(code: CodeType) -> Iterator[str]:
    operations = _GLOBAL_READS if code.co_flags & _CO_OPTIMIZED else _CLASS_READS
    yield from (i.argval for i in dis.get_instructions(code) if i.opname in operations)
    for inner in _nested(code):
        yield from _walk_globals(inner)


def _walk_names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for inner in _nested(code):
        yield from _walk_names(inner)


def _nested(code: CodeType) -> Iterator[CodeType]:
    return (const for const in code.co_consts if isinstance(const, CodeType))
