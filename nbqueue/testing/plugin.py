"""Fixtures for pytest, there as soon as nbqueue is installed.

::

    nbqueue_settings ─┐
    nbqueue_broker ───┴─▶ nbqueue_app ─▶ nbqueue_worker ◀─ nbqueue_worker_parameters

The broker and the worker live in the test's process: nothing is started, nothing is left behind, and a
debugger stops in tasks.  Override ``nbqueue_app`` to test an application of your own.
"""

import itertools
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from nbqueue.client.app import App
    from nbqueue.testing.cluster import InProcessCluster

_numbers = itertools.count(1)
#: which would win over what a fixture says
_VARIABLES = ("NBQUEUE_BROKER", "CELERY_BROKER_URL", "NBQUEUE_BACKEND", "CELERY_RESULT_BACKEND")


@pytest.fixture
def nbqueue_broker(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of a broker in this process, one for each test; what the environment names does not count."""
    from nbqueue.transports import memory

    for name in _VARIABLES:
        monkeypatch.delenv(name, raising=False)
    url = f"memory://test-{os.getpid()}-{next(_numbers)}"
    yield url
    memory.broker(url).stop()


@pytest.fixture
def nbqueue_settings() -> dict[str, Any]:
    """Settings of ``nbqueue_app``: override it to return yours."""
    return {}


@pytest.fixture
def nbqueue_app(nbqueue_broker: str, nbqueue_settings: dict[str, Any]) -> Iterator["App"]:
    """An application whose tasks go to ``nbqueue_broker``; those of ``@shared_task`` and ``@nbqueue.task``
    go there, too."""
    from nbqueue.client.app import App, default_app
    from nbqueue.client.registry import keep_current

    with keep_current():
        default = default_app()
        before = default.conf.broker
        app = App("tests", broker=nbqueue_broker, **nbqueue_settings)
        default.conf.broker = nbqueue_broker
        yield app
        app.close()
        default.conf.broker = before or None


@pytest.fixture
def nbqueue_worker_parameters() -> dict[str, Any]:
    """What the worker is made with: override it to return ``{"executors": 2, "queues": ["gpu"]}``."""
    return {}


@pytest.fixture
def nbqueue_worker(
    nbqueue_app: "App", nbqueue_worker_parameters: dict[str, Any]
) -> Iterator["InProcessCluster"]:
    """A worker that runs the tasks of ``nbqueue_app`` in threads of this process, from all queues that its
    tasks and settings name."""
    from nbqueue.client.app import default_app
    from nbqueue.testing.cluster import InProcessCluster

    parameters = {
        "url": nbqueue_app.conf.broker,
        "tasks": [nbqueue_app, default_app()],
        "queues": tuple(_queues(nbqueue_app)),
        **nbqueue_worker_parameters,
    }
    nbqueue_app.import_default_modules()
    with InProcessCluster(**parameters) as worker:
        yield worker


def _queues(app: "App") -> list[str]:
    conf = app.conf
    said = [conf.task_default_queue, *(conf.task_queues or ())]
    said += [task.queue for task in app.tasks.values() if task.queue]
    routes = conf.task_routes if isinstance(conf.task_routes, dict) else {}
    said += [route if isinstance(route, str) else route.get("queue") for route in routes.values()]
    return list(dict.fromkeys(name for name in said if name))
