"""Where functions and classes that came by value live: the reading side of ``wire.pickler``.

The functions of one definition share one set of :class:`Namespaces`, as they shared the modules that
they were defined in, and so does what is loaded next in the same thread: a task's arguments, the
results that it waits for.  So a notebook's class is one class in all of these, and its methods see
the same globals as the task.  Two definitions never share: each keeps its own versions.

What is loaded outside of any definition (a result, in the client) gets modules of its own, and never
writes into the notebook's.  A class that was defined in this very process is found again as it is.
"""

import builtins
import functools
import importlib
import threading
import uuid
from collections.abc import Callable
from contextvars import ContextVar
from types import CellType, CodeType, FunctionType, ModuleType
from typing import Any, TypeAlias, TypeVar
from weakref import WeakKeyDictionary, WeakValueDictionary

#: in a namespace made here: the name that it is shared under
SPACE = "__nbqueue_space__"
#: space of closure cells among captured values
CELLS = ""
#: space → name (or number of the cell) → value
Captured: TypeAlias = dict[str, dict[Any, Any]]


class Namespaces:
    """The modules, classes and closure cells that the functions of one definition live among."""

    def __init__(self) -> None:
        self.modules: dict[str, ModuleType] = {}
        self.classes: WeakValueDictionary[str, type] = WeakValueDictionary()
        self.cells: dict[int, CellType] = {}
        #: what the last call set: (space, name)
        self.applied: frozenset[tuple[str, Any]] = frozenset()

    def apply(self, *captured: Captured) -> None:
        """Set the values that were captured for a call, and unset those that only an earlier call had."""
        applied = frozenset(
            (space, key) for each in captured for space, values in each.items() for key in values
        )
        for space, name in self.applied - applied:
            if space != CELLS:
                vars(self.modules[space]).pop(name, None)
        self.applied = applied
        for each in captured:
            for space, values in each.items():
                self._set(space, values)

    def _set(self, space: str, values: dict[Any, Any]) -> None:
        if space == CELLS:
            for index, value in values.items():
                self.cells[index].cell_contents = value
        else:
            vars(self.modules[space]).update(values)


_current: ContextVar[Namespaces | None] = ContextVar("nbqueue_namespaces", default=None)


def enter(namespaces: Namespaces | None) -> None:
    """What this thread loads from now on belongs to these; None: to no definition."""
    _current.set(namespaces)


# ── functions ────────────────────────────────────────────────────────────────────────────────────


def open_module(space: str, name: str, package: str | None) -> ModuleType:
    """The module that stands for one of the sender's; "" as space: one that nothing else is to share."""
    namespaces = _current.get()
    if not space or namespaces is None:
        return _new_module(space, name, package)
    module = namespaces.modules.get(space)
    if module is None:
        module = namespaces.modules[space] = _new_module(space, name, package)
    return module


def _new_module(space: str, name: str, package: str | None) -> ModuleType:
    module = ModuleType(name)
    vars(module).update({"__package__": package, "__builtins__": builtins, SPACE: space})
    return module


def same_module(module: ModuleType) -> ModuleType:
    """A module object, where the module's namespace is in the pickle too."""
    return module


def make_function(
    module: ModuleType, code: CodeType, name: str, closure: tuple[CellType, ...] | None
) -> FunctionType:
    """A function whose globals are those of the module; the rest comes with its state."""
    return FunctionType(code, vars(module), name, None, closure)


def set_function_state(function: FunctionType, state: tuple[Any, ...]) -> None:
    """Give a function its attributes, and bind in its modules what it reads there."""
    attributes, members, bound, imports = state
    for name, value in attributes.items():
        setattr(function, name, value)
    vars(function).update(members)
    for module, values in bound:
        vars(module).update(values)
    for name in imports:
        importlib.import_module(name)


def make_cached(function: Callable[..., Any], parameters: dict[str, Any]) -> Callable[..., Any]:
    """What ``functools.lru_cache`` made, empty."""
    cached: Callable[..., Any] = functools.lru_cache(**parameters)(function)
    return cached


def make_type_variable(arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """A TypeVar of a module that was left behind."""
    return TypeVar(*arguments, **options)


def empty_cell() -> CellType:
    """A closure's cell that is filled later."""
    return CellType()


def fill_cell(cell: CellType, state: tuple[Any]) -> None:
    """Set what a cell holds."""
    (cell.cell_contents,) = state


def captured_cell(index: int) -> CellType:
    """A cell of the current definition whose content comes with each call."""
    namespaces = _current.get()
    assert namespaces is not None, "only definitions have captured cells"
    return namespaces.cells.setdefault(index, CellType())


# ── classes ──────────────────────────────────────────────────────────────────────────────────────

#: every class that was sent or received by value has an identity, which it keeps wherever it goes
_identities: WeakKeyDictionary[type, str] = WeakKeyDictionary()
#: those that were defined in this process
_natives: WeakValueDictionary[str, type] = WeakValueDictionary()
#: those that came outside of any definition
_visitors: WeakValueDictionary[str, type] = WeakValueDictionary()
_lock = threading.Lock()


def identity(cls: type) -> str:
    """The identity of a class that is about to be sent."""
    with _lock:
        known = _identities.get(cls)
        if known is None:
            known = _identities[cls] = uuid.uuid4().hex
            _natives[known] = cls
        return known


def make_class(known: str, make: Callable[..., type], arguments: tuple[Any, ...]) -> type:
    """The class of this identity, made if this process has none."""
    native = _natives.get(known)
    if native is not None:
        return native
    namespaces = _current.get()
    classes = _visitors if namespaces is None else namespaces.classes
    cls = classes.get(known)
    if cls is None:
        cls = classes[known] = make(*arguments)
        _identities[cls] = known
    return cls


def set_class_state(cls: type, state: tuple[Callable[..., Any], Any]) -> None:
    """Give a class its members, unless it was defined here: then it is the other one that is the copy."""
    if _natives.get(_identities[cls]) is not cls:
        set_state, members = state
        set_state(cls, members)
