"""Signatures of many tasks: groups, chains, chords, and the bulk forms.

::

    group(add.s(1, 1), add.s(2, 2))      both at once: [2, 4]
    chain(add.s(1, 1), mul.s(10))        one after the other, each taking the value of the one before: 20
    chord([add.s(1, 1), add.s(2, 2)], xsum.s())    a group, then a task that takes the list of its values: 6

They are put into one another as one likes, and ``|`` puts one after the other.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Self

from nbqueue.client import builtin
from nbqueue.client import signature as signatures
from nbqueue.client.group import GroupResult
from nbqueue.client.signature import Signature, as_signature
from nbqueue.client.stamping import StampingVisitor


def signature(varies: Any, *args: Any, **kwargs: Any) -> Any:
    """A signature of a task, of the name of one, or of a ``dict`` that was one: see :class:`Signature`."""
    if isinstance(varies, Mapping):
        app = kwargs.get("app")
        made = Signature.from_dict(varies, app=app)
        return made.clone() if isinstance(varies, Signature) else made
    return Signature(varies, *args, **kwargs)


subtask = signature


def maybe_signature(d: Any, app: Any = None, clone: bool = False) -> Any:
    """A signature of a ``dict``; what is one already as it is, or a copy of it; None of None."""
    if d is None:
        return None
    made = as_signature(d) if isinstance(d, Mapping) else d
    return made.clone() if clone and isinstance(made, Signature) else made


class _Several(Signature):
    """A signature that is made of others."""

    def _become(self, task: str, parts: Mapping[str, Any], options: Mapping[str, Any]) -> None:
        dict.update(
            self,
            task=task,
            args=(),
            kwargs=dict(parts),
            options=signatures.with_callbacks(options),
            subtask_type=task.removeprefix("nbqueue."),
            immutable=False,
        )

    @property
    def type(self) -> Any:
        return next((part.type for part in self._parts()), None)

    def _parts(self) -> Iterator[Signature]:
        raise NotImplementedError

    @property
    def title(self) -> str:
        return self.task.removeprefix("nbqueue.")

    def set_immutable(self, immutable: bool) -> None:
        for part in self._parts():
            part.set_immutable(immutable)

    def clone(self, args: Iterable[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any) -> Any:
        copy = self._copy()
        immutable = options.pop("immutable", None)
        copy._give(tuple(args), kwargs or {})
        return copy.set(immutable, **options)

    partial = clone

    def _give(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Have what comes first take these arguments before its own."""
        raise NotImplementedError

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Send it; arguments are those of what comes first."""
        __tracebackhide__ = True
        return self.apply_async(args, kwargs)


class _Listed(_Several):
    """Of a list of others."""

    def __init__(self, *tasks: Any, **options: Any) -> None:
        if len(tasks) == 1 and not isinstance(tasks[0], Mapping) and isinstance(tasks[0], Iterable):
            tasks = tuple(tasks[0])
        self._become(f"nbqueue.{type(self).__name__}", {"tasks": self._taken(tasks)}, options)

    def _taken(self, tasks: Iterable[Any]) -> list[Signature]:
        return [as_signature(task) for task in tasks]

    @classmethod
    def from_dict(cls, d: Mapping[str, Any], app: Any = None) -> Signature:
        made = cls([as_signature(task) for task in d["kwargs"]["tasks"]])
        made["options"] = signatures.with_callbacks(d.get("options") or {})
        return made

    @property
    def tasks(self) -> list[Any]:
        return self.kwargs["tasks"]  # type: ignore[no-any-return]  # a dict of anything

    @tasks.setter
    def tasks(self, tasks: Iterable[Any]) -> None:
        self.kwargs["tasks"] = self._taken(tasks)

    def _parts(self) -> Iterator[Signature]:
        return iter(self.tasks)

    def _copy(self) -> Self:
        copy = super()._copy()
        copy.kwargs["tasks"] = [task.clone() for task in self.tasks]
        return copy

    def __len__(self) -> int:  # of a dict it would be the number of its fields
        return dict.__len__(self)


@Signature.register_type("group")
class group(_Listed):  # noqa: N801 - Celery's name
    """Tasks to be run at the same time: ``group(add.s(i, i) for i in range(10))()`` returns a GroupResult."""

    kind: ClassVar[str] = "group"

    @property
    def title(self) -> str:
        names = dict.fromkeys(task.title for task in self.tasks)
        return next(iter(names)) if len(names) == 1 else "group"

    def freeze(self, _id: str | None = None, *_: Any, **__: Any) -> Any:
        members = [task.freeze() for task in self.tasks]
        return GroupResult(self._frozen_id(_id), members, self.title)

    def _give(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        if args or kwargs:
            self.tasks = [task.clone(args, kwargs) for task in self.tasks]

    def __repr__(self) -> str:
        return f"group({self.tasks!r})"

    def link_error(self, errback: Any) -> Any:
        """Have a signature called for each member that fails."""
        for task in self.tasks:
            task.link_error(as_signature(errback).clone())
        return errback

    def skew(self, start: float = 1.0, stop: float | None = None, step: float = 1.0) -> Self:
        """Have its tasks start one after the other: after ``start``, ``start + step``, … seconds."""
        delay = start
        for task in self.tasks:
            task.set(countdown=delay)
            delay = delay + step if stop is None or delay + step < stop else start
        return self


@Signature.register_type("chain")
class chain(_Listed):  # noqa: N801 - Celery's name
    """Tasks to be run one after the other, each with the value of the one before as its first argument.

    Sending it returns the result of the last one; ``.parent`` of that is the one before.  The arguments that
    are given when it is sent are those of the first task.  A chain of one signature is that signature.
    """

    kind: ClassVar[str] = "chain"

    def __new__(cls, *tasks: Any, **options: Any) -> Any:
        if len(tasks) == 1 and not isinstance(tasks[0], Mapping) and isinstance(tasks[0], Iterable):
            tasks = tuple(tasks[0])
        if len(tasks) == 1 and not options:
            return as_signature(tasks[0])  # not a chain: __init__ is not called
        return super().__new__(cls)

    def _taken(self, tasks: Iterable[Any]) -> list[Signature]:
        taken: list[Signature] = []
        for task in tasks:
            _append(taken, as_signature(task).clone())
        return taken

    @classmethod
    def from_dict(cls, d: Mapping[str, Any], app: Any = None) -> Signature:
        made = dict.__new__(cls)
        made._become("nbqueue.chain", {"tasks": [as_signature(t) for t in d["kwargs"]["tasks"]]}, {})
        made["options"] = signatures.with_callbacks(d.get("options") or {})
        return made

    def _give(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        if self.tasks and (args or kwargs):
            self.tasks[0] = self.tasks[0].clone(args, kwargs)

    def set_immutable(self, immutable: bool) -> None:
        if self.tasks:
            self.tasks[0].set_immutable(immutable)

    def freeze(self, _id: str | None = None, *_: Any, **__: Any) -> Any:
        last = len(self.tasks) - 1
        result: Any = None
        for number, task in enumerate(self.tasks):
            before, result = result, task.freeze(_id if number == last else None)
            if before is not None:
                _put_after(result, before)
        return result

    @property
    def title(self) -> str:
        return self.tasks[-1].title if self.tasks else "chain"

    def apply_async(
        self, args: Iterable[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Any:
        if not self.tasks:
            raise ValueError("an empty chain has nothing to run")
        return super().apply_async(args, kwargs, **options)

    def __repr__(self) -> str:
        return " | ".join(map(repr, self.tasks))


@Signature.register_type("chord")
class chord(_Several):  # noqa: N801 - Celery's name
    """A group, and a task that takes the list of its values when all of them are there.

    ``chord(header)(body)`` sends it, as ``chord(header, body)()`` does; the result is the body's, and its
    ``.parent`` the group's.  If a task of the header fails, the body ends in FAILURE with a ChordError that
    names it; the others run all the same.
    """

    kind: ClassVar[str] = "chord"

    def __init__(self, header: Any, body: Any = None, task: Any = None, **options: Any) -> None:
        self._become("nbqueue.chord", {"header": _as_group(header), "body": maybe_signature(body)}, options)

    @classmethod
    def from_dict(cls, d: Mapping[str, Any], app: Any = None) -> Signature:
        made = cls(d["kwargs"]["header"], d["kwargs"].get("body"))
        made["options"] = signatures.with_callbacks(d.get("options") or {})
        return made

    @property
    def header(self) -> group:
        return self.kwargs["header"]  # type: ignore[no-any-return]  # as above

    @property
    def tasks(self) -> list[Any]:
        return self.header.tasks

    @tasks.setter
    def tasks(self, tasks: Any) -> None:
        self.kwargs["header"] = _as_group(tasks)

    @property
    def body(self) -> Any:
        return self.kwargs["body"]

    @body.setter
    def body(self, body: Any) -> None:
        self.kwargs["body"] = maybe_signature(body)

    @property
    def title(self) -> str:
        return self.body.title if self.body is not None else "chord"

    def _parts(self) -> Iterator[Signature]:
        yield from self.tasks
        if self.body is not None:
            yield self.body

    def _copy(self) -> Self:
        copy = super()._copy()
        copy.kwargs.update(header=self.header.clone(), body=maybe_signature(self.body, clone=True))
        return copy

    def _give(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        self.header._give(args, kwargs)

    def set_immutable(self, immutable: bool) -> None:
        self.header.set_immutable(immutable)

    def freeze(self, _id: str | None = None, *_: Any, **__: Any) -> Any:
        header, result = self.header.freeze(), self.with_body().freeze(_id)
        _put_after(result, header)
        return result

    def link(self, callback: Any) -> Any:
        return self.with_body().link(callback)

    def link_error(self, errback: Any) -> Any:
        return self.with_body().link_error(errback)

    def with_body(self) -> Any:
        """Its body; raises ValueError if it has none."""
        if self.body is None:
            raise ValueError("a chord needs a body: chord(header, body), or chord(header)(body)")
        return self.body

    def __call__(self, body: Any = None, **options: Any) -> Any:
        """Send it, with this body if it has none."""
        __tracebackhide__ = True
        complete = self if body is None else chord(self.header, body, **self.options)
        return complete.apply_async(**options)

    def __length_hint__(self) -> int:
        return len(self.tasks)

    def __repr__(self) -> str:
        return f"chord({self.tasks!r}, {self.body!r})"


def _put_after(result: Any, before: Any) -> None:
    """Have the result of a part of a workflow know what comes before the part."""
    first = next(reversed([result, *result.ancestors()]))
    first.parent = before
    for member in first if isinstance(first, GroupResult) else ():
        _put_after(member, before)


def _as_group(header: Any) -> group:
    header = maybe_signature(header)
    if isinstance(header, group):
        return header
    return group([header]) if isinstance(header, Signature) else group(header)


# ── one after the other ──────────────────────────────────────────────────────────────────────────


def join(first: Signature, second: Signature) -> Signature:
    """``first | second``: a chain, or a chord where a group is followed by something."""
    return _chained([first.clone(), second.clone()])


def _chained(parts: list[Any]) -> Signature:
    tasks: list[Signature] = []
    for each in parts:
        _append(tasks, each)
    if len(tasks) == 1:
        return tasks[0]
    made: chain = dict.__new__(chain)
    made._become("nbqueue.chain", {"tasks": tasks}, {})
    return made


def _append(tasks: list[Signature], task: Signature) -> None:
    """Put a signature behind others: chains are opened up, a group and what follows make a chord, and what
    follows a chord belongs to its body."""
    if isinstance(task, chain) and not task.options:
        for each in task.tasks:
            _append(tasks, each)
    elif tasks and isinstance(tasks[-1], group) and not tasks[-1].options:
        tasks[-1] = chord(tasks[-1], task)
    elif tasks and isinstance(tasks[-1], chord) and not tasks[-1].options:
        tasks[-1].body = _then(tasks[-1].body, task)
    else:
        tasks.append(task)


def _then(first: Any, second: Signature) -> Signature:
    """The same as :func:`join`, of signatures that are nobody else's; the first may be None."""
    if isinstance(first, chain) and not first.options:
        _append(first.tasks, second)
        return first
    return second if first is None else _chained([first, second])


# ── the bulk forms ───────────────────────────────────────────────────────────────────────────────


class _Bulk(Signature):
    """One task that calls a function for each of several items."""

    #: the function that runs on the worker, and what its task is called
    runner: ClassVar[tuple[Callable[..., Any], str]]

    def __init__(self, task: Any, it: Iterable[Any], **options: Any) -> None:
        super().__init__(
            self.runner[1],
            kwargs={"task": as_signature(task), "it": list(it)},
            options=options,
            subtask_type=type(self).__name__,
        )

    @classmethod
    def from_dict(cls, d: Mapping[str, Any], app: Any = None) -> Signature:
        made = cls(d["kwargs"]["task"], d["kwargs"]["it"])
        made["options"] = signatures.with_callbacks(d.get("options") or {})
        return made

    @property
    def type(self) -> Any:
        return self.kwargs["task"].type.sibling(*self.runner)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Send it."""
        __tracebackhide__ = True
        return self.apply_async(args, kwargs)


@Signature.register_type("xmap")
class xmap(_Bulk):  # noqa: N801 - Celery's name
    """One task that calls ``task`` for each item, and returns the list of the values."""

    runner = (builtin.map_items, "nbqueue.map")

    def __repr__(self) -> str:
        return f"[{self.kwargs['task'].task}(x) for x in {self.kwargs['it']!r}]"


@Signature.register_type("xstarmap")
class xstarmap(_Bulk):  # noqa: N801 - Celery's name
    """One task that calls ``task`` for each tuple of arguments, and returns the list of the values."""

    runner = (builtin.starmap_items, "nbqueue.starmap")

    def __repr__(self) -> str:
        return f"[{self.kwargs['task'].task}(*x) for x in {self.kwargs['it']!r}]"


class chunks(group):  # noqa: N801 - Celery's name
    """Many calls in parts of ``n``: each part is one task, and returns the list of its values."""

    def __init__(self, task: Any, it: Iterable[Any], n: int, **options: Any) -> None:
        if isinstance(n, bool) or not isinstance(n, int) or n < 1:
            raise ValueError(f"chunks are of 1 call or more, not of {n!r}")
        items = list(it)
        parts = [xstarmap(task, items[start : start + n]) for start in range(0, len(items), n)]
        self._become("nbqueue.group", {"tasks": parts}, options)

    def group(self) -> _Listed:
        """The tasks that it is made of, as Celery has it."""
        return self


Signature.join = staticmethod(join)
Signature.gather = staticmethod(builtin.gather)

__all__: Sequence[str] = (
    "Signature", "StampingVisitor", "chain", "chord", "chunks", "group", "maybe_signature", "signature",
    "subtask", "xmap", "xstarmap",
)  # fmt: skip
