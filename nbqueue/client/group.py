"""Many results at once: of a map or a group in order, or of any tasks as they get done."""

import asyncio
import functools
import queue
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import Any, overload

from nbqueue import messages as m
from nbqueue.client.connections import default_router
from nbqueue.client.control import revoke_args
from nbqueue.client.result import GLANCE, AsyncResult
from nbqueue.client.tree import ResultBase
from nbqueue.client.waiting import seconds_to_wait
from nbqueue.exceptions import ConfigurationError, TimeoutError
from nbqueue.states import SUCCESS
from nbqueue.wire import payload


class ResultSet(Sequence[Any]):
    """Results of any tasks, in order; of groups among them, too.

    What is said of all of them holds for groups inside: ``get()`` gives a list in their place.
    """

    def __init__(self, results: Iterable[Any], **_: Any) -> None:
        self.results: list[Any] = list(results)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: [{', '.join(result.id for result in self.results)}]>"

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> list[Any]: ...
    def __getitem__(self, index: int | slice) -> Any:
        return self.results[index]

    def __len__(self) -> int:
        return len(self.results)

    def __eq__(self, other: object) -> bool:
        return other.results == self.results if isinstance(other, ResultSet) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # its results change

    # ── which ────────────────────────────────────────────────────────────────────────────────

    def add(self, result: Any) -> None:
        """Add a result, unless it is there."""
        if result not in self.results:
            self.results.append(result)

    def update(self, results: Iterable[Any]) -> None:
        """Add several."""
        for result in results:
            self.add(result)

    def remove(self, result: Any) -> None:
        """Remove a result, or that of an id.

        Raises
        ------
        KeyError
            It is not there.
        """
        if result not in self.results:
            raise KeyError(result)
        self.results.remove(result)

    def discard(self, result: Any) -> None:
        """Remove a result, if it is there."""
        if result in self.results:
            self.results.remove(result)

    def clear(self) -> None:
        """Remove all."""
        self.results.clear()

    @property
    def tasks(self) -> list[AsyncResult]:
        """The results of all single tasks: of groups inside one by one, of chains with the steps before the
        last."""
        found: dict[str, AsyncResult] = {}
        for result in self.results:
            steps = [*reversed(list(_up_to(result, getattr(self, "parent", None)))), result]
            for step in steps:
                single = step.tasks if isinstance(step, ResultSet) else [step]
                found.update((task.id, task) for task in single)
        return list(found.values())

    # ── values ───────────────────────────────────────────────────────────────────────────────

    def get(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        interval: float = GLANCE,
        callback: Callable[[str, Any], object] | None = None,
        no_ack: bool = True,
        on_message: Callable[[dict[str, Any]], object] | None = None,
        disable_sync_subtasks: bool = True,
        on_interval: Callable[[], object] | None = None,
    ) -> list[Any]:
        """The values in order; raises the first exception in that order, unless ``propagate`` is False.

        The other arguments are those of ``AsyncResult.get``; ``callback`` is called for each task, in order.

        Raises
        ------
        TimeoutError
            Not all done within ``timeout`` seconds in all; the tasks go on.
        """
        __tracebackhide__ = True
        timeout = seconds_to_wait(timeout)
        deadline = None if timeout is None else time.monotonic() + timeout
        values = []
        for result in self.results:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            value = result.get(
                left,
                propagate,
                interval,
                callback=callback,
                on_message=on_message,
                on_interval=on_interval,
                disable_sync_subtasks=disable_sync_subtasks,
            )
            values.append(value)
        return values

    join = join_native = get

    def iterate(self, timeout: float | None = None, propagate: bool = True) -> Iterator[Any]:
        """The values as they come.

        Raises
        ------
        TimeoutError
            Not all done within ``timeout`` seconds in all; the tasks go on.
        """
        __tracebackhide__ = True
        for result in as_completed(self._singles(), timeout):
            yield result.get(propagate=propagate)

    def iter_native(self, timeout: float | None = None, **_: Any) -> Iterator[tuple[str, dict[str, Any]]]:
        """(id, what is known) of each task as it is done, in Celery's words."""
        for result in as_completed(self._singles(), timeout):
            yield result.id, result._message(result.state, result.result)

    def _singles(self) -> list[AsyncResult]:
        """One result for each value, in groups as well."""
        found: list[AsyncResult] = []
        for result in self.results:
            found += [result] if isinstance(result, AsyncResult) else result._singles()
        return found

    def maybe_throw(
        self, callback: Callable[[str, Any], object] | None = None, propagate: bool = True
    ) -> None:
        """Raise the exception of one that has failed, if there is one."""
        __tracebackhide__ = True
        for result in self._singles():
            if result.ready():
                result.get(propagate=propagate, callback=callback, disable_sync_subtasks=False)

    maybe_reraise = maybe_throw

    # ── states ───────────────────────────────────────────────────────────────────────────────

    def ready(self) -> bool:
        """Whether all are done."""
        return all(result.ready() for result in self.results)

    def successful(self) -> bool:
        """Whether all have values."""
        return all(result.successful() for result in self.results)

    def failed(self) -> bool:
        """Whether any ended in FAILURE."""
        return any(result.failed() for result in self.results)

    def waiting(self) -> bool:
        """Whether any is not done yet."""
        return any(not result.ready() for result in self.results)

    def completed_count(self) -> int:
        """How many have values; a group inside counts as one."""
        return sum(_has_value(result) for result in self.results)

    # ── steering ─────────────────────────────────────────────────────────────────────────────

    def revoke(self, terminate: bool = False, signal: Any = None, **_: Any) -> None:
        """Cancel all that are not done, with the steps before them; see ``AsyncResult.revoke``."""
        if revoke_args((), terminate, signal)["at_once"]:
            for result in self.tasks:
                result.revoke(terminate=terminate, signal=signal)
            return
        by_client: dict[Any, list[str]] = {}
        for result in self.tasks:
            if not result.record.settled and result.client is not None:
                by_client.setdefault(result.client, []).append(result.id)
        for client, ids in by_client.items():
            client.cancel(ids, terminate)

    def cancel(self) -> None:
        """Cancel all, waiting or running."""
        self.revoke(terminate=True)

    def forget(self) -> None:
        """Delete the records."""
        for result in self.results:
            result.forget()

    def then(self, callback: Callable[[Any], object]) -> Any:
        """Call ``callback(result)`` for each when it is done; see ``AsyncResult.then``."""
        for result in self._singles():
            result.then(callback)
        return self

    @property
    def supports_native_join(self) -> bool:
        """Values come by themselves, however they are asked for."""
        return True

    def __await__(self) -> Generator[Any, None, list[Any]]:
        return asyncio.gather(*(_awaited(result) for result in self.results)).__await__()


class GroupResult(ResultSet, ResultBase):
    """The results of tasks that were submitted together, in order.

    ``parent`` is the result of what comes before the group in a workflow.
    """

    def __init__(self, id: str, results: Iterable[Any], name: str = "", parent: Any = None, **_: Any) -> None:
        super().__init__(results)
        self.id = id
        self.parent = parent
        self.name = name

    def __repr__(self) -> str:
        tasks = f"{len(self)} {'task' if len(self) == 1 else 'tasks'}"
        return f"<{' '.join(filter(None, ('GroupResult', self.name, tasks, self.id)))}>"

    def __str__(self) -> str:
        return self.id

    def __eq__(self, other: object) -> bool:
        if isinstance(other, GroupResult):
            return (other.id, other.results) == (self.id, self.results)
        return other == self.id if isinstance(other, str) else NotImplemented

    def __hash__(self) -> int:  # type: ignore[override]  # its id stays
        return hash(self.id)

    def __bool__(self) -> bool:
        return True

    def __call__(self, *_: Any, **__: Any) -> "GroupResult":
        """Itself: ``add.chunks(items, 10)()``, as Celery has it, has been sent already."""
        return self

    delay = apply_async = group = __call__

    def skew(self, *_: Any, **__: Any) -> Any:
        """Of a group that is not sent yet.

        Raises
        ------
        ConfigurationError
            Always; it names the other way.
        """
        raise ConfigurationError(
            "these tasks have been sent: chunks(add.s(), items, n).group().skew(…)() sends them at intervals"
        )

    def __invert__(self) -> list[Any]:
        """``~group`` waits for its values."""
        __tracebackhide__ = True
        return self.get()

    @property
    def children(self) -> list[Any]:
        """The results, as a list."""
        return self.results

    @children.setter
    def children(self, results: list[Any]) -> None:
        self.results = results

    def _children(self) -> list[Any]:
        return self.results

    def forget(self) -> None:
        """Delete the records, and those of its parents."""
        for node in self.ancestors():
            node._forget_alone()
        self._forget_alone()

    def _forget_alone(self) -> None:
        for result in self.tasks:
            result._forget_alone()

    # ── kept by its id ───────────────────────────────────────────────────────────────────────

    def save(self, backend: Any = None) -> "GroupResult":
        """Have the broker keep which tasks it consists of, for :meth:`restore`, as long as their results.

        Raises
        ------
        SubmissionRefused
            The broker has no room for it.
        """
        client = self._client()
        step = m.Step([], m.SAVED)
        task = m.Task(self.id, "group", "", payload.dumps_value((self.name, self.as_tuple())), step=step)
        saved = AsyncResult(self.id, client, client.submit(task, ()))
        saved.wait_accepted(client.settings.connect_timeout)
        return self

    @classmethod
    def restore(cls, id: str, backend: Any = None, app: Any = None) -> "GroupResult | None":
        """The group that was saved under an id, by whatever process; None if there is none."""
        client = app.client if app is not None else default_router.route.client
        saved = AsyncResult(id, client)
        if not saved.exists():
            return None
        name, made = saved.get(disable_sync_subtasks=False)
        group: GroupResult = result_from_tuple(made, client=client)
        group.name = name
        return group

    def delete(self, backend: Any = None) -> None:
        """Delete what was saved; the results stay."""
        self._client().forget([self.id])

    def _client(self) -> Any:
        return (
            next((r.client for r in self.tasks if r.client is not None), None) or default_router.route.client
        )

    def _members(self) -> list[Any] | None:
        return [result.as_tuple() for result in self.results]


def result_from_tuple(r: Any, app: Any = None, *, client: Any = None) -> Any:
    """The result, or group's, of what its ``as_tuple`` gave.  Results know their broker by ``app``, or it is
    the default one."""
    if client is None:
        client = app.client if app is not None else default_router.route.client
    parts = []
    while r is not None:  # from the last one up to the first
        (id, parent), members = r
        parts.append((id, members))
        r = parent
    made: Any = None
    for id, members in reversed(parts):
        if members is None:
            made = AsyncResult(id, client, parent=made)
        else:
            made = GroupResult(id, [result_from_tuple(each, client=client) for each in members], parent=made)
    return made


def _up_to(result: Any, end: Any) -> Iterator[Any]:
    """What comes before a result, up to what comes before the whole group."""
    node = getattr(result, "parent", None)
    while node is not None and (end is None or node.id != end.id):
        yield node
        node = node.parent


def _has_value(result: Any) -> bool:
    if isinstance(result, AsyncResult):
        return result.record.state == SUCCESS  # of many, none is asked for
    return bool(result.successful())


async def _awaited(result: Any) -> Any:
    return await result


def as_completed(results: Iterable[AsyncResult], timeout: float | None = None) -> Iterator[AsyncResult]:
    """The results in the order in which they get done.

    Raises
    ------
    TimeoutError
        Not all done within ``timeout`` seconds in all; the tasks go on.
    """
    waiting, timeout = list(results), seconds_to_wait(timeout)
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
