"""The application: settings, tasks by name, and the way to the broker.

Nothing is read, imported or connected before it is needed: tasks may be defined before there is a
configuration, and what is wrong with that is told when a setting is first used.
"""

import datetime
import importlib
import os
import platform
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Concatenate, Literal, overload

from nbqueue import current
from nbqueue._version import __version__
from nbqueue.client import eager, names
from nbqueue.client.backends import Backend
from nbqueue.client.canvas import Signature, signature
from nbqueue.client.classes import give_name
from nbqueue.client.client import Client
from nbqueue.client.connection import BrokerConnection
from nbqueue.client.connections import Router, client_for, default_router, default_settings
from nbqueue.client.control import Control
from nbqueue.client.elsewhere import without, without_parts
from nbqueue.client.events import Events
from nbqueue.client.generics import P, R
from nbqueue.client.group import GroupResult, ResultSet
from nbqueue.client.modules import import_related, place_of
from nbqueue.client.periodic import PeriodicTasks
from nbqueue.client.registry import (
    SharedTask,
    TaskRegistry,
    make_default_by,
    set_current_application,
    share,
    shared_tasks,
)
from nbqueue.client.registry import current_app as current_app  # which needs what stands at the end
from nbqueue.client.result import AsyncResult
from nbqueue.client.task import Task
from nbqueue.client.zones import shown_zone
from nbqueue.config_source import ConfigSource
from nbqueue.exceptions import ConfigModuleNotFoundError, ConfigurationError, NBQueueError
from nbqueue.settings import Settings, full_url, shown_url
from nbqueue.signals import import_modules

# an application has attributes of these names
_Group = GroupResult
_Result = AsyncResult
_Set = ResultSet
_Task = Task


class App(PeriodicTasks):
    """A set of tasks and the broker that they go to; Celery's ``Celery``.

    Parameters
    ----------
    main
        Names the tasks of ``__main__``: ``App('tasks')`` makes ``tasks.add`` of ``add``.
    broker
        ``zmq://host:port`` or ``memory://``; none: the local cluster, started on first use.  The
        environment variable NBQUEUE_BROKER wins over it.
    backend
        Where results are kept: ``rpc://`` (or none) is with the broker, ``disabled://`` nowhere.
    include
        Modules with tasks, which workers import at their start.
    set_as_current
        ``current_app`` and ``@shared_task`` mean this application, until another is made.
    config_source, namespace
        As of :meth:`config_from_object`.
    task_cls
        The class of its tasks, in place of ``Task``.
    changes
        Settings by name, as in Celery.
    strict_typing
        Check calls against signatures, unless a task says ``typing=False``.
    settings
        Any of ``nbqueue.settings``, by name.
    """

    def __init__(
        self,
        main: str | None = "",
        broker: str | None = None,
        backend: Any = None,
        include: Sequence[str] | None = None,
        *,
        set_as_current: bool = True,
        config_source: Any = None,
        namespace: str = "",
        task_cls: type[Task] | None = None,
        strict_typing: bool = True,
        changes: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        self.main = main or ""
        settings = {**(changes or {}), **without_parts(settings)}
        self.conf = Settings(broker=broker, backend=backend, include=include, **settings)
        self.finalized = False
        self.strict_typing = strict_typing
        self._task_class: type[Task] = task_cls or Task
        self._tasks = TaskRegistry()
        self._shared_tasks: dict[SharedTask, Task] = {}
        self._by_name: dict[str, Task] = {}
        self._discover: list[tuple[Any, str | None]] = []
        self._router = Router(self.conf)
        if config_source is not None:
            self.config_from_object(config_source, namespace=namespace)
        if set_as_current:
            self.set_current()

    def __repr__(self) -> str:
        try:
            broker = shown_url(self.conf.broker) or "the local cluster"
        except NBQueueError:  # a configuration that is not there is told where it is needed
            broker = "a broker that its settings do not say"
        return f"<App {self.main or '__main__'} at {broker}>"

    def __reduce__(self) -> tuple[Callable[..., "App"], tuple[str]]:
        # a task that mentions its application: where it is unpickled, the broker is the one it came by
        return _restored, (self.main,)

    def __enter__(self) -> "App":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def set_current(self) -> None:
        """``current_app`` and ``@shared_task`` mean this application from now on."""
        set_current_application(self)

    set_default = set_current

    # ── settings ─────────────────────────────────────────────────────────────────────────────

    def config_from_object(
        self, obj: Any, silent: bool = False, force: bool = False, namespace: str | None = None
    ) -> None:
        """Read settings from a module (``'celeryconfig'``, ``'proj.settings:Production'``), or an object or
        class with attributes; what code and environment set wins over them.

        Parameters
        ----------
        silent
            A module that is not there is no error.
        force
            Read it now; else when a setting is first used, with the errors that there may be.
        namespace
            How the settings' names begin there, in capitals: ``'CELERY'`` for ``CELERY_TASK_ROUTES``.

        Raises
        ------
        ConfigModuleNotFoundError, ConfigurationError
            With ``force``: it is not there, or has names and values that cannot be.
        """
        self.conf.read_from(ConfigSource(obj, namespace or "", silent))
        if force:
            self.conf.lookup("broker")

    def config_from_envvar(self, variable_name: str, silent: bool = False, force: bool = False) -> bool:
        """The same, of the module that an environment variable names; False if it names none.

        Raises
        ------
        ConfigModuleNotFoundError
            The variable is not set, and ``silent`` is False.
        """
        name = os.environ.get(variable_name)
        if not name:
            if silent:
                return False
            raise ConfigModuleNotFoundError(
                f"the settings were to be read from the module that {variable_name} names, and it is not set"
            )
        self.config_from_object(name, silent=silent, force=force)
        return True

    # ── tasks ────────────────────────────────────────────────────────────────────────────────

    @overload
    def task(self, function: Callable[P, R], /, **options: Any) -> _Task[P, R]: ...
    @overload
    def task(
        self, function: None = None, /, *, bind: Literal[True], **options: Any
    ) -> Callable[[Callable[Concatenate[Any, P], R]], _Task[P, R]]: ...
    @overload
    def task(
        self, function: None = None, /, *, bind: Literal[False] = False, **options: Any
    ) -> Callable[[Callable[P, R]], _Task[P, R]]: ...
    def task(self, function: Any = None, /, **options: Any) -> Any:
        """Make a task of a function; with options or without: ``@app.task``, ``@app.task(bind=True)``.

        Parameters
        ----------
        name
            What workers and views call it.
        bind
            Give the function the running task as its first argument, ``self``.
        base
            A subclass of ``Task``: what ``self`` is, and whose hooks are called.
        retries
            Run it again, so many times, when it raises, after pauses of up to 1, 2, 4, … seconds.
        max_retries, autoretry_for, retry_kwargs, default_retry_delay, retry_backoff, retry_backoff_max,
        retry_jitter
            The same in detail: how often, when it raises one of which exceptions, after which pauses.
        throws
            Exceptions that are part of its work: a worker does not log them as errors.
        acks_late
            False: it is started at most once, even if its worker dies of it.
        typing
            False: do not check calls against its signature.
        queue, priority, countdown, expires, time_limit, soft_time_limit, ignore_result, serializer,
        tags, resources
            For each call that does not say otherwise (see ``CallOptions``).
        rate_limit
            Starts of tasks of this name over all workers, evenly spaced: ``"10/m"`` is one each six seconds.
        """
        if function is None:
            return lambda function: self.task(function, **options)
        if isinstance(function, _Task):
            function = function.function
        if not callable(function):
            raise TypeError(f"a task is made of a function, not of {function!r}")
        return self._register(function, options)

    def _register(self, function: Callable[..., Any], options: Mapping[str, Any]) -> _Task:
        said = {"name": self._name_of(function), "typing": self.strict_typing, **options}
        base = said.pop("base", None) or self._task_class
        if not (isinstance(base, type) and issubclass(base, _Task)):
            raise TypeError(f"base is a subclass of nbqueue.Task, not {base!r}")
        task = base.of(function, said, app=self, router=self._router)
        self._tasks[task.name] = task
        names.add(task)
        return task

    def gen_task_name(self, name: str, module: str) -> str:
        """What a task of that function or class is called; override it to name tasks otherwise."""
        if module == "__main__":
            return f"{self.main}.{name}" if self.main else name
        return f"{module}.{name}"

    def _name_of(self, function: Any) -> str:
        name = getattr(function, "__qualname__", type(function).__name__).replace("<locals>.", "")
        return self.gen_task_name(name, getattr(function, "__module__", None) or "__main__")

    def register_task(self, task: Any, **options: Any) -> _Task:
        """Add a task that is a class with a method ``run``, or an object of it: ``register_task(Add())``."""
        task = task() if isinstance(task, type) else task
        if not isinstance(task, _Task):
            raise TypeError(f"a task is an object of a subclass of nbqueue.Task, not {task!r}")
        named = options.pop("name", None) or task._said.get("name") or self._name_of(type(task))
        vars(task).update(app=self, _router=self._router)
        task._become(task.function, {"bind": True, **options, "name": named})
        self._tasks[task.name] = task
        give_name(type(task), task.name)
        return task

    @property
    def Task(self) -> type[_Task]:  # noqa: N802 - Celery's name
        """The class of its tasks, to derive others from: ``class MyTask(app.Task)``."""
        return self._task_class

    @Task.setter
    def Task(self, cls: type[_Task]) -> None:  # noqa: N802 - as above
        self._task_class = cls

    @property
    def tasks(self) -> TaskRegistry:
        """Its tasks by name, with those of ``@shared_task``."""
        shared = shared_tasks()
        if len(shared) != len(self._shared_tasks):
            for task in list(shared):
                task._of(self)
        return self._tasks

    def _shared(self, shared: SharedTask, function: Callable[..., Any], options: dict[str, Any]) -> _Task:
        """The task of this application that a shared one stands for."""
        task = self._shared_tasks.get(shared)
        if task is None:
            name = {"name": self._name_of(function), **options}["name"]
            task = self._tasks.get(name) or self._register(function, options)
            self._shared_tasks[shared] = task
        return task

    def finalize(self, auto: bool = False) -> None:
        """Have all tasks that were defined so far, and check their options by the settings.

        Raises
        ------
        ConfigurationError
            A setting, or an annotation of a task, cannot be.
        """
        for task in list(self.tasks.values()):
            task._planned()
        self.finalized = True

    def autodiscover_tasks(
        self,
        packages: Iterable[str] | Callable[[], Iterable[str]] | None = None,
        related_name: str | None = "tasks",
        force: bool = False,
    ) -> None:
        """Workers import ``PACKAGE.tasks`` of each package at their start, where there is one.

        ``packages`` may be a function; None: those of Django's ``INSTALLED_APPS``.  ``force``: import now.
        """
        if force:
            import_related(packages, related_name)
        else:
            self._discover.append((packages, related_name))

    def import_default_modules(self) -> None:
        """Import what has tasks of this application: what a worker does at its start."""
        import_modules.send(self)
        for name in self.conf.include:
            importlib.import_module(name)
        for packages, related_name in self._discover:
            import_related(packages, related_name)

    # ── calling ──────────────────────────────────────────────────────────────────────────────

    def send_task(
        self,
        name: str,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> _Result:
        """Send a task by its name: to workers that have it (``-A``), whether or not it is defined here.

        ``options`` are those of ``apply_async``.
        """
        __tracebackhide__ = True
        return self.named(name).apply_async(args, kwargs, **options)

    def signature(self, *args: Any, **kwargs: Any) -> Signature:
        """A signature whose tasks are those of this application: see ``nbqueue.signature``."""
        made: Signature = signature(*args, app=self, **kwargs)
        return made

    def named(self, name: str) -> _Task:
        """A task that only workers have."""
        task = self._by_name.get(name)
        if task is None:
            task = self._by_name[name] = _Task.of(None, {"name": name}, app=self, router=self._router)
        return task

    @property
    def current_task(self) -> Any:
        """The task that the caller runs in, None outside of tasks."""
        return current.run.get()

    # ── the broker ───────────────────────────────────────────────────────────────────────────

    @property
    def backend(self) -> Backend:
        """Where its results are kept."""
        return Backend(self.conf.backend, self.conf.broker)

    @property
    def client(self) -> Client:
        """The connection to the broker, made on first use."""
        return self._router.route.client

    @property
    def control(self) -> Control:
        """Workers asked and told: ``app.control.inspect().active()``, ``app.control.rate_limit(…)``."""
        return Control(lambda: self.client)

    @property
    def events(self) -> Events:
        """What happens at the broker, as it happens: ``for event in app.events(): …``"""
        return Events(lambda: self.client)

    def connection(self, url: str | None = None, **_: Any) -> BrokerConnection:
        """The broker as Celery's code asks for it: ``with app.connection() as c: c.ensure_connection()``."""
        return BrokerConnection(lambda: client_for(full_url(url)) if url else self.client)

    connection_for_read = connection_for_write = broker_connection = connection

    def __getattr__(self, name: str) -> Any:
        if hasattr(type(self), name):  # a property has raised it: say what it said
            return object.__getattribute__(self, name)
        raise AttributeError(without(f"{type(self).__name__} has no {name!r}", name))

    def AsyncResult(self, id: str, *_: Any, **__: Any) -> _Result:  # noqa: N802 - Celery's name
        """The result of any id; an unknown one is PENDING."""
        backend = self.backend
        return eager.stored(id) or _Result(id, self.client, backend=backend if backend.url else None)

    def GroupResult(self, id: str, results: Sequence[_Result] = ()) -> _Group:  # noqa: N802 - as above
        """Several results as one."""
        return _Group(id, results)

    def ResultSet(self, results: Iterable[Any] = ()) -> _Set:  # noqa: N802 - Celery's name
        """Results of any tasks, as one."""
        return _Set(results)

    @property
    def timezone(self) -> datetime.tzinfo:
        """That of the settings, else UTC."""
        return shown_zone(self.conf)

    def now(self) -> datetime.datetime:
        """The time there."""
        return datetime.datetime.now(self.timezone)

    def bugreport(self) -> str:
        """What to put into a bug report."""
        system = f"{platform.system()} {platform.release()}, Python {platform.python_version()}"
        return f"nbqueue {__version__}\n{system}\n{self!r}\n{self.conf.humanize()}"

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until the broker keeps everything that was sent; False if not within ``timeout`` seconds."""
        return self.client.flush(timeout)

    def close(self) -> None:
        """Send what is left and disconnect."""
        if (client := self._router.made) is not None:
            client.close()

    # ── the command line ─────────────────────────────────────────────────────────────────────

    def start(self, argv: Sequence[str] | None = None) -> None:
        """Be the ``nbqueue`` command line for this application: ``python tasks.py worker -l INFO``.

        ``argv``: what follows the program's name; None: of this process.  Ends the process.
        """
        arguments = list(sys.argv[1:] if argv is None else argv)
        place, folder = place_of(self)
        if folder and folder not in os.environ.get("PYTHONPATH", "").split(os.pathsep):
            # executors are processes of their own, and import the application by its name
            os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (folder, os.environ.get("PYTHONPATH"))))
        # the command line is a door, above the client: it is only opened on demand
        importlib.import_module("nbqueue.cli.main").main(["-A", place, *arguments])

    def worker_main(self, argv: Sequence[str] | None = None) -> None:
        """The same, for ``worker`` only: ``app.worker_main(['worker', '-l', 'INFO'])``.

        Raises
        ------
        ValueError
            There is no ``worker`` among the arguments.
        """
        arguments = list(sys.argv[1:] if argv is None else argv)
        if "worker" not in arguments:
            raise ValueError("worker_main() is for the worker command: app.worker_main(['worker', …])")
        self.start(arguments)


def _restored(main: str) -> App:
    return App(main, set_as_current=False)


_default: App | None = None


def default_app() -> App:
    """The application of ``nbqueue.task`` and ``%%task``."""
    global _default
    if _default is None:
        _default = App(set_as_current=False)
        _default.conf, _default._router = default_settings, default_router
    return _default


make_default_by(default_app)


def shared_task(*args: Any, **options: Any) -> Any:
    """Make a task of whichever application is current when it is used: for packages that have none."""
    if len(args) == 1 and callable(args[0]) and not options:
        return share(args[0], {})
    return lambda function: share(function, options)


def set_default_broker(url: str) -> None:
    """From now on the default application speaks to that broker.

    Raises
    ------
    ConfigurationError
        NBQUEUE_BROKER says another one, and wins.
    """
    check_default_broker(url)
    default_app().conf.broker = url


def check_default_broker(url: str) -> None:
    """Raise ConfigurationError if the environment names another broker than ``url``, and wins over it."""
    value, source = default_app().conf.lookup("broker")
    if source in os.environ and value != url:
        other = repr(url) if url else "the local cluster"
        raise ConfigurationError(f"{source} is set to {value!r} and wins over {other}: unset it first")
