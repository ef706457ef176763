"""Functions that workflows are made of, beside the user's: they run on workers, as tasks."""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

T = TypeVar("T")


def gather(values: T) -> T:
    """What the tasks of a group return, as the value of one task."""
    return values


def map_items(task: Callable[[Any], T], it: Iterable[Any]) -> list[T]:
    """Many calls in one task."""
    return [task(item) for item in it]


def starmap_items(task: Callable[..., T], it: Iterable[Iterable[Any]]) -> list[T]:
    """The same, of tuples of arguments."""
    return [task(*args) for args in it]
