"""From signatures to tasks: what a workflow is made of, in an order in which it can be submitted.

::

    chain(a, group(b, c), d)  ─▶  a          after nothing
                                  b, c       after [a], take 0
                                  d          after [b, c], takes [0, 1]

The whole workflow is submitted at once, as ordinary tasks; each says what it waits for (``messages.Step``).
First everything is laid out and checked, then it is sent: a wrong call in the middle sends nothing.

A *thread* is what comes out of a part of the workflow: one task's value (:class:`Strand`), or those of a
group (:class:`Braid`).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from nbqueue import messages as m
from nbqueue.client.group import GroupResult
from nbqueue.client.ids import new_id
from nbqueue.client.options import CallOptions
from nbqueue.states import FAILURE, SUCCESS

#: where a group follows a group: more arrows than this go through one task that gathers the values
MAX_ARROWS: Final = 10_000
#: options that mean one task of several
_OF_FIRST: Final = ("countdown", "eta")
_OF_LAST: Final = ("task_id", "link")


@dataclass(eq=False)
class Strand:
    """One task's outcome."""

    id: str
    parent: "Thread | None" = None


@dataclass(eq=False)
class Braid:
    """The outcomes of a group."""

    id: str
    parts: "list[Thread]"
    name: str = ""
    parent: "Thread | None" = None


Thread: TypeAlias = Strand | Braid


@dataclass(eq=False, slots=True)
class Call:
    """A task to be sent."""

    task: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    options: CallOptions
    group: str
    step: m.Step | None
    id: str
    #: whether another one takes its value
    taken: bool = False
    #: … of which it has to be the broker that keeps it
    whole: bool = False
    #: its id was said, so that there may be results of it already
    named: bool = False


@dataclass(frozen=True)
class Source:
    """What a part of the workflow comes after."""

    thread: Thread
    on: str = SUCCESS
    #: a callback
    optional: bool = False

    def step(self, immutable: bool) -> m.Step:
        ids: list[str] = []
        takes = _indices(self.thread, ids)
        return m.Step(ids, self.on, None if immutable else takes, self.optional)


def _indices(thread: Thread, ids: list[str]) -> Any:
    """Append the ids of a thread, and return its shape in their indices."""
    if isinstance(thread, Strand):
        ids.append(thread.id)
        return len(ids) - 1
    return [_indices(part, ids) for part in thread.parts]


@dataclass
class Loom:
    """The tasks of one workflow, laid out; ``gather`` makes a signature of a task that returns its input."""

    gather: Callable[[], Any]
    calls: dict[str, Call] = field(default_factory=dict)
    #: in the order in which they were laid, so that parents and parts come first
    threads: list[Thread] = field(default_factory=list)

    # ── laying out ───────────────────────────────────────────────────────────────────────────

    def lay(self, signature: Any, source: Source | None, given: "Given", group: str = "") -> Thread:
        """Lay out a signature, and return what comes out of it.

        Raises
        ------
        TypeError
            A function cannot be called so, or an option is none.
        ConfigurationError
            An option cannot have that value.
        """
        lay: Callable[..., Thread] = getattr(self, f"_lay_{signature.kind}")
        return lay(signature, source, given.of(signature), group)

    def _lay_task(self, signature: Any, source: Source | None, given: "Given", group: str) -> Thread:
        immutable = bool(signature.immutable)
        step = None if source is None else source.step(immutable)
        args = signature.args if immutable else (*given.args, *signature.args)
        kwargs = signature.kwargs if immutable else {**signature.kwargs, **given.kwargs}
        options = dict(given.options)
        callbacks, errbacks = _many(options.pop("link", ())), _many(options.pop("link_error", ()))
        task = signature.type
        named = options.pop("task_id", None)
        checked = task.checked_step(step, tuple(args), kwargs, options)
        if step is not None and step.takes is not None:
            for id in step.after:  # its value is wanted, whatever else is said
                self.calls[id].taken = True
        strand: Strand = self._add(Strand(named or new_id(), source.thread if source is not None else None))
        call = Call(task, tuple(args), dict(kwargs), checked, group, step, strand.id, named=named is not None)
        self.calls[strand.id] = call
        for callback in callbacks:
            self.lay(callback, Source(strand, SUCCESS, optional=True), Given())
        for errback in errbacks:
            self.lay(errback, Source(strand, FAILURE), Given())
        return strand

    def _lay_chain(self, signature: Any, source: Source | None, given: "Given", group: str) -> Thread:
        tasks = signature.tasks
        thread: Thread | None = None
        for number, task in enumerate(tasks):
            is_first, is_last = number == 0, number == len(tasks) - 1
            own = given.part(first=is_first, last=is_last)
            thread = self.lay(task, source, own, group if is_last else "")
            source = Source(thread)
        assert thread is not None, "a chain has a task at least"
        return thread

    def _lay_group(self, signature: Any, source: Source | None, given: "Given", group: str) -> Thread:
        tasks = signature.tasks
        id = given.options.get("task_id") or new_id()
        if source is not None and len(tasks) > 1 and len(tasks) * _width(source.thread) > MAX_ARROWS:
            source = Source(self.single(source.thread), source.on, source.optional)
        own = given.part(first=True, last=False, error=True)
        braid = Braid(
            id,
            [self.lay(task, source, own, id) for task in tasks],
            signature.title,
            source.thread if source is not None else None,
        )
        for callback in _many(given.options.get("link", ())):
            self.lay(callback.clone(immutable=True), Source(braid, SUCCESS, optional=True), Given())
        self.threads.append(braid)
        return braid

    def _lay_chord(self, signature: Any, source: Source | None, given: "Given", group: str) -> Thread:
        body = signature.with_body()
        header = self.lay(signature.header, source, given.part(first=True, last=False, error=False))
        own = given.part(first=False, last=True)
        return self.lay(body, Source(header), own, group)

    def single(self, thread: Thread) -> Strand:
        """One task that has what comes out of a thread as its value."""
        if isinstance(thread, Braid):
            thread = self.lay(self.gather(), Source(thread), Given())
        assert isinstance(thread, Strand)
        call = self.calls[thread.id]
        call.taken = call.whole = True
        return thread

    def _add(self, thread: Any) -> Any:
        self.threads.append(thread)
        return thread

    @property
    def is_eager(self) -> bool:
        """Whether the settings say that tasks are to be run here (``task_always_eager``)."""
        first = next(iter(self.calls.values()), None)
        return first is not None and first.task.always_eager

    # ── sending ──────────────────────────────────────────────────────────────────────────────

    def send(self, thread: Thread) -> Any:
        """Submit everything; returns the result of a thread."""
        __tracebackhide__ = True
        return self.results({id: call.task.send_step(call) for id, call in self.calls.items()}, thread)

    def results(self, single: Mapping[str, Any], thread: Thread) -> Any:
        """The result of a thread, and all before it, from those of single tasks by id."""
        results: dict[Thread | None, Any] = {}
        for each in self.threads:
            parent = results.get(each.parent)
            if isinstance(each, Strand):
                results[each] = single[each.id]
                results[each].parent = parent
            else:
                parts = [results[part] for part in each.parts]
                results[each] = GroupResult(each.id, parts, each.name, parent)
        return results[thread]


@dataclass(frozen=True)
class Given:
    """What is said when a workflow is sent, or of a whole part of it: arguments that come first, options."""

    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)

    def of(self, signature: Any) -> "Given":
        """With the options of a signature; what is given wins, and callbacks add up."""
        own = signature.options
        merged = {**own, **self.options}
        for name in ("link", "link_error"):
            if name in own and name in self.options:
                merged[name] = [*_many(own[name]), *_many(self.options[name])]
        return Given(self.args, self.kwargs, merged)

    def part(self, *, first: bool, last: bool, error: bool = True) -> "Given":
        """What a part of it gets: the first one the arguments and the delay, the last one the id and the
        callbacks, those that ``error`` says what is to be done about their failure."""
        left_out = {
            *(() if first else _OF_FIRST),
            *(() if last else _OF_LAST),
            *(() if error else ("link_error",)),
        }
        options = {name: value for name, value in self.options.items() if name not in left_out}
        return Given(self.args, self.kwargs, options) if first else Given(options=options)


def _many(value: Any) -> Sequence[Any]:
    """Callbacks: one, several, or none."""
    if value is None:
        return ()
    return value if isinstance(value, list | tuple) else (value,)


def _width(thread: Thread) -> int:
    return sum(1 for _ in strands(thread))


def strands(thread: Thread) -> Iterator[Strand]:
    """All single outcomes of a thread."""
    waiting = [thread]
    while waiting:
        each = waiting.pop()
        if isinstance(each, Strand):
            yield each
        else:
            waiting += reversed(each.parts)
