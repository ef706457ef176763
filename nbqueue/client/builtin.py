"""Functions that workflows are made of, beside the user's: they run on workers, as tasks."""

from collections.abc import Iterable
from typing import Any, TypeVar

from nbqueue.client.signature import as_signature

T = TypeVar("T")


def gather(values: T) -> T:
    """What the tasks of a group return, as the value of one task."""
    return values


def map_items(task: Any, it: Iterable[Any]) -> list[Any]:
    """Many calls in one task; ``task`` is a signature, which JSON has made a ``dict`` of."""
    function = as_signature(task)
    return [function(item) for item in it]


def starmap_items(task: Any, it: Iterable[Iterable[Any]]) -> list[Any]:
    """The same, of tuples of arguments."""
    function = as_signature(task)
    return [function(*args) for args in it]
