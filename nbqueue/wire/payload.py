"""Tasks, arguments and results as bytes: what clients and workers use of this floor.

::

    client                                              worker
    Definer(function, options).shipment()  ──────────▶  Definitions(fetch).load(task)
    dumps_arguments(args, kwargs)          ──────────▶  loads(task.payload)
    loads(outcome.value)                   ◀──────────  dumps_value(value)

How it is done stands in ``locality`` (what goes by value), ``pickler`` and ``namespaces`` (the writing
and the reading side of values), ``definer`` and ``definitions`` (of functions), ``captures`` (what they
read), ``blame`` (error messages), ``serializers`` (JSON and msgpack, for those who want no pickles).
"""

import pickle
from collections.abc import Collection
from typing import Any, Final

from nbqueue.exceptions import SerializationError
from nbqueue.wire import codec, serializers
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

_PICKLED: Final = ("", serializers.PICKLED)


def dumps_arguments(
    args: tuple[Any, ...], kwargs: dict[str, Any], name: str = "", limit: int = 0, serializer: str = ""
) -> bytes:
    """Write the arguments of a call; ``name`` is the task's, for messages; ``limit`` as in ``codec.fits``;
    ``serializer`` "" for a pickle, "json" or "msgpack".

    Raises
    ------
    SerializationError
        An argument cannot be written (the message names it), or they are too large to travel.
    """
    try:
        if not serializer or serializer == serializers.PICKLED:
            data = dumps((args, kwargs))
        else:
            data = serializers.dumps((args, kwargs), serializer)
    except Exception as error:
        # the message has what the pickler said; its frames help nobody
        if serializer in _PICKLED:
            raise arguments_error(args, kwargs, name, error) from None
        raise _unwritable(f"the arguments of {name}()", serializer, error) from None
    if codec.fits(data, limit):  # the text costs more than the question
        return data
    return codec.sized(data, f"the arguments of {name}()" if name else "the arguments", limit)


def dumps_value(value: Any, what: str = "the return value", limit: int = 0, serializer: str = "") -> bytes:
    """Write what a task returns or reports; ``what`` it is, for messages; the others as above.

    What local modules define goes by name: the client is where they came from.

    Raises
    ------
    SerializationError
        It cannot be written (the message says which part of it), or is too large to travel.
    """
    try:
        data = dumps(value, local=False) if serializer in _PICKLED else serializers.dumps(value, serializer)
    except Exception as error:
        if serializer in _PICKLED:
            raise value_error(value, what, error) from None
        raise _unwritable(what, serializer, error) from None
    return codec.sized(data, what, limit)


def _unwritable(what: str, serializer: str, error: Exception) -> SerializationError:
    return SerializationError(f"{what} cannot be sent as {serializer}: {error}")


def loads(data: bytes | memoryview, accepted: Collection[str] | None = None) -> Any:
    """The value of what was written here or elsewhere, by any serializer that is ``accepted`` (None: all).

    Raises
    ------
    SerializationError
        It is not accepted, or cannot be loaded here, for want of a module for instance; the message says why.
    """
    if accepted is not None:
        serializers.check_accepted(data, accepted)
    try:
        return pickle.loads(data) if serializers.is_pickled(data) else serializers.loads(data)
    except ModuleNotFoundError as error:
        raise SerializationError(
            f"this value needs the module {error.name!r}, which is not installed here"
        ) from error
    except Exception as error:
        raise SerializationError(
            f"this value cannot be loaded here: {type(error).__name__}: {error}"
        ) from error
