"""Many results at once: of a map or a group in order, or of any tasks as they get done."""

import asyncio
import functools
import queue
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import Any, overload

from nbqueue.client.result import GLANCE, AsyncResult
from nbqueue.exceptions import TimeoutError
from nbqueue.states import SUCCESS


class GroupResult(Sequence[AsyncResult]):
    """The results of tasks that were submitted together, in order."""

    def __init__(self, id: str, results: Sequence[AsyncResult], name: str = "") -> None:
        self.id = id
        self.children = list(results)
        self.name = name

    def __repr__(self) -> str:
        tasks = f"{len(self)} {'task' if len(self) == 1 else 'tasks'}"
        return f"<{' '.join(filter(None, ('GroupResult', self.name, tasks, self.id)))}>"

    @property
    def results(self) -> list[AsyncResult]:
        """Celery's other name of ``children``."""
        return self.children

    @overload
    def __getitem__(self, index: int) -> AsyncResult: ...
    @overload
    def __getitem__(self, index: slice) -> list[AsyncResult]: ...
    def __getitem__(self, index: int | slice) -> AsyncResult | list[AsyncResult]:
        return self.children[index]

    def __len__(self) -> int:
        return len(self.children)

    def get(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        interval: float = GLANCE,
        callback: Callable[[str, Any], object] | None = None,
        *,
        disable_sync_subtasks: bool = True,
    ) -> list[Any]:
        """The values in order; raises the first exception in that order, unless ``propagate`` is False.

        The other arguments are those of ``AsyncResult.get``; ``callback`` is called for each task, in order.

        Raises
        ------
        TimeoutError
            Not all done within ``timeout`` seconds in all; the tasks go on.
        """
        __tracebackhide__ = True
        deadline = None if timeout is None else time.monotonic() + timeout
        values = []
        for result in self.children:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            value = result.get(
                left,
                propagate,
                interval,
                callback=callback,
                disable_sync_subtasks=disable_sync_subtasks,
            )
            values.append(value)
        return values

    join = get

    def ready(self) -> bool:
        """Whether all are done."""
        return all(result.ready() for result in self.children)

    def successful(self) -> bool:
        """Whether all have values."""
        return all(result.successful() for result in self.children)

    def failed(self) -> bool:
        """Whether any ended in FAILURE."""
        return any(result.failed() for result in self.children)

    def completed_count(self) -> int:
        """How many have values."""
        return sum(result.record.state == SUCCESS for result in self.children)

    def revoke(self, terminate: bool = False) -> None:
        """Cancel all that are not done."""
        if self.children:
            ids = [r.id for r in self.children if not r.record.settled]
            self.children[0].client.cancel(ids, terminate)

    def cancel(self) -> None:
        """Cancel all, waiting or running."""
        self.revoke(terminate=True)

    def forget(self) -> None:
        """Delete the records."""
        for result in self.children:
            result.forget()

    def __await__(self) -> Generator[Any, None, list[Any]]:
        return asyncio.gather(*(_awaited(result) for result in self.children)).__await__()


async def _awaited(result: AsyncResult) -> Any:
    return await result


def as_completed(results: Iterable[AsyncResult], timeout: float | None = None) -> Iterator[AsyncResult]:
    """The results in the order in which they get done.

    Raises
    ------
    TimeoutError
        Not all done within ``timeout`` seconds in all; the tasks go on.
    """
    waiting = list(results)
    done: queue.SimpleQueue[AsyncResult] = queue.SimpleQueue()
    listeners = [(result.record, functools.partial(done.put, result)) for result in waiting]
    try:
        for result, (record, listener) in zip(waiting, listeners, strict=True):
            result.client.look_up(record)
            record.when_settled(listener)
        yield from _as_put(done, waiting, timeout)
    finally:
        for record, listener in listeners:
            record.unlisten(listener)


def _as_put(
    done: "queue.SimpleQueue[AsyncResult]", waiting: list[AsyncResult], timeout: float | None
) -> Iterator[AsyncResult]:
    deadline = None if timeout is None else time.monotonic() + timeout
    for number in range(len(waiting)):
        while True:
            left = GLANCE if deadline is None else min(GLANCE, deadline - time.monotonic())
            try:
                yield done.get(timeout=max(0.0, left))
                break
            except queue.Empty:
                if deadline is not None and time.monotonic() >= deadline:
                    raise TimeoutError(
                        f"{len(waiting) - number} of {len(waiting)} tasks are not done after {timeout:g} s"
                    ) from None
                waiting[0].client.check()
