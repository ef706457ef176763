"""Saying which part of a value cannot be pickled, and what to do about it.

Called only when pickling has failed: the parts are tried one by one, and those of the part that
fails, down to the one that none of its own parts explains.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from types import FunctionType
from typing import Any, NamedTuple

from nbqueue.exceptions import SerializationError
from nbqueue.wire.pickler import dumps
from nbqueue.wire.reads import EMPTY, cell_content, reads
from nbqueue.wire.shipment import TaskOptions

_DEPTH = 6
#: of a container with more items only the first are tried
_BREADTH = 1000


class Part(NamedTuple):
    """A value that may be the one: ``argument 1['a'] of f()`` is named ``argument 1['a']``."""

    name: str
    value: Any
    #: what is said after the name: " of f()"
    role: str = ""


def read_global(name: str, reader: str, value: Any) -> Part:
    """A global of the notebook that ``reader`` uses."""
    return Part(f"the global {name!r}", value, f", which {reader} reads,")


def closed_over(name: str, reader: str, value: Any) -> Part:
    """A variable of an enclosing function that ``reader`` uses."""
    return Part(f"the variable {name!r}", value, f" of the function around {reader}")


def arguments_error(
    args: tuple[Any, ...], kwargs: dict[str, Any], name: str, error: Exception
) -> SerializationError:
    """An argument of a call cannot be pickled."""
    of = f" of {name}()" if name else ""
    parts = [Part(f"argument {index}", value, of) for index, value in enumerate(args, 1)]
    parts += [Part(f"argument {key!r}", value, of) for key, value in kwargs.items()]
    return _error(f"the arguments{of}", parts, error, "Pass what it is made from, and make it in the task.")


def value_error(value: Any, what: str, error: Exception) -> SerializationError:
    """A value, the result of a task for instance, cannot be pickled."""
    return _error(
        what, [Part(what, value)], error, "Return what it is made of: plain data, or a file's name."
    )


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
        Part("the function", function, f" of task {options.name}"),
        Part("the options", options, f" of task {options.name}"),
    ]
    return _error(f"task {options.name}", parts, error, "Make it in the function that uses it.")


def _error(whole: str, parts: Iterable[Part], error: Exception, advice: str) -> SerializationError:
    culprit = _culprit(parts, set(), _DEPTH)
    named, reason = culprit if culprit is not None else (whole, error)
    text = str(reason) or type(reason).__name__
    return SerializationError(f"{named} cannot be sent: {text}. {advice}")


def _culprit(parts: Iterable[Part], seen: set[int], depth: int) -> tuple[str, Exception] | None:
    """The first part that cannot be pickled by itself, or the part of it that cannot, in words; and why."""
    for part in islice(parts, _BREADTH):
        if id(part.value) in seen:
            continue
        seen.add(id(part.value))
        reason = _reason(part.value)
        if reason is not None:
            deeper = _culprit(_parts(part), seen, depth - 1) if depth else None
            return deeper or (f"{part.name}{part.role}", reason)
    return None


def _reason(value: Any) -> Exception | None:
    try:
        dumps(value)
    except Exception as error:
        return error
    return None


def _parts(whole: Part) -> Iterator[Part]:
    name, value, role = whole
    if isinstance(value, dict):
        yield from (Part(f"{name}[{key!r}]", item, role) for key, item in value.items())
    elif isinstance(value, list | tuple):
        yield from (Part(f"{name}[{index}]", item, role) for index, item in enumerate(value))
    elif isinstance(value, FunctionType):
        yield from _parts_of_function(value)
    elif isinstance(value, type):
        yield from (Part(f"{value.__qualname__}.{key}", member) for key, member in vars(value).items())
    else:
        yield from (Part(f"{name}.{key}", item, role) for key, item in getattr(value, "__dict__", {}).items())


def _parts_of_function(function: FunctionType) -> Iterator[Part]:
    name = function.__qualname__
    yield from (Part("a default", value, f" of {name}()") for value in function.__defaults__ or ())
    yield from (
        Part(f"the default of {key!r}", value, f" of {name}()")
        for key, value in (function.__kwdefaults__ or {}).items()
    )
    for key, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        yield closed_over(key, f"{name}()", cell_content(cell))
    for read in reads(function):
        value = read.namespace.get(read.name, EMPTY)
        yield read_global(read.name, f"{name}()", value)
    yield from (Part(f"{name}.{key}", value) for key, value in vars(function).items())
