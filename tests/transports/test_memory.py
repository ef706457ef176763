"""The broker inside of this process, and its links."""

import time
from collections.abc import Iterator

import pytest

from nbqueue.exceptions import ConnectionLostError, ProtocolError
from nbqueue.messages import CLIENT, AnyMessage, Hello, Ping, Pong, Welcome
from nbqueue.transports import memory
from nbqueue.transports.memory import MemoryBroker, MemoryLink


@pytest.fixture
def broker(request: pytest.FixtureRequest) -> Iterator[MemoryBroker]:
    broker = memory.broker(f"memory://{request.node.name}")
    yield broker
    broker.stop()


def received(link: MemoryLink) -> list[AnyMessage]:
    end = time.monotonic() + 5
    while time.monotonic() < end:
        if messages := link.receive(0.1):
            return messages
    raise AssertionError("nothing came")


def test_a_bad_frame_is_refused_and_harms_nobody_else(broker: MemoryBroker) -> None:
    bad, good = broker.connect(), broker.connect()
    broker.deliver(bad.number, [b"garbage"])
    end = time.monotonic() + 5
    while bad.trouble is None and time.monotonic() < end:
        bad.receive(0.1)
    assert isinstance(bad.trouble, ProtocolError)
    good.send([Hello(CLIENT, "c"), Ping()])
    assert [type(message) for message in received(good)] == [Welcome, Pong]


def test_a_broker_that_was_stopped_is_let_go_of(broker: MemoryBroker) -> None:
    link = broker.connect()
    broker.stop()
    assert broker.url not in memory._brokers
    link.send([Ping()])
    assert not broker._arrived
    link.receive(0)
    assert isinstance(link.trouble, ConnectionLostError)
    assert memory.broker(broker.url) is not broker
    memory.broker(broker.url).stop()
