"""A call that can be kept, completed, passed on and put together with others: ``add.s(2)``.

A signature is a ``dict`` of plain values, so that it survives JSON; beside them it remembers the task itself,
which may be a function of this notebook.  What came as JSON finds its task by its name again.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Self

from nbqueue.client import eager_workflow, names, stamping
from nbqueue.client.ids import new_id
from nbqueue.client.registry import current_application
from nbqueue.client.stamping import StampingVisitor
from nbqueue.client.weaving import Given, Loom
from nbqueue.exceptions import ConfigurationError

#: options that hold signatures
CALLBACKS = ("link", "link_error")


class Signature(dict[str, Any]):
    """A task with arguments and options, not sent yet.

    Parameters
    ----------
    task
        A task, the name of one, or a signature as a ``dict``, when nothing else is given.
    args, kwargs
        Of the call; those that are given later come before ``args``.
    options
        Those of ``apply_async``; more of them may be given as keywords.
    immutable
        Nothing that is given later counts: ``add.si(2, 2)``.
    """

    TYPES: ClassVar[dict[str, type["Signature"]]] = {}
    #: how two are put one after the other: set by client.canvas, which builds on this
    join: ClassVar[Callable[["Signature", "Signature"], "Signature"]]
    #: what a task does that returns what it takes: likewise
    gather: ClassVar[Callable[[Any], Any]]
    #: how it is laid out, see client.weaving
    kind: ClassVar[str] = "task"
    _type: Any = None
    _app: Any = None

    def __init__(
        self,
        task: Any = None,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        type: Any = None,
        subtask_type: str | None = None,
        immutable: bool = False,
        app: Any = None,
        **more: Any,
    ) -> None:
        self._app = app
        if isinstance(task, dict):
            super().__init__(task)
            self["options"] = with_callbacks(self.get("options") or {})
            self._type = getattr(task, "_type", None)
            self._app = app or getattr(task, "_app", None)
            return
        if not isinstance(task, str):
            self._type, task = task, task.name
        super().__init__(
            task=task,
            args=tuple(args or ()),
            kwargs=dict(kwargs or {}),
            options=with_callbacks({**(options or {}), **more}),
            subtask_type=subtask_type,
            immutable=immutable,
        )
        if type is not None:
            self._type = type

    @classmethod
    def register_type(cls, name: str) -> Callable[[type["Signature"]], type["Signature"]]:
        """A class decorator: signatures of this ``subtask_type`` are of that class."""

        def register(subclass: type[Signature]) -> type[Signature]:
            cls.TYPES[name] = subclass
            return subclass

        return register

    @classmethod
    def from_dict(cls, d: Mapping[str, Any], app: Any = None) -> "Signature":
        """The signature of a ``dict``, as it comes out of JSON."""
        own = Signature.TYPES.get(d.get("subtask_type") or "")
        if own is not None and own is not cls:
            return own.from_dict(d, app=app)
        return Signature(dict(d) if not isinstance(d, Signature) else d, app=app)

    # ── what it is ───────────────────────────────────────────────────────────────────────────

    @property
    def task(self) -> str:
        return self["task"]  # type: ignore[no-any-return]  # it is a dict of anything

    name = task

    @property
    def args(self) -> tuple[Any, ...]:
        return tuple(self["args"])

    @args.setter
    def args(self, value: Iterable[Any]) -> None:
        self["args"] = tuple(value)

    @property
    def kwargs(self) -> dict[str, Any]:
        return self["kwargs"]  # type: ignore[no-any-return]  # as above

    @kwargs.setter
    def kwargs(self, value: Mapping[str, Any]) -> None:
        self["kwargs"] = dict(value)

    @property
    def options(self) -> dict[str, Any]:
        return self["options"]  # type: ignore[no-any-return]  # as above

    @options.setter
    def options(self, value: Mapping[str, Any]) -> None:
        self["options"] = with_callbacks(value)

    @property
    def subtask_type(self) -> str | None:
        return self.get("subtask_type")

    @property
    def immutable(self) -> bool:
        return bool(self.get("immutable"))

    @immutable.setter
    def immutable(self, value: bool) -> None:
        self["immutable"] = value

    @property
    def id(self) -> str | None:
        """The id that its task will have, if that is set."""
        return self.options.get("task_id")

    @property
    def type(self) -> Any:
        """Its task; one that only workers have, if this process has none of that name."""
        if self._type is None:
            app = self._app
            self._type = names.find(self.task) if app is None else app.tasks.get(self.task)
            if self._type is None:
                self._type = (app or current_application()).named(self.task)
        return self._type

    @property
    def app(self) -> Any:
        return self._app or getattr(self.type, "app", None)

    @property
    def title(self) -> str:
        """What views call it."""
        return self.task

    def __repr__(self) -> str:
        return self.reprcall()

    def reprcall(self, *args: Any, **kwargs: Any) -> str:
        """As it would be written: ``tasks.add(2, 2)``."""
        args = self.args if self.immutable else (*args, *self.args)
        kwargs = self.kwargs if self.immutable else {**self.kwargs, **kwargs}
        shown = [*map(repr, args), *(f"{name}={value!r}" for name, value in kwargs.items())]
        return f"{self.task}({', '.join(shown)})"

    def __reduce__(self) -> tuple[Callable[..., "Signature"], tuple[Any, ...]]:
        return _restored, (dict(self), self._type)

    def __deepcopy__(self, memo: Any) -> Any:
        return self.clone()

    # ── others made of it ────────────────────────────────────────────────────────────────────

    def clone(self, args: Iterable[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any) -> Any:
        """A copy with more arguments, which come first, and other options."""
        copy = self._copy()
        immutable = options.pop("immutable", None)
        if not copy.immutable:
            copy["args"] = (*args, *copy.args)
            copy["kwargs"] = {**copy.kwargs, **(kwargs or {})}
        return copy.set(immutable, **options)

    partial = clone

    def _copy(self) -> Self:
        options = {
            name: [one.clone() for one in value] if name in CALLBACKS else value
            for name, value in self.options.items()
        }
        copy = type(self).__new__(type(self))
        dict.update(copy, self, args=tuple(self.args), kwargs=dict(self.kwargs), options=options)
        copy._type, copy._app = self._type, self._app
        return copy

    def replace(
        self,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> Any:
        """A copy with these in place of its own, where given."""
        copy = self._copy()
        if args is not None:
            copy["args"] = tuple(args)
        if kwargs is not None:
            copy["kwargs"] = dict(kwargs)
        if options is not None:
            copy["options"] = with_callbacks(options)
        return copy

    def set(self, immutable: bool | None = None, **options: Any) -> Self:
        """Set options of its call, such as ``countdown=10``; returns itself."""
        if immutable is not None:
            self.set_immutable(immutable)
        self.options.update(with_callbacks(options))
        return self

    def set_immutable(self, immutable: bool) -> None:
        """Whether it takes nothing of what comes before it."""
        self["immutable"] = immutable

    # ── callbacks ────────────────────────────────────────────────────────────────────────────

    def link(self, callback: Any) -> Any:
        """Have another signature called with its value when it has succeeded; returns that."""
        return self._add_callback("link", callback)

    def link_error(self, errback: Any) -> Any:
        """Have another signature called when it has failed: with ``(request, exc, traceback)`` if its
        function takes as many, else with its id; returns that."""
        return self._add_callback("link_error", errback)

    def on_error(self, errback: Any) -> Self:
        """:meth:`link_error`, and returns itself."""
        self.link_error(errback)
        return self

    def _add_callback(self, kind: str, callback: Any) -> Any:
        callback = as_signature(callback)
        own = self.options.setdefault(kind, [])
        if not isinstance(own, list):
            own = self.options[kind] = list(own)
        if callback not in own:
            own.append(callback)
        return callback

    def flatten_links(self) -> list["Signature"]:
        """Itself and all its callbacks, with theirs."""
        found: list[Signature] = [self]
        for callback in self.options.get("link") or ():
            found += callback.flatten_links()
        return found

    # ── stamps ───────────────────────────────────────────────────────────────────────────────

    def stamp(
        self, visitor: StampingVisitor | None = None, append_stamps: bool = False, **headers: Any
    ) -> Self:
        """Have its tasks carry stamps, which ``self.request.stamps`` has; returns itself.

        Parameters
        ----------
        visitor
            Says more of them, for each part.
        append_stamps
            Add values to those that a stamp has already.
        headers
            The stamps.
        """
        stamping.stamp(self, visitor, append_stamps, headers)
        return self

    def stamp_links(
        self, visitor: StampingVisitor | None = None, append_stamps: bool = False, **headers: Any
    ) -> None:
        """Stamp its callbacks alone."""
        stamping.stamp_links(self, visitor, append_stamps, stamping.with_names(headers))

    # ── sending ──────────────────────────────────────────────────────────────────────────────

    def freeze(self, _id: str | None = None, *_: Any, **__: Any) -> Any:
        """The result that it will have: from now on its tasks have ids.  Sent twice, it is one task."""
        return self.type.AsyncResult(self._frozen_id(_id))

    _freeze = freeze

    def _frozen_id(self, id: str | None) -> str:
        return str(self.options.setdefault("task_id", id or new_id()))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run it here and now."""
        __tracebackhide__ = True
        complete = self.clone(args, kwargs)
        if self.type.function is None:
            raise ConfigurationError(
                f"this process has no task called {self.task!r}: import its module first"
            )
        return self.type(*complete.args, **complete.kwargs)

    def delay(self, *args: Any, **kwargs: Any) -> Any:
        """Send it, with these arguments before its own."""
        __tracebackhide__ = True
        return self.apply_async(args, kwargs)

    def apply_async(
        self, args: Iterable[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Any:
        """Send it: arguments come before its own, and options win over its own.

        Raises
        ------
        TypeError
            A function of it cannot be called so; nothing was sent.
        """
        __tracebackhide__ = True
        said = {name: value for name, value in options.items() if value is not None}
        loom = Loom(self._gather)
        thread = loom.lay(self, None, Given(tuple(args or ()), dict(kwargs or {}), with_callbacks(said)))
        return eager_workflow.run(loom, thread) if loom.is_eager else loom.send(thread)

    def apply(
        self,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        *,
        throw: bool | None = None,
        **options: Any,
    ) -> Any:
        """Run it here and now, as workers would, callbacks included; see ``Task.apply``."""
        __tracebackhide__ = True
        said = {name: value for name, value in options.items() if value is not None}
        loom = Loom(self._gather)
        thread = loom.lay(self, None, Given(tuple(args or ()), dict(kwargs or {}), with_callbacks(said)))
        return eager_workflow.run(loom, thread, throw=throw)

    def _gather(self) -> "Signature":
        """A task that returns what it takes."""
        return Signature(self.type.sibling(Signature.gather, "nbqueue.gather"))

    def __invert__(self) -> Any:
        """``~add.s(2, 2)`` sends it and waits for its value."""
        __tracebackhide__ = True
        return self.apply_async().get()

    def submit_as_replacement(self) -> str:
        """Send it in place of the running task; returns the id of the task whose outcome counts."""
        loom = Loom(self._gather)
        thread = loom.lay(self, None, Given())
        return loom.send(loom.single(thread)).id  # type: ignore[no-any-return]  # of any result

    # ── put together ─────────────────────────────────────────────────────────────────────────

    def __or__(self, other: Any) -> Any:
        """``add.s(2) | mul.s(4)``: one after the other."""
        if not isinstance(other, Signature):
            return NotImplemented
        return Signature.join(self, other)

    __ior__ = __or__  # not dict's: it makes another one

    def __ror__(self, other: Any) -> Any:
        return NotImplemented


def as_signature(d: Any) -> Any:
    """A signature of a ``dict``, of a task, or as it is."""
    if isinstance(d, Signature):
        return d
    if isinstance(d, Mapping):
        return Signature.from_dict(d)
    if hasattr(d, "signature"):
        return d.signature()
    raise TypeError(f"{d!r} is no signature: write task.s(…)")


def with_callbacks(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options with lists of signatures for callbacks."""
    own = dict(options)
    for name in CALLBACKS:
        if (value := own.get(name)) is not None:
            several = value if isinstance(value, list | tuple) else [value]
            own[name] = [as_signature(one) for one in several]
        elif name in own:
            del own[name]
    return own


def _restored(d: dict[str, Any], task: Any) -> Signature:
    own = Signature.from_dict(d)
    own._type = task
    return own
