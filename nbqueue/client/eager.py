"""Tasks that run here instead of being sent: ``task.apply()``, and all of them with ``task_always_eager``.

As Celery does it: retries follow at once, without their pauses; the result is there when the call
returns.  What a worker would do with pickles, limits and captured output is not done.
"""

import asyncio
import inspect
import socket
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from nbqueue import messages as m
from nbqueue.client.ids import new_id
from nbqueue.client.inline import Inline
from nbqueue.client.records import TaskRecord
from nbqueue.client.result import AsyncResult
from nbqueue.core import retry
from nbqueue.exceptions import Ignore, MaxRetriesExceededError, Reject, Retry
from nbqueue.request import Request
from nbqueue.states import FAILURE, RETRY, SUCCESS
from nbqueue.wire import failure as failures

#: what ran with task_store_eager_result, by id
_stored: dict[str, "EagerResult"] = {}


class EagerResult(AsyncResult[Any]):
    """The result of a task that ran here; everything is known of it."""

    __slots__ = ("_call",)

    def __init__(self, id: str, record: TaskRecord, call: Any = None) -> None:
        self._call = call
        self.id = id
        self.record = record
        self._backend = None
        self.parent = None
        self.client = None  # type: ignore[assignment]  # nobody is asked, for all is known

    def get(self, timeout: float | None = None, propagate: bool = True, *_: Any, **__: Any) -> Any:
        """The value, or raises the exception, unless ``propagate`` is False."""
        is_error, content = self._outcome()
        if is_error and propagate:
            raise content
        return content

    wait = get

    def _called_with(self) -> Any:
        return self._call

    def _children(self) -> list[Any]:
        return []

    def _forget_alone(self) -> None:
        self.forget()

    @property
    def request_of_run(self) -> Request:
        """The call that it was, for an errback."""
        args, kwargs = self._call or ((), {})
        return Request(id=self.id, task=self.record.name, args=args, kwargs=kwargs, is_eager=True)

    def revoke(self, *_: Any, **__: Any) -> None:
        """It has run: there is nothing to revoke."""

    def forget(self) -> None:
        _stored.pop(self.id, None)

    def __reduce__(self) -> tuple[Callable[..., AsyncResult[Any]], tuple[Any, ...]]:
        record = self.record
        return _restored, (self.id, record.name, record.outcome, record.loaded, self._call)


def stored(id: str) -> EagerResult | None:
    """The result of a task that ran here, if such are kept."""
    return _stored.get(id)


def run(
    task: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    *,
    id: str | None = None,
    retries: int = 0,
    throw: bool = False,
    keep: bool = False,
    headers: Mapping[str, Any] | None = None,
) -> EagerResult:
    """Run a task here, with its retries and hooks.

    Parameters
    ----------
    throw
        Raise what it raises.
    keep
        ``app.AsyncResult(id)`` is to find the result again.
    headers
        Of the call.
    """
    id = id or new_id()
    began = time.monotonic()
    while True:
        request = Request(
            id=id,
            task=task.name,
            args=args,
            kwargs=kwargs,
            retries=retries,
            attempt=retries + 1,
            root_id=id,
            hostname=socket.gethostname(),
            delivery_info={"is_eager": True},
            is_eager=True,
            called_directly=False,
            headers=headers,
            stamps=(headers or {}).get("stamps") or {},
            stamped_headers=(headers or {}).get("stamped_headers"),
        )
        state, content = _one_run(task, request)
        if state != RETRY:
            break
        retries += 1
    if throw and state == FAILURE:
        raise content
    runtime = time.monotonic() - began
    result = settled(id, task.name, state, content, runtime=runtime, retries=retries, call=(args, kwargs))
    if keep:
        _stored[id] = result
    return result


def settled(
    id: str,
    name: str,
    state: str,
    content: Any,
    *,
    runtime: float = 0.0,
    retries: int = 0,
    origin: str = "",
    call: Any = None,
) -> EagerResult:
    """The result of a task that ended so; ``content`` is its value or exception."""
    record = TaskRecord(id, name, "")
    failed = None if state == SUCCESS else failures.capture(content)
    outcome = m.Outcome(id, 0, state, failure=failed, runtime=runtime, retries=retries, origin=origin)
    record.known = True
    record.loaded = content
    record.on_outcome(outcome, time.time())
    return EagerResult(id, record, call)


def _one_run(task: Any, request: Request) -> tuple[str, Any]:
    """How one run ends: (state, value or exception); RETRY when it is to be run again."""
    call = (request.id, request.args, request.kwargs)
    with Inline(task, request):
        task.before_start(*call)
        state, content, info = FAILURE, None, None
        try:
            content = _finished(lambda: task.call_by_worker(request.args, request.kwargs))
            state = SUCCESS
        except EagerReplaced as exc:
            state, content = SUCCESS, exc.value
        except (Ignore, Reject) as exc:
            return (SUCCESS, None) if isinstance(exc, Ignore) else (FAILURE, exc)
        except Exception as exc:
            state, content = _verdict(task, request, exc)
            info = failures.capture(content)
        if state == SUCCESS:
            task.on_success(content, *call)
        elif state == RETRY:
            task.on_retry(content, *call, info)
        else:
            task.on_failure(content, *call, info)
        task.after_return(state, content, *call, info)
        return state, content


class EagerReplaced(Exception):
    """What ends a run whose task was replaced by something that has run here, too."""

    def __init__(self, value: Any) -> None:
        super().__init__(value)
        self.value = value


def _verdict(task: Any, request: Request, exc: Exception) -> tuple[str, BaseException]:
    """Whether a run that raised is to be followed by another, and what is shown for it."""
    options = task.options
    if isinstance(exc, Retry):
        limit = exc.limit if isinstance(exc, EagerRetry) else options.max_retries
        if retry.allowed(limit, request.retries):
            return RETRY, exc.exc or exc
        spent = f"{task.name}[{request.id}] was retried {limit} times"
        return FAILURE, exc.exc or MaxRetriesExceededError(spent)
    if isinstance(exc, options.autoretry_for) and retry.allowed(options.max_retries, request.retries):
        return RETRY, exc
    return FAILURE, exc


class EagerRetry(Retry):
    """Asks for another run, up to a limit of its own."""

    def __init__(self, exc: BaseException | None, limit: int | None) -> None:
        super().__init__(exc=exc)
        self.limit = limit


def _finished(function: Callable[[], Any]) -> Any:
    """What it returns; of a coroutine what that returns, of a generator the list of its items."""
    value = function()
    if inspect.isgenerator(value):
        return list(value)
    if inspect.isasyncgen(value):
        return _run_async(_items(value))
    return _run_async(value) if inspect.iscoroutine(value) else value


async def _items(generator: Any) -> list[Any]:
    return [item async for item in generator]


def _run_async(coroutine: Any) -> Any:
    """Run it to its end, also where a loop runs already, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    ended: list[Any] = []

    def work() -> None:
        try:
            ended.append((False, asyncio.run(coroutine)))
        except BaseException as error:
            ended.append((True, error))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    is_error, content = ended[0]
    if is_error:
        raise content
    return content


def _restored(id: str, name: str, outcome: m.Outcome, loaded: Any, call: Any) -> EagerResult:
    record = TaskRecord(id, name, "")
    record.known, record.loaded = True, loaded
    record.on_outcome(outcome, time.time())
    return EagerResult(id, record, call)
