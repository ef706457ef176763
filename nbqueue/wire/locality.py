"""What travels by value: code that a worker cannot be expected to have.

That is all of ``__main__`` (a notebook, a script), and every module whose source lies outside of the
standard library and of ``site-packages``: the ``helpers.py`` beside the notebook.  What is installed
travels by name; so does nbqueue, wherever it lies.
"""

import functools
import os
import site
import sys
import sysconfig
from types import ModuleType
from typing import Any

import cloudpickle

MAIN = "__main__"
_OURS = frozenset({"nbqueue", "kernels_ext"})
_INSTALLED = frozenset({"site-packages", "dist-packages"})
_PATHS = sysconfig.get_paths()
_ROOTS = tuple(
    {
        os.path.join(root, "")
        for path in (_PATHS["stdlib"], _PATHS["platstdlib"], _PATHS["purelib"], site.getusersitepackages())
        for root in (path, os.path.realpath(path))
    }
)


def is_local(name: str | None) -> bool:
    """Whether what the module of this name defines travels by value."""
    if name == MAIN:
        return True
    if name is None or name.partition(".")[0] in _OURS:
        return False
    file = getattr(sys.modules.get(name), "__file__", None)
    return (isinstance(file, str) and _is_users_source(file)) or _is_registered(name)


@functools.cache
def _is_users_source(file: str) -> bool:
    if not file.endswith(".py"):
        return False
    path = os.path.abspath(file)
    return not (
        path.startswith(_ROOTS) or os.path.realpath(path).startswith(_ROOTS)
    ) and _INSTALLED.isdisjoint(path.split(os.sep))


def _is_registered(name: str) -> bool:
    """Whether the user said so: ``cloudpickle.register_pickle_by_value``."""
    registered = cloudpickle.list_registry_pickle_by_value()
    return bool(registered) and any(name == each or name.startswith(f"{each}.") for each in registered)


def is_importable(thing: Any) -> bool:
    """Whether a function or class is found under its own name in its module."""
    found: Any = sys.modules.get(thing.__module__)
    for part in thing.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is thing


def goes_by_value(thing: Any, *, local: bool) -> bool:
    """Whether a function (or what is like one) travels by value; ``local``: also that of local modules."""
    module = thing.__module__
    if module is None or module == MAIN:
        return True
    return (local and is_local(module)) or not is_importable(thing)


def is_local_module(value: object) -> bool:
    """Whether this is a module that travels by value (``__main__`` imported by itself included)."""
    return type(value) is ModuleType and is_local(value.__name__)


def is_module_namespace(namespace: dict[str, Any]) -> bool:
    """Whether this is the namespace of an imported module, and not one made for ``exec``."""
    module = sys.modules.get(namespace.get("__name__", ""))
    return isinstance(module, ModuleType) and vars(module) is namespace


# ── finding references to local modules in a pickle ──────────────────────────────────────────────

#: pickle's opcode for "module.name"; without it there is nothing in the bytes that has to be imported
_STACK_GLOBAL = b"\x93"
_MAIN_MARK = b"\x8c\x08__main__"


def mentions_main(data: bytes) -> bool:
    """Whether a pickle (protocol 4 or later) may refer to something of ``__main__``."""
    return _STACK_GLOBAL in data and _MAIN_MARK in data


def mentions_local(data: bytes) -> bool:
    """Whether a pickle (protocol 4 or later) may refer to something that travels by value."""
    return _STACK_GLOBAL in data and (_MAIN_MARK in data or any(mark in data for mark in _marks()))


def _marks() -> tuple[bytes, ...]:
    return _local_marks(len(sys.modules), len(cloudpickle.list_registry_pickle_by_value()))


@functools.lru_cache(maxsize=1)
def _local_marks(_modules: int, _registered: int) -> tuple[bytes, ...]:
    """The names of the local modules as a pickle has them; looked for again when there are more modules."""
    names = [name.encode() for name in list(sys.modules) if name != MAIN and is_local(name)]
    return tuple(b"\x8c" + bytes([len(name)]) + name for name in names if len(name) < 256)
