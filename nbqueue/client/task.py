"""A function that runs here when it is called, and on a worker when it is sent."""

import functools
import sys
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Unpack

from nbqueue import current
from nbqueue import messages as m
from nbqueue.client import canvas, publish
from nbqueue.client.arguments import checker
from nbqueue.client.connections import Router, default_router
from nbqueue.client.group import GroupResult
from nbqueue.client.ids import new_id
from nbqueue.client.inline import InlineContext
from nbqueue.client.options import CallOptions, call_options, seconds_from_now
from nbqueue.client.result import AsyncResult
from nbqueue.client.weaving import Call
from nbqueue.exceptions import ConfigurationError
from nbqueue.signals import after_task_publish, before_task_publish
from nbqueue.states import FAILURE
from nbqueue.wire import payload
from nbqueue.wire.payload import Definer, TaskOptions

#: workers of the local cluster serve the environment that they were started from
_ENV = sys.prefix


class Task:
    """Made by ``@app.task``, ``@nbqueue.task`` or ``%%task``.

    ``task(2)`` runs the function here; ``task.delay(2)`` on a worker.
    """

    #: tells wire.payload that it is part of a definition, not a value to be captured
    __nbqueue_definition__ = True

    #: the application that made it, None if it came from another process
    app: Any = None

    def __init__(
        self,
        function: Callable[..., Any],
        options: TaskOptions,
        call: CallOptions,
        *,
        router: Router = default_router,
    ) -> None:
        functools.update_wrapper(self, function)
        self.run = function
        self.name = options.name
        self.options = options
        self._call = call_options({}, call)
        self._check = checker(function, bound=options.bind)
        self._definer = Definer(function, options)
        self._router = router
        self._siblings: dict[str, Task] = {}

    def __repr__(self) -> str:
        return f"<@task: {self.name}>"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the function here and now."""
        __tracebackhide__ = True
        if self.options.bind:
            return self.run(InlineContext(self.name, args, kwargs), *args, **kwargs)
        return self.run(*args, **kwargs)

    def __reduce__(self) -> tuple[Callable[..., "Task"], tuple[Any, ...]]:
        return Task, (self.run, self.options, dict(self._call))

    # ── sending ──────────────────────────────────────────────────────────────────────────────

    def delay(self, *args: Any, **kwargs: Any) -> AsyncResult:
        """Run it on a worker; returns at once.

        Raises
        ------
        TypeError
            The function cannot be called so.
        SerializationError
            An argument, or something that the function uses, cannot be pickled.
        ConnectionLostError
            The broker cannot be reached.
        """
        __tracebackhide__ = True
        return self._send(args, kwargs, self._call)

    def apply_async(
        self,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        **options: Unpack[CallOptions],
    ) -> AsyncResult:
        """As :meth:`delay`, with options for this call (see ``CallOptions``).

        Raises
        ------
        ValueError
            An option cannot have that value.
        """
        __tracebackhide__ = True
        if "link" in options or "link_error" in options:
            return self.signature(args, kwargs, options).apply_async()  # type: ignore[no-any-return]
        if not isinstance(args, Iterable) or isinstance(args, str | bytes):
            raise TypeError(f"apply_async() takes the arguments as a tuple or list, args=({args!r},)")
        return self._send(tuple(args), dict(kwargs or {}), call_options(self._call, options))

    def map(self, items: Iterable[Any], **options: Unpack[CallOptions]) -> GroupResult:
        """One task for each item: ``f.map([1, 2])`` is ``f(1)`` and ``f(2)``."""
        __tracebackhide__ = True
        return self.starmap([(item,) for item in _iterated("map", items)], **options)

    def starmap(self, items: Iterable[Sequence[Any]], **options: Unpack[CallOptions]) -> GroupResult:
        """One task for each tuple of arguments: ``f.starmap([(1, 2), (3, 4)])``: ``f(1, 2)``, ``f(3, 4)``."""
        __tracebackhide__ = True
        group = str(uuid.uuid4())
        call = call_options(self._call, options)
        if "task_id" in call:
            raise ConfigurationError("task_id names one task: map() makes many")
        calls = [_iterated("starmap", args) for args in _iterated("starmap", items)]
        return GroupResult(group, [self._send(tuple(args), {}, call, group) for args in calls], self.name)

    def chunks(self, items: Iterable[Sequence[Any]], n: int, **options: Unpack[CallOptions]) -> GroupResult:
        """:meth:`starmap` in parts: each task makes ``n`` of the calls, and returns their values."""
        __tracebackhide__ = True
        calls = [_iterated("chunks", args) for args in _iterated("chunks", items)]
        return canvas.chunks(self.s(), calls, n).apply_async(**options)  # type: ignore[no-any-return]

    # ── workflows ────────────────────────────────────────────────────────────────────────────

    def signature(
        self,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        *more: Any,
        **others: Any,
    ) -> canvas.Signature:
        """A call of it that is not sent yet; see :class:`nbqueue.canvas.Signature`."""
        return canvas.Signature(self, args, kwargs, options, *more, **others)

    subtask = signature

    def s(self, *args: Any, **kwargs: Any) -> canvas.Signature:
        """A call of it that is not sent yet, with these arguments: ``add.s(2)``."""
        return canvas.Signature(self, args, kwargs)

    def si(self, *args: Any, **kwargs: Any) -> canvas.Signature:
        """The same, of one that takes nothing of what comes before it."""
        return canvas.Signature(self, args, kwargs, immutable=True)

    subtask_s, subtask_si = s, si

    def sibling(self, function: Callable[..., Any], name: str) -> "Task":
        """A task of another function that goes the same way."""
        task = self._siblings.get(name)
        if task is None:
            task = self._siblings[name] = Task(function, TaskOptions(name), {}, router=self._router)
        return task

    def check_step(self, step: m.Step | None, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Raise TypeError if it cannot be called so, as a step of a workflow."""
        __tracebackhide__ = True
        taken = 0 if step is None or step.takes is None else 1
        if taken and step is not None and step.on == FAILURE:
            try:
                self._check(*(None,) * 3, *args, **kwargs)
                return
            except TypeError:
                pass  # an errback of the other kind: it takes an id
        self._check(*(None,) * taken, *args, **kwargs)

    def send_step(self, id: str, call: Call) -> AsyncResult:
        """Send it as a part of a workflow, which has been checked."""
        __tracebackhide__ = True
        options = call_options(self._call, call.options)
        return self._send(call.args, call.kwargs, options, call.group, id=id, step=call.step, check=False)

    def _send(
        self,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        call: CallOptions,
        group: str = "",
        *,
        id: str = "",
        step: m.Step | None = None,
        check: bool = True,
    ) -> AsyncResult:
        __tracebackhide__ = True
        if check:
            self._check(*args, **kwargs)
        client, default_queue, _ = self._router.route
        shipment = self._definer.shipment()
        blobs = (
            (shipment.definition,)
            if shipment.captured_blob is None
            else (shipment.definition, shipment.captured_blob)
        )
        limit = client.max_payload_bytes
        for blob in blobs:
            blob.check(limit)
        arguments = payload.dumps_arguments(args, kwargs, self.name, limit)
        run = current.run.get()
        parent = run.task if run is not None else None
        named = call.get("task_id")
        id = id or named or new_id()
        task = m.Task(
            id=id,
            name=self.name,
            definition=shipment.definition.key,
            payload=arguments,
            captured=shipment.captured,
            captured_key=shipment.captured_blob.key if shipment.captured_blob is not None else "",
            queue=call.get("queue") or default_queue,
            priority=call.get("priority", 0),
            python=shipment.python,
            env=_ENV,
            countdown=seconds_from_now(call.get("eta", call.get("countdown", 0.0))),
            expires=seconds_from_now(call["expires"]) if call.get("expires") is not None else None,
            time_limit=call.get("time_limit"),
            soft_time_limit=call.get("soft_time_limit"),
            group=group,
            parent_id=parent.id if parent is not None else "",
            root_id=(parent.root_id or parent.id) if parent is not None else "",
            ignore_result=call.get("ignore_result", False),
            step=step,
            origin=client.origin,
            headers=call.get("headers"),
        )
        if before_task_publish.receivers:
            task = publish.announced(task, args, kwargs)
        result = AsyncResult(id, client, client.submit(task, blobs, fresh=not named))
        if after_task_publish.receivers:
            publish.sent(task, args, kwargs)
        if run is not None:
            run.before_end(client.drain)
        return result


def _iterated(method: str, items: Any) -> Iterable[Any]:
    __tracebackhide__ = True
    if not isinstance(items, Iterable):
        wanted = "an iterable of tuples of arguments" if method == "starmap" else "an iterable of arguments"
        raise TypeError(f"{method}() takes {wanted}, and {items!r} is none")
    return items
