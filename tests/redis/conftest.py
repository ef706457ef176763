"""One redis-server for all tests here; each test has an application of its own in it."""

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from nbqueue import App
from tests.redis.server import RedisServer

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    made = RedisServer(tmp_path_factory.mktemp("redis"))
    yield made
    made.stop()


@pytest.fixture
def url(server: RedisServer) -> str:
    return f"{server.url}?app=test{next(_numbers)}"


@pytest.fixture
def keys(url: str) -> Iterator["Keys"]:
    made = Keys(url)
    yield made
    made.redis.close()


@pytest.fixture
def app(url: str) -> Iterator[App]:
    application = App(broker=url)
    yield application
    application.close()


class Keys:
    """What an application has in Redis, looked at from outside."""

    def __init__(self, url: str) -> None:
        self.redis: Any = redis.Redis.from_url(url.partition("?")[0])
        self.prefix = f"nbq:{{{url.partition('app=')[2]}}}:"

    def __call__(self, name: str) -> str:
        return self.prefix + name

    def all(self) -> set[str]:
        """The names of all its keys."""
        found = self.redis.keys(self.prefix.replace("{", "\\{") + "*")
        return {key.decode().removeprefix(self.prefix) for key in found}
