"""What a function returns, taken to its end: coroutines are awaited, generators run through."""

from collections.abc import AsyncIterator, Callable
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any


def finished(value: Any) -> Any:
    """The value itself; of a coroutine what it returns, of a generator the list of its items."""
    kind = type(value)
    if kind is GeneratorType:
        return list(value)
    if kind is CoroutineType:
        return _run_async(lambda: value)
    if kind is AsyncGeneratorType:
        return _run_async(lambda: _items(value))
    return value


async def _items(generator: AsyncIterator[Any]) -> list[Any]:
    return [item async for item in generator]


def _run_async(start: Callable[[], Any]) -> Any:
    # only workers that run such tasks need it
    import asyncio

    return asyncio.run(start())
