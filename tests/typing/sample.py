"""What type checkers are asked: each line marked ``# error`` is one, and no other is."""

from collections.abc import Iterator
from typing import Any, assert_type

from nbqueue import App, AsyncResult, Task

app = App("tasks")


@app.task
def add(x: int, y: int = 1) -> int:
    return x + y


@app.task(bind=True, max_retries=3)
def bound(self: Any, name: str) -> list[str]:
    return [name]


@app.task(queue="low")
def plain(x: float) -> str:
    return str(x)


@app.task
async def later(x: int) -> str:
    return str(x)


@app.task
def items(n: int) -> Iterator[int]:
    yield from range(n)


assert_type(add(1), int)
assert_type(add.delay(1), AsyncResult[int])
assert_type(add.delay(1, y=2).get(), int)
assert_type(add.apply_async((1, 2)).get(timeout=1), int)
assert_type(bound.delay("a").get(), list[str])
assert_type(plain.delay(1.5).get(), str)
assert_type(later.delay(1).get(), str)
assert_type(items.delay(3).get(), list[int])
assert_type(add.delay(1).future().result(), int)

add.delay("a")  # error
add.delay(1, 2, 3)  # error
bound.delay()  # error
plain.delay(x="a")  # error
add("a")  # error


async def awaited() -> int:
    return await add.delay(1)


def takes_any_task(task: Task) -> AsyncResult:
    return task.delay(1, 2, 3)


takes_any_task(add)
