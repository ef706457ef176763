"""One suite for every transport: a cluster of two executors behind each."""

from collections.abc import Iterator

import pytest

from nbqueue import App
from nbqueue.launch import local, teardown, workers
from nbqueue.settings import Settings
from nbqueue.testing import InProcessCluster


@pytest.fixture(scope="session", params=["memory", "zmq"])
def broker_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a broker with two executors."""
    if request.param == "memory":
        with InProcessCluster(executors=2) as cluster:
            yield cluster.url
    else:
        settings = Settings(workers=2, cancel_grace=0.5)
        connection = local.ensure(settings)
        workers.wait_ready(connection, timeout=20.0)
        yield connection.url
        teardown.stop()


@pytest.fixture(scope="session")
def app(broker_url: str) -> Iterator[App]:
    application = App(broker=broker_url)
    yield application
    application.close()
