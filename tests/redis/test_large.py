"""Large payloads: Redis hangs up on those who listen to channels and are sent more than 32 MB at once."""

import pytest

import nbqueue
from nbqueue import App
from nbqueue.client.client import Client
from nbqueue.transports import transport
from tests.redis.threads import executor

LIMIT = 30.0


def test_what_may_travel_does_and_more_is_refused(app: App, url: str) -> None:
    echo = app.task(lambda x: x, name="echo")
    with executor(url):
        assert len(echo.delay(b"x" * 20_000_000).get(LIMIT)) == 20_000_000
        with pytest.raises(nbqueue.SerializationError, match="at most 25,165,824"):
            echo.delay(b"x" * 30_000_000)
        make = app.task(lambda: b"x" * 30_000_000, name="make")
        with pytest.raises(nbqueue.SerializationError, match="25,165,824"):
            make.delay().get(LIMIT)


def test_many_values_that_are_large_together_are_read(app: App, url: str) -> None:
    make = app.task(lambda x: bytes([x]) * 1_000_000, name="make")
    with executor(url):
        results = [make.delay(x) for x in range(60)]
        assert [result.get(LIMIT)[:1] for result in results] == [bytes([x]) for x in range(60)]
    other = Client(transport(url), app.conf)
    records = [other.record(result.id) for result in results]
    other.look_up_all(records)
    assert all(record.outcome is not None for record in records)
    other.close()
