"""Calling a task's function, and taking what it returns to its end: coroutines are awaited, generators run
through."""

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any, TypeAlias

from nbqueue.worker.stream import ItemStream

#: awaits to the end, whatever it raises
RunAsync: TypeAlias = Callable[[Coroutine[Any, Any, Any]], Any]
#: where the items of a generator go, made when there is one
Open: TypeAlias = Callable[[], ItemStream]
#: takes function and arguments
Caller: TypeAlias = Callable[[Callable[..., Any], tuple[Any, ...], dict[str, Any], Open], Any]


def call_alone(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], stream: Open
) -> Any:
    """What the function returns, taken to its end in this thread."""
    return finished(function(*args, **kwargs), stream)


def run_alone(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """In an event loop of its own, in this thread."""
    # only workers that run such tasks need it
    import asyncio

    return asyncio.run(coroutine)


def finished(value: Any, stream: Open, run_async: RunAsync = run_alone) -> Any:
    """The value itself; of a coroutine what it returns, of a generator the list of its items."""
    kind = type(value)
    if kind is GeneratorType:
        return _run_through(value, stream())
    if kind is CoroutineType:
        return run_async(value)
    if kind is AsyncGeneratorType:
        return run_async(_run_through_async(value, stream()))
    return value


def _run_through(generator: Iterator[Any], items: ItemStream) -> list[Any]:
    for item in generator:
        items.take(item)
    items.finish()
    return items.kept


async def _run_through_async(generator: AsyncIterator[Any], items: ItemStream) -> list[Any]:
    async for item in generator:
        await items.take_async(item)
    await items.finish_async()
    return items.kept
