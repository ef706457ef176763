"""One suite for every transport: a cluster of two executors behind each."""

from collections.abc import Iterator

import pytest

from nbqueue import App
from nbqueue.launch import local, teardown, workers
from nbqueue.settings import Settings
from nbqueue.testing import InProcessCluster
from tests.redis.server import RedisServer
from tests.redis.worker import Worker


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a Redis, which keeps values for any broker."""
    server = RedisServer(tmp_path_factory.mktemp("values"))
    yield server.url
    server.stop()


@pytest.fixture(scope="session", params=["memory", "zmq", "redis"])
def broker_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a broker with two executors."""
    if request.param == "memory":
        with InProcessCluster(executors=2) as cluster:
            yield cluster.url
    elif request.param == "redis":
        server = RedisServer(tmp_path_factory.mktemp("redis"))
        worker = Worker(server.url, "-c", "2", env={"NBQUEUE_CANCEL_GRACE": "0.5"})
        yield server.url
        worker.stop()
        server.stop()
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
