"""A function that runs here when it is called, and on a worker when it is sent."""

import functools
import uuid
import warnings
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from types import MethodType
from typing import Any, Generic, Self, TypeVar, Unpack, cast, overload

from nbqueue import current
from nbqueue import messages as m
from nbqueue.client import canvas, eager, publish
from nbqueue.client.arguments import checker
from nbqueue.client.backends import Backend
from nbqueue.client.classes import ATTRIBUTES, name_of, own_run, said_by
from nbqueue.client.connections import Router, default_router
from nbqueue.client.elsewhere import OF_TASKS, without
from nbqueue.client.envelope import Envelope, Envelopes
from nbqueue.client.generics import P, R
from nbqueue.client.group import GroupResult
from nbqueue.client.hooks import Hooks
from nbqueue.client.inline import Inline
from nbqueue.client.options import (
    CallOptions,
    agreeing,
    call_options,
    in_zone,
    split,
)
from nbqueue.client.plan import Plan, make_plan
from nbqueue.client.result import AsyncResult
from nbqueue.client.weaving import Call
from nbqueue.exceptions import ConfigurationError, ConnectionLostError, MaxRetriesExceededError, Retry
from nbqueue.request import Request
from nbqueue.signals import after_task_publish, before_task_publish
from nbqueue.states import FAILURE
from nbqueue.wire.payload import TaskOptions

T = TypeVar("T")


class Task(Hooks, Generic[P, R]):
    """Made by ``@app.task``, ``@nbqueue.task`` or ``%%task``.

    ``task(2)`` runs the function here; ``task.delay(2)`` on a worker.

    A subclass is a base of tasks: ``@app.task(base=MyTask)``.  What stands in its body under the name of an
    option (``max_retries = 5``) is that option; ``self`` of a task with ``bind=True`` is an object of it, one
    a process, on workers too.  With a method ``run`` it is a task by itself: ``app.register_task(MyTask())``.
    """

    #: as attributes, for Celery's sake: ``except self.MaxRetriesExceededError``
    MaxRetriesExceededError = MaxRetriesExceededError
    OperationalError = ConnectionLostError

    #: tells wire.payload that it is part of a definition, not a value to be captured
    __nbqueue_definition__ = True

    #: the application that made it, None if it came from another process
    app: Any = None
    name: str = ""

    _router: Router
    #: what a worker calls, None for one that only workers have
    function: Callable[..., Any] | None
    #: options as they were said: of the class, of @task, of whoever has set one since
    _said: dict[str, Any]
    #: what is made of them when it is called, None if they have changed since
    _plan: Plan | None
    _envelopes: Envelopes
    #: of the plan that it had where it comes from
    _carried: dict[str, Any]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        # not __init__: a subclass may have one of its own, and need not call ours
        self = super().__new__(cls)
        vars(self).update(
            _router=default_router, _plan=None, _carried={}, _said=said_by(cls, Task), function=None
        )
        if (run := own_run(cls, Task)) is not None:
            self._become(run, {"bind": True})
        return self

    @classmethod
    def of(
        cls,
        function: Callable[..., Any] | None,
        said: Mapping[str, Any],
        *,
        app: Any = None,
        router: Router = default_router,
    ) -> Self:
        """The task of a function; ``said`` are options of ``@task`` with its name, which win over those of
        the class.

        Raises
        ------
        TypeError, ConfigurationError
            An option is none, or cannot have that value.
        """
        task = cls()
        vars(task).update(app=app, _router=router)
        task._become(function, said)
        return task

    def _become(self, function: Callable[..., Any] | None, said: Mapping[str, Any]) -> None:
        own = vars(self)
        said = {**self._said, **said}
        typing = said.pop("typing", True)
        if type(self) not in _PLAIN:
            said["base"] = type(self)
        name = (
            said.pop("name", None)
            or self.name
            or (function is not None and name_of(function, None if type(self) in _PLAIN else type(self)))
        )
        own.update(_said=said, _plan=None, name=name, function=function)
        options, call = split({"name": name, **said})  # a wrong option is told where it was written
        if "priority" in call:
            said["priority"] = call["priority"]  # one above the highest is told once
        own["name"] = options.name
        bound = options.bind
        own["_check"] = _check_nothing
        if function is None:
            return
        if typing is not False:
            own["_check"] = checker(function, bound=bound)
        if function is not own_run(type(self), Task):
            functools.update_wrapper(self, function)
            own["run"] = MethodType(function, self) if bound else function

    def __repr__(self) -> str:
        return f"<@task: {self.name}>"

    # ── options ──────────────────────────────────────────────────────────────────────────────

    @property
    def options(self) -> TaskOptions:
        """What workers are told of it, beside its function."""
        return self._planned().options

    @property
    def _call(self) -> CallOptions:
        """Options of a call that says none."""
        return self._planned().call

    def _planned(self) -> Plan:
        plan = self._plan
        settings = self._router.settings
        if plan is None or plan.version != settings.version:
            plan = make_plan(self, self.function, self._said, settings)._replace(**self._carried)
            vars(self).update(_plan=plan, _envelopes=Envelopes(self.name, plan))
        return plan

    def __getattr__(self, name: str) -> Any:
        """An option (``task.max_retries``, ``task.queue``), or what the run that goes on has to offer."""
        if name.startswith("_"):
            raise AttributeError(name)
        if name == "options":  # an unknown setting is an AttributeError, too
            return self._planned().options
        if name in ATTRIBUTES:
            plan = self._planned()
            return getattr(plan.options, name, plan.call.get(name))
        run = self._run()
        if run is not None and hasattr(type(run), name):
            return getattr(run, name)
        raise AttributeError(
            without(f"{type(self).__name__} {self.name!r} has no attribute {name!r}", name, OF_TASKS)
        )

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ATTRIBUTES:
            split({"name": self.name, **self._said, name: value})
            self._said[name] = value
            vars(self)["_plan"] = None
        else:
            object.__setattr__(self, name, value)

    @property
    def backend(self) -> Any:
        """Where its results are kept."""
        plan = self._planned()
        return plan.backend or Backend(None, self._router.settings.broker)

    # ── here and now ─────────────────────────────────────────────────────────────────────────

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the function here and now."""
        __tracebackhide__ = True
        if Inline.is_called_by_worker(self):
            with Inline(self, Inline.of(self)):
                return self.run(*args, **kwargs)  # type: ignore[no-any-return]  # whatever it returns
        with Inline(self, Request(task=self.name, args=args, kwargs=kwargs)):
            return self.run(*args, **kwargs)  # type: ignore[no-any-return]  # as above

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """What the task does; of a subclass without a function."""
        raise NotImplementedError(f"{type(self).__name__} has no run()")

    def _run(self) -> Any:
        """The run of this task that the caller is part of, None if there is none."""
        if Inline.of(self) is not None:
            return None
        run = current.run.get()
        return run if run is not None and run.task.name == self.name else None

    @property
    def request(self) -> Any:
        """The call that is being run: ``self.request.id``, ``.retries``, …; an empty one outside of runs."""
        inline = Inline.of(self)
        if inline is not None:
            return inline
        run: Any = self._run()
        return Request(task=self.name) if run is None else run.request

    def update_state(self, task_id: str | None = None, state: str | None = None, meta: Any = None) -> None:
        """Set a custom state of the running task; nobody watches a call, where there is nothing to report."""
        run: Any = self._run()
        if run is not None:
            run.update_state(state, meta, task_id=task_id)

    def retry(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        exc: BaseException | None = None,
        **options: Any,
    ) -> Any:
        """End this run and ask for another; see the same of ``self`` in a plain task.  Called directly there
        is no later: raises ``exc``, as Celery does, or Retry."""
        run: Any = self._run()
        if run is not None:
            return run.retry(args, kwargs, exc, **options)
        request = self.request
        if not request.is_eager:
            raise exc if exc is not None else Retry("called directly: there is nothing to retry")
        raise eager.EagerRetry(exc, options.get("max_retries", self.options.max_retries))

    def apply(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        *,
        throw: bool | None = None,
        retries: int = 0,
        **options: Unpack[CallOptions],
    ) -> "eager.EagerResult":
        """Run it here and now, as a worker would: with retries (at once), ``self.request`` and hooks.

        Parameters
        ----------
        throw
            Raise what it raises; None: the setting ``task_eager_propagates``.
        retries
            How often it counts as retried already.
        """
        __tracebackhide__ = True
        if "link" in options or "link_error" in options:
            return self.signature(args, kwargs, options).apply(throw=throw)  # type: ignore[no-any-return]  # a signature of any task
        args, kwargs = tuple(args or ()), dict(kwargs or {})
        self._check(*args, **kwargs)
        return self._apply(args, kwargs, self._given(options), throw=throw, retries=retries)

    def _apply(
        self,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        call: CallOptions,
        *,
        throw: bool | None = None,
        retries: int = 0,
    ) -> "eager.EagerResult":
        __tracebackhide__ = True
        settings = self._router.settings
        if self.function is None:
            raise ConfigurationError(f"task {self.name!r} is not defined here: it cannot be run here")
        throw = settings.task_eager_propagates if throw is None else throw
        keep = settings.task_store_eager_result and not call.get("ignore_result")
        id, headers = call.get("task_id"), call.get("headers")
        return eager.run(self, args, kwargs, id=id, retries=retries, throw=throw, keep=keep, headers=headers)

    # ── sending ──────────────────────────────────────────────────────────────────────────────

    @overload
    def delay(
        self: "Task[P, Coroutine[Any, Any, T]]", *args: P.args, **kwargs: P.kwargs
    ) -> AsyncResult[T]: ...
    @overload
    def delay(self: "Task[P, Iterator[T]]", *args: P.args, **kwargs: P.kwargs) -> AsyncResult[list[T]]: ...
    @overload
    def delay(self, *args: P.args, **kwargs: P.kwargs) -> AsyncResult[R]: ...
    def delay(self, *args: Any, **kwargs: Any) -> Any:
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
        return self._send(args, kwargs, {})

    def apply_async(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Unpack[CallOptions],
    ) -> AsyncResult[R]:
        """As :meth:`delay`, with options for this call (see ``CallOptions``).

        Raises
        ------
        ValueError
            An option cannot have that value.
        """
        __tracebackhide__ = True
        if "link" in options or "link_error" in options:
            return self.signature(args, kwargs, options).apply_async()  # type: ignore[no-any-return]  # as in apply
        if args is None:
            args = ()
        elif not isinstance(args, Iterable) or isinstance(args, str | bytes):
            raise TypeError(f"apply_async() takes the arguments as a tuple or list, args=({args!r},)")
        return self._send(tuple(args), dict(kwargs or {}), self._given(options))

    def map(self, items: Iterable[Any], **options: Unpack[CallOptions]) -> GroupResult:
        """One task for each item: ``f.map([1, 2])`` is ``f(1)`` and ``f(2)``."""
        __tracebackhide__ = True
        return self.starmap([(item,) for item in _iterated("map", items)], **options)

    def starmap(self, items: Iterable[Sequence[Any]], **options: Unpack[CallOptions]) -> GroupResult:
        """One task for each tuple of arguments: ``f.starmap([(1, 2), (3, 4)])``: ``f(1, 2)``, ``f(3, 4)``."""
        __tracebackhide__ = True
        group = str(uuid.uuid4())
        given = self._given(options)
        if "task_id" in given:
            raise ConfigurationError("task_id names one task: map() makes many")
        calls = [_iterated("starmap", args) for args in _iterated("starmap", items)]
        return GroupResult(group, [self._send(tuple(args), {}, given, group) for args in calls], self.name)

    def _given(self, options: Mapping[str, Any]) -> CallOptions:
        """The options of a call, checked against those that hold anyway."""
        __tracebackhide__ = True
        if not options:
            return {}
        plan = self._planned()
        given = call_options({}, in_zone(options, plan.zone))  # type: ignore[arg-type]  # not checked yet
        agreeing({**plan.call, **given})
        return given

    def chunks(self, items: Iterable[Sequence[Any]], n: int, **options: Unpack[CallOptions]) -> GroupResult:
        """:meth:`starmap` in parts: each task makes ``n`` of the calls, and returns their values."""
        __tracebackhide__ = True
        calls = [_iterated("chunks", args) for args in _iterated("chunks", items)]
        return canvas.chunks(self.s(), calls, n).apply_async(**options)  # type: ignore[no-any-return]  # as in apply

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
        siblings: dict[str, Task] = vars(self).setdefault("_siblings", {})
        if name not in siblings:
            siblings[name] = Task.of(function, {"name": name}, app=self.app, router=self._router)
        return siblings[name]

    def replace(self, sig: Any) -> Any:
        """Have the running task end as a signature does; see the same of ``self`` in a plain task.

        Raises
        ------
        RuntimeError
            There is no running task: it was called directly.
        """
        run: Any = self._run()
        if run is not None:
            run.replace(sig)
        if not self.request.is_eager:
            raise RuntimeError("called directly: there is no task that could be replaced")
        result = sig.apply()
        raise eager.EagerReplaced(result.get(disable_sync_subtasks=False))

    @property
    def always_eager(self) -> bool:
        """Whether it runs here instead of being sent."""
        return self._planned().eager

    def checked_step(
        self, step: m.Step | None, args: tuple[Any, ...], kwargs: dict[str, Any], options: dict[str, Any]
    ) -> CallOptions:
        """The options of a call, as a step of a workflow; raises TypeError if it cannot be called so."""
        __tracebackhide__ = True
        self._check_step(step, args, kwargs)
        return self._given(options)

    def _check_step(self, step: m.Step | None, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        __tracebackhide__ = True
        taken = 0 if step is None or step.takes is None else 1
        if taken and step is not None and step.on == FAILURE:
            try:
                self._check(*(None,) * 3, *args, **kwargs)
                return
            except TypeError:
                pass  # an errback of the other kind: it takes an id
        self._check(*(None,) * taken, *args, **kwargs)

    def send_step(self, call: Call) -> AsyncResult[Any]:
        """Send it as a part of a workflow, which has been checked."""
        __tracebackhide__ = True
        return self._send(call.args, call.kwargs, call.options, call.group, call)

    def _send(
        self,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        given: CallOptions,
        group: str = "",
        step: Call | None = None,
    ) -> AsyncResult[Any]:
        __tracebackhide__ = True
        if step is None:
            self._check(*args, **kwargs)
        router, plan = self._router, self._plan
        version = router.settings.version
        if plan is None or plan.version != version:
            plan = self._planned()
        call = plan.call
        if given or plan.routes is not None:
            call = plan.options_of(self.name, args, kwargs, given)
        if plan.eager:
            if self.function is not None:
                return self._apply(args, kwargs, call)
            warnings.warn(
                f"{self.name} is not defined here: it is sent, though tasks are to run here", stacklevel=3
            )
        client = router.client(version)
        task, blobs = self._envelopes.envelope(client, call, args, kwargs, group, step)
        if before_task_publish.receivers:
            task = publish.announced(task, args, kwargs)
        record = client.submit(task, blobs, fresh="task_id" not in call if step is None else not step.named)
        result: AsyncResult[Any] = AsyncResult(task.id, client, record, plan.backend)
        if after_task_publish.receivers:
            publish.sent(task, args, kwargs)
        run = current.run.get()
        if run is not None:
            run.before_end(client.drain)
        return result

    def draft(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], options: Mapping[str, Any], *, acks_late: bool
    ) -> Envelope:
        """What a call would be sent as, for others to send it later; ``acks_late`` counts if nobody says it.
        Raises as :meth:`apply_async`."""
        __tracebackhide__ = True
        self._check(*args, **kwargs)
        plan = self._planned()
        call = plan.options_of(self.name, args, kwargs, self._given(options))
        said = cast(CallOptions, {"acks_late": acks_late, **call})
        return self._envelopes.envelope(self._router.route.client, said, args, kwargs)

    def AsyncResult(self, task_id: str) -> "_Result[R]":  # noqa: N802 - Celery's name
        """The result of one of its calls, by the id."""
        backend = self._planned().backend
        return eager.stored(task_id) or _Result(task_id, self._router.route.client, backend=backend)

    # ── on its way ───────────────────────────────────────────────────────────────────────────

    def __reduce__(self) -> tuple[Callable[..., "Task"], tuple[Any, ...]]:
        # with what settings say: where it is unpickled, there are others
        plan = self._planned()
        call = {name: value for name, value in plan.call.items() if name != "retry"}
        said = {**call, **_differing(plan.options)}
        carried = {name: getattr(plan, name) for name in _CARRIED}
        return _restored, (type(self), self.function, self.name, said, carried)

    @classmethod
    def on_worker(cls, function: Callable[..., Any], options: TaskOptions) -> "Task":
        """The object that is ``self`` of a task on a worker: what ``TaskOptions.base`` is asked for."""
        return cls.of(function, {"name": options.name, **_differing(options)})

    def call_by_worker(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run it as a worker does: through ``__call__`` if the class has one of its own."""
        if type(self).__call__ is Task.__call__:
            return self.run(*args, **kwargs)
        with Inline.by_worker(self):
            return self(*args, **kwargs)


# a task has a method of this name
_Result = AsyncResult
#: classes that add nothing of a user's
_PLAIN: set[type] = {Task}
#: what settings say of a task beside its options
_CARRIED = (
    "queue",
    "priority",
    "result_serializer",
    "inherits_priority",
    "backend",
    "backend_url",
    "keeps_nothing",
)


def _check_nothing(*args: Any, **kwargs: Any) -> None:
    """Whatever the arguments are, they are right."""


def _differing(options: TaskOptions) -> dict[str, Any]:
    """Options that are not what they are by default, but for the name and the class."""
    plain = TaskOptions(name=options.name)
    return {
        name: value
        for name in TaskOptions.__slots__
        if name != "base" and (value := getattr(options, name)) != getattr(plain, name)
    }


def _restored(
    cls: type[Task],
    function: Callable[..., Any] | None,
    name: str,
    said: dict[str, Any],
    carried: dict[str, Any],
) -> Task:
    task = cls.of(function, {**said, "name": name})
    vars(task)["_carried"] = carried
    return task


def _iterated(method: str, items: Any) -> Iterable[Any]:
    __tracebackhide__ = True
    if not isinstance(items, Iterable):
        wanted = "an iterable of tuples of arguments" if method == "starmap" else "an iterable of arguments"
        raise TypeError(f"{method}() takes {wanted}, and {items!r} is none")
    return items
