"""Calling a task's function, and taking what it returns to its end: coroutines are awaited, generators run
through."""

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any, TypeAlias

#: awaits to the end, whatever it raises
RunAsync: TypeAlias = Callable[[Coroutine[Any, Any, Any]], Any]

#: function, arguments, and what is made of the items if it is a generator
Caller: TypeAlias = Callable[
    [Callable[..., Any], tuple[Any, ...], dict[str, Any], Callable[[], "Items"]], Any
]


def call_alone(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    items: Callable[[], "Items"],
) -> Any:
    """What the function returns, taken to its end in this thread."""
    return finished(function(*args, **kwargs), items=items)


def run_alone(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """In an event loop of its own, in this thread."""
    # only workers that run such tasks need it
    import asyncio

    return asyncio.run(coroutine)


def finished(value: Any, run_async: RunAsync = run_alone, items: Callable[[], "Items"] | None = None) -> Any:
    """The value itself; of a coroutine what it returns, of a generator the list of its items."""
    kind = type(value)
    if kind is GeneratorType:
        return _run_through(value, (items or Items)())
    if kind is CoroutineType:
        return run_async(value)
    if kind is AsyncGeneratorType:
        return run_async(_run_through_async(value, (items or Items)()))
    return value


class Items:
    """What is made of the items of a generator: the list of them."""

    def __init__(self) -> None:
        self.kept: list[Any] = []

    def take(self, item: Any) -> None:
        """The generator has yielded; may wait until somebody can take more."""
        self.kept.append(item)

    async def take_async(self, item: Any) -> None:
        """The same, for async generators."""
        self.take(item)


def _run_through(generator: Iterator[Any], items: Items) -> list[Any]:
    for item in generator:
        items.take(item)
    return items.kept


async def _run_through_async(generator: AsyncIterator[Any], items: Items) -> list[Any]:
    async for item in generator:
        await items.take_async(item)
    return items.kept
