"""nbqueue: a task queue for notebooks, with Celery's words and nothing to install or start.

>>> import nbqueue
>>> @nbqueue.task
... def double(x):
...     return 2 * x
>>> double.delay(21).get()
42

In a notebook, ``%load_ext nbqueue`` brings ``%%task`` and ``%%submit``.
"""

import importlib
from typing import TYPE_CHECKING, Any

from nbqueue._version import __version__

if TYPE_CHECKING:
    # `as`: type checkers take them for names of this module, too
    from nbqueue.client.app import App as App
    from nbqueue.client.app import current_app as current_app
    from nbqueue.client.app import default_app as default_app
    from nbqueue.client.app import shared_task as shared_task
    from nbqueue.client.canvas import Signature as Signature
    from nbqueue.client.canvas import chain as chain
    from nbqueue.client.canvas import chord as chord
    from nbqueue.client.canvas import chunks as chunks
    from nbqueue.client.canvas import group as group
    from nbqueue.client.canvas import maybe_signature as maybe_signature
    from nbqueue.client.canvas import signature as signature
    from nbqueue.client.canvas import subtask as subtask
    from nbqueue.client.canvas import xmap as xmap
    from nbqueue.client.canvas import xstarmap as xstarmap
    from nbqueue.client.cluster import Cluster as Cluster
    from nbqueue.client.cluster import attach as attach
    from nbqueue.client.cluster import connect as connect
    from nbqueue.client.cluster import start as start
    from nbqueue.client.cluster import stop as stop
    from nbqueue.client.executor import Executor as Executor
    from nbqueue.client.group import GroupResult as GroupResult
    from nbqueue.client.group import ResultSet as ResultSet
    from nbqueue.client.group import as_completed as as_completed
    from nbqueue.client.registry import current_task as current_task
    from nbqueue.client.result import AsyncResult as AsyncResult
    from nbqueue.client.task import Task as Task
    from nbqueue.schedules import crontab as crontab
    from nbqueue.utils import uuid as uuid
    from nbqueue.worker.progress import progress as progress

# Loaded on first use, so that `import nbqueue` costs nothing and a worker loads no client.
_HOMES = {
    "App": "nbqueue.client.app",
    "default_app": "nbqueue.client.app",
    "shared_task": "nbqueue.client.app",
    "current_app": "nbqueue.client.app",
    "current_task": "nbqueue.client.registry",
    "Task": "nbqueue.client.task",
    "AsyncResult": "nbqueue.client.result",
    "Executor": "nbqueue.client.executor",
    "GroupResult": "nbqueue.client.group",
    "ResultSet": "nbqueue.client.group",
    "as_completed": "nbqueue.client.group",
    **dict.fromkeys(
        (
            "Signature", "chain", "chord", "chunks", "group", "maybe_signature", "signature", "subtask",
            "xmap", "xstarmap",
        ),
        "nbqueue.client.canvas",
    ),
    "Cluster": "nbqueue.client.cluster",
    "attach": "nbqueue.client.cluster",
    "connect": "nbqueue.client.cluster",
    "start": "nbqueue.client.cluster",
    "stop": "nbqueue.client.cluster",
    "progress": "nbqueue.worker.progress",
    "uuid": "nbqueue.utils",
    "crontab": "nbqueue.schedules",
    **dict.fromkeys(
        (
            "AuthenticationError", "ChordError", "ConfigurationError", "ConnectionLostError", "Ignore",
            "IncompleteStream", "MaxRetriesExceededError", "NBQueueError", "NotRegistered", "ProtocolError",
            "Reject", "RemoteError", "ResultBackendError", "ResultsDisabledError",
            "ResultNotFoundError", "Retry", "SerializationError", "SoftTimeLimitExceeded",
            "SubmissionRefused", "TaskRevokedError", "TimeLimitExceeded", "TimeoutError", "WorkerLostError",
        ),
        "nbqueue.exceptions",
    ),
}  # fmt: skip

__all__ = ["__version__", "load_ipython_extension", "task", "unload_ipython_extension", *sorted(_HOMES)]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'nbqueue' has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(home), name)
    return value


def __dir__() -> list[str]:
    return __all__


def task(function: Any = None, /, **options: Any) -> Any:
    """Make a task of a function, on the default application: see ``App.task``."""
    app: App = __getattr__("default_app")()
    return app.task(function, **options)


def load_ipython_extension(shell: Any) -> None:
    """``%load_ext nbqueue``: the door to everything that lives inside a kernel."""
    importlib.import_module("kernels_ext").load(shell)


def unload_ipython_extension(shell: Any) -> None:
    """``%unload_ext nbqueue``."""
    importlib.import_module("kernels_ext").unload(shell)
