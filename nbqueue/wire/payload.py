"""Tasks, arguments and results as bytes: what clients and workers use of this floor.

::

    client                                              worker
    Definer(function, options).shipment()  ──────────▶  Definitions(fetch).load(task)
    dumps_arguments(args, kwargs)          ──────────▶  loads(task.payload)
    loads(outcome.value)                   ◀──────────  dumps_value(value)

How it is done stands in ``locality`` (what goes by value), ``pickler`` and ``namespaces`` (the writing
and the reading side of values), ``definer`` and ``definitions`` (of functions), ``captures`` (what they
read), ``blame`` (error messages).
"""

import pickle
from typing import Any

from nbqueue.exceptions import SerializationError
from nbqueue.wire import codec
from nbqueue.wire.blame import arguments_error, value_error
from nbqueue.wire.captures import new_epoch
from nbqueue.wire.definer import Definer
from nbqueue.wire.definitions import Definitions, LoadedTask
from nbqueue.wire.pickler import dumps
from nbqueue.wire.shipment import Blob, Shipment, TaskOptions
from nbqueue.wire.sources import shown_names

__all__ = [
    "Blob",
    "Definer",
    "Definitions",
    "LoadedTask",
    "Shipment",
    "TaskOptions",
    "dumps_arguments",
    "dumps_value",
    "loads",
    "new_epoch",
    "shown_names",
]


def dumps_arguments(args: tuple[Any, ...], kwargs: dict[str, Any], name: str = "", limit: int = 0) -> bytes:
    """Pickle the arguments of a call; ``name`` is the task's, for messages; ``limit`` as in ``codec.fits``.

    Raises
    ------
    SerializationError
        An argument cannot be pickled (the message names it), or they are too large to travel.
    """
    try:
        data = dumps((args, kwargs))
    except Exception as error:
        # the message has what the pickler said; its frames help nobody
        raise arguments_error(args, kwargs, name, error) from None
    if codec.fits(data, limit):  # the text costs more than the question
        return data
    return codec.sized(data, f"the arguments of {name}()" if name else "the arguments", limit)


def dumps_value(value: Any, what: str = "the return value", limit: int = 0) -> bytes:
    """Pickle what a task returns or reports; ``what`` it is, for messages; ``limit`` as in ``codec.fits``.

    What local modules define goes by name: the client is where they came from.

    Raises
    ------
    SerializationError
        It cannot be pickled (the message says which part of it), or is too large to travel.
    """
    try:
        data = dumps(value, local=False)
    except Exception as error:
        raise value_error(value, what, error) from None
    return codec.sized(data, what, limit)


def loads(data: bytes) -> Any:
    """The value of a pickle made here or elsewhere.

    Raises
    ------
    SerializationError
        It cannot be loaded here, for want of a module for instance; the message says why.
    """
    try:
        return pickle.loads(data)
    except ModuleNotFoundError as error:
        raise SerializationError(
            f"this value needs the module {error.name!r}, which is not installed here"
        ) from error
    except Exception as error:
        raise SerializationError(
            f"this value cannot be loaded here: {type(error).__name__}: {error}"
        ) from error
