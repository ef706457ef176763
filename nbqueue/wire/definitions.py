"""The reading side of definitions: tasks as functions, loaded once and kept.

::

    definitions = Definitions(fetch)            fetch(key) gets a blob from the broker
    function, options, instance = definitions.load(task)
    args, kwargs = loads(task.payload)          next, in the same thread: see wire.namespaces
"""

import pickle
from collections import OrderedDict
from collections.abc import Callable, Collection
from typing import Any, Generic, NamedTuple, TypeVar

from nbqueue import messages as m
from nbqueue.exceptions import SerializationError
from nbqueue.wire import namespaces, serializers
from nbqueue.wire.fingerprint import ATOMS
from nbqueue.wire.namespaces import Captured, Namespaces
from nbqueue.wire.shipment import TaskOptions
from nbqueue.wire.sources import remember

_T = TypeVar("_T")
_KEPT_DEFINITIONS = 256
#: these may be large each
_KEPT_CAPTURED = 8


class LoadedTask(NamedTuple):
    """A task, ready to run."""

    function: Callable[..., Any]
    options: TaskOptions
    #: the object of the task's own class that is its ``self``, None for plain tasks
    instance: Any = None


class Definitions:
    """The tasks of one executor.  Belongs to the thread that runs them.

    Parameters
    ----------
    fetch
        Gets the blob of a key, and raises if nobody has it.
    worker
        The worker's name, for messages.
    accepted
        Serializers whose content may be loaded, None for all: definitions are pickles.
    """

    def __init__(
        self, fetch: Callable[[str], bytes], worker: str = "", accepted: Collection[str] | None = None
    ) -> None:
        self._accepted = accepted
        self._fetch = fetch
        self._where = f"worker {worker}" if worker else "the worker"
        self._registered: dict[str, LoadedTask] = {}
        self._loaded: _Kept[_Loaded] = _Kept(_KEPT_DEFINITIONS)
        self._captured: _Kept[Captured] = _Kept(_KEPT_CAPTURED)

    def register(
        self, name: str, function: Callable[..., Any], options: TaskOptions, instance: Any = None
    ) -> None:
        """A task that the worker has of its own: whatever definition comes under that name, this one runs."""
        self._registered[name] = LoadedTask(function, options, instance)

    def load(self, task: m.Task) -> LoadedTask:
        """The function of a task, with the values that it reads set as they were at the task's submission.

        What the thread loads next (the arguments) belongs to that task too.

        Raises
        ------
        ModuleNotFoundError
            The function uses a module that this worker lacks; the message says what to do.
        SerializationError
            The definition cannot be loaded here, or no task of that name is registered.
        """
        registered = self._registered.get(task.name)
        if registered is not None:
            namespaces.enter(None)
            return registered
        loaded = self._loaded.get(task.definition)
        if loaded is None:
            loaded = self._load(task)
        namespaces.enter(loaded.namespaces)
        if task.captured or task.captured_key or loaded.has_captured:
            self._apply(loaded, task)
        return loaded.task

    def _load(self, task: m.Task) -> "_Loaded":
        if not task.definition:
            raise SerializationError(
                f"{self._where} has no task called {task.name!r}: start it with -A and the module that has it"
            )
        if self._accepted is not None and serializers.PICKLED not in self._accepted:
            raise serializers.refused(serializers.PICKLED, self._accepted)
        data = self._fetch(task.definition)
        own = Namespaces()
        namespaces.enter(own)
        function, options, sources = self._loads(data, task)
        remember(sources)
        instance = None if options.base is None else options.base.on_worker(function, options)
        loaded = _Loaded(LoadedTask(function, options, instance), own)
        self._loaded.put(task.definition, loaded)
        return loaded

    def _apply(self, loaded: "_Loaded", task: m.Task) -> None:
        small = loaded.small
        if task.captured != loaded.small_data or not loaded.is_constant:
            small = self._loads(task.captured, task) if task.captured else {}
            loaded.keep(task.captured, small)
        loaded.namespaces.apply(small, self._large(task))

    def _large(self, task: m.Task) -> Captured:
        """Large captured values, kept from call to call: what a task changes in them stays changed."""
        if not task.captured_key:
            return {}
        captured = self._captured.get(task.captured_key)
        if captured is None:
            captured = self._loads(self._fetch(task.captured_key), task)
            self._captured.put(task.captured_key, captured)
        return captured

    def _loads(self, data: bytes, task: m.Task) -> Any:
        try:
            return pickle.loads(data)
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                f"task {task.name} needs the module {error.name!r}, which {self._where} lacks: "
                "install it there, or send the task to a queue whose workers have it",
                name=error.name,
            ) from error
        except Exception as error:
            raise SerializationError(
                f"{self._where} cannot load task {task.name}: {type(error).__name__}: {error}. "
                "Are the same versions of its libraries installed there?"
            ) from error


class _Loaded:
    """A definition, and the small captured values of its last call."""

    def __init__(self, task: LoadedTask, own: Namespaces) -> None:
        self.task = task
        self.namespaces = own
        self.small_data = b""
        self.small: Captured = {}
        #: no task can have changed them in place
        self.is_constant = True

    @property
    def has_captured(self) -> bool:
        """Whether an earlier call set values."""
        return bool(self.namespaces.applied)

    def keep(self, data: bytes, small: Captured) -> None:
        self.small_data, self.small = data, small
        self.is_constant = all(type(value) in ATOMS for values in small.values() for value in values.values())


class _Kept(Generic[_T]):
    """The most recently used of many things."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._things: OrderedDict[str, _T] = OrderedDict()

    def get(self, key: str) -> _T | None:
        thing = self._things.get(key)
        if thing is not None:
            self._things.move_to_end(key)
        return thing

    def put(self, key: str, thing: _T) -> None:
        self._things[key] = thing
        while len(self._things) > self._limit:
            self._things.popitem(last=False)
