"""The application: settings, tasks by name, and the way to the broker."""

from collections.abc import Callable
from typing import Any, overload

from nbqueue.client import names
from nbqueue.client.client import Client
from nbqueue.client.connections import Router, default_router, default_settings
from nbqueue.client.options import split
from nbqueue.client.result import AsyncResult
from nbqueue.client.task import Task
from nbqueue.exceptions import ConfigurationError
from nbqueue.settings import Settings

_Function = Callable[..., Any]


class App:
    """A set of tasks and the broker that they go to.

    Parameters
    ----------
    main
        Names the tasks of ``__main__``: ``App('tasks')`` makes ``tasks.add`` of ``add``.
    broker
        ``zmq://host:port`` or ``memory://``; none: the local cluster, started on first use.  The
        environment variable NBQUEUE_BROKER wins over it.
    settings
        Any of ``nbqueue.settings``, by name.
    """

    def __init__(self, main: str = "", *, broker: str | None = None, **settings: Any) -> None:
        self.main = main
        self.conf = Settings(broker=broker, **settings)
        self.tasks: dict[str, Task] = {}
        self._router = Router(self.conf)

    def __repr__(self) -> str:
        return f"<App {self.main or '__main__'} at {self.conf.broker or 'the local cluster'}>"

    def __reduce__(self) -> tuple[Callable[..., "App"], tuple[str]]:
        # a task that mentions its application: where it is unpickled, the broker is the one it came by
        return App, (self.main,)

    @overload
    def task(self, function: _Function, /, **options: Any) -> Task: ...
    @overload
    def task(self, function: None = None, /, **options: Any) -> Callable[[_Function], Task]: ...
    def task(
        self, function: _Function | None = None, /, **options: Any
    ) -> Task | Callable[[_Function], Task]:
        """Make a task of a function; with options or without: ``@app.task``, ``@app.task(bind=True)``.

        Parameters
        ----------
        name
            What workers and views call it.
        bind
            Give the function the running task as its first argument, ``self``.
        retries
            Run it again, so many times, when it raises, after pauses of up to 1, 2, 4, … seconds.
        max_retries, autoretry_for, retry_kwargs, default_retry_delay, retry_backoff, retry_backoff_max,
        retry_jitter
            The same in detail: how often, when it raises one of which exceptions, after which pauses.
        queue, priority, countdown, expires, time_limit, soft_time_limit, ignore_result
            For each call that does not say otherwise (see ``CallOptions``).
        """
        if function is None:
            return lambda function: self.task(function, **options)
        if isinstance(function, Task):
            function = function.run
        if not callable(function):
            raise TypeError(f"a task is made of a function, not of {function!r}")
        task = Task(function, *split({"name": self._name_of(function), **options}), router=self._router)
        task.app = self
        self.tasks[task.name] = task
        names.add(task)
        return task

    def _name_of(self, function: _Function) -> str:
        name = getattr(function, "__qualname__", type(function).__name__).replace("<locals>.", "")
        module = getattr(function, "__module__", "__main__")
        if module == "__main__":
            return f"{self.main}.{name}" if self.main else name
        return f"{module}.{name}"

    # ── the broker ───────────────────────────────────────────────────────────────────────────

    @property
    def client(self) -> Client:
        """The connection to the broker, made on first use."""
        return self._router.route.client

    def AsyncResult(self, id: str) -> AsyncResult:  # noqa: N802 - Celery's name
        """The result of any id; an unknown one is PENDING."""
        return AsyncResult(id, self.client)

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until the broker keeps everything that was sent; False if not within ``timeout`` seconds."""
        return self.client.flush(timeout)

    def close(self) -> None:
        """Send what is left and disconnect."""
        self.client.close()


_default: App | None = None


def default_app() -> App:
    """The application of ``nbqueue.task`` and ``%%task``."""
    global _default
    if _default is None:
        _default = App()
        _default.conf, _default._router = default_settings, default_router
    return _default


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
    if source not in ("code", "default") and value != url:
        other = repr(url) if url else "the local cluster"
        raise ConfigurationError(f"{source} is set to {value!r} and wins over {other}: unset it first")
