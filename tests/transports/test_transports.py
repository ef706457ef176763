"""Which transport a URL asks for."""

import subprocess
import sys

import pytest

from nbqueue.exceptions import ConfigurationError
from nbqueue.transports import transport
from nbqueue.transports.memory import MemoryTransport
from nbqueue.transports.redis import RedisTransport
from nbqueue.transports.zmq import ZmqTransport


def test_the_scheme_chooses() -> None:
    assert isinstance(transport("zmq://far:7001"), ZmqTransport)
    assert isinstance(transport("memory://"), MemoryTransport)
    assert isinstance(transport("redis://far:7001/2?app=x"), RedisTransport)


@pytest.mark.parametrize("url", ["amqp://localhost", "localhost:7001", "", "http://x"])
def test_a_scheme_that_is_not_there_is_an_error_that_names_those_that_are(url: str) -> None:
    with pytest.raises(
        ConfigurationError, match="there are: zmq://, redis://, rediss://, sentinel://, memory://"
    ):
        transport(url)


def test_an_address_that_cannot_be_is_refused_before_connecting() -> None:
    with pytest.raises(ConfigurationError, match="no address of a broker"):
        transport("zmq://far:port")


def test_the_memory_transport_does_not_load_zmq() -> None:
    code = "import sys, nbqueue.transports as t; t.transport('memory://'); print('zmq' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stdout == b"False\n"


class OwnTransport(MemoryTransport):
    """A user's own."""


def test_a_transport_of_ones_own_is_named_by_its_path():
    made = transport(f"{__name__}:OwnTransport://here")
    assert type(made).__name__ == "OwnTransport"
    assert made.url.endswith("://here")


@pytest.mark.parametrize("path", ["nbq_nowhere:Transport", f"{__name__}:Nothing", f"{__name__}:transport"])
def test_a_path_that_is_no_transport_is_told(path):
    with pytest.raises(ConfigurationError, match=r"cannot be loaded|no subclass"):
        transport(f"{path}://here")
