"""Saying which part of a value cannot be pickled, and what to do about it.

Called only when pickling has failed: the parts are tried one by one, and those of the part that
fails, down to the one that none of its own parts explains.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from types import FunctionType
from typing import Any

from nbqueue.exceptions import SerializationError
from nbqueue.wire.pickler import dumps
from nbqueue.wire.reads import EMPTY, cell_content, reads
from nbqueue.wire.shipment import TaskOptions

Part = tuple[str, Any]
_DEPTH = 6
#: of a container with more items only the first are tried
_BREADTH = 1000


def arguments_error(
    args: tuple[Any, ...], kwargs: dict[str, Any], name: str, error: Exception
) -> SerializationError:
    """An argument of a call cannot be pickled."""
    of = f" of {name}()" if name else ""
    parts = [(f"argument {index}{of}", value) for index, value in enumerate(args, 1)]
    parts += [(f"argument {key!r}{of}", value) for key, value in kwargs.items()]
    return _error(f"the arguments{of}", parts, error, "Pass what it is made from, and make it in the task.")


def value_error(value: Any, what: str, error: Exception) -> SerializationError:
    """A value, the result of a task for instance, cannot be pickled."""
    return _error(what, [(what, value)], error, "Return what it is made of: plain data, or a file's name.")


def captured_error(task: str, parts: Iterable[Part], error: Exception) -> SerializationError:
    """A value that a task's function reads cannot be pickled."""
    return _error(
        f"what task {task} reads", parts, error, "Make it in the task, or pass what it is made from."
    )


def definition_error(
    function: Callable[..., Any], options: TaskOptions, error: Exception
) -> SerializationError:
    """A task's function, or another that it uses, cannot be pickled."""
    parts = [
        (f"the function of task {options.name}", function),
        (f"the options of task {options.name}", options),
    ]
    return _error(f"task {options.name}", parts, error, "Make it in the function that uses it.")


def _error(whole: str, parts: Iterable[Part], error: Exception, advice: str) -> SerializationError:
    culprit = _culprit(parts, set(), _DEPTH)
    path, reason = culprit if culprit is not None else (whole, error)
    text = str(reason) or type(reason).__name__
    return SerializationError(f"{path} cannot be sent: {text}. {advice}")


def _culprit(parts: Iterable[Part], seen: set[int], depth: int) -> tuple[str, Exception] | None:
    """The first part that cannot be pickled by itself, or the part of it that cannot."""
    for path, value in islice(parts, _BREADTH):
        if id(value) in seen:
            continue
        seen.add(id(value))
        reason = _reason(value)
        if reason is not None:
            deeper = _culprit(_parts(path, value), seen, depth - 1) if depth else None
            return deeper or (path, reason)
    return None


def _reason(value: Any) -> Exception | None:
    try:
        dumps(value)
    except Exception as error:
        return error
    return None


def _parts(path: str, value: Any) -> Iterator[Part]:
    if isinstance(value, dict):
        yield from ((f"{path}[{key!r}]", item) for key, item in value.items())
    elif isinstance(value, list | tuple):
        yield from ((f"{path}[{index}]", item) for index, item in enumerate(value))
    elif isinstance(value, FunctionType):
        yield from _parts_of_function(value)
    elif isinstance(value, type):
        yield from ((f"{value.__qualname__}.{name}", member) for name, member in vars(value).items())
    else:
        yield from ((f"{path}.{name}", item) for name, item in getattr(value, "__dict__", {}).items())


def _parts_of_function(function: FunctionType) -> Iterator[Part]:
    name = function.__qualname__
    yield from ((f"a default of {name}()", value) for value in function.__defaults__ or ())
    yield from (
        (f"the default of {key!r} of {name}()", value)
        for key, value in (function.__kwdefaults__ or {}).items()
    )
    for key, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        yield f"the variable {key!r} of the function around {name}()", cell_content(cell)
    for read in reads(function):
        value = read.namespace.get(read.name, EMPTY)
        yield f"the global {read.name!r}, which {name}() reads", value
    yield from ((f"{name}.{key}", value) for key, value in vars(function).items())
