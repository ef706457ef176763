import socket
import threading
import time

import msgspec
import pytest
import zmq

from nbqueue.exceptions import AuthenticationError, ConnectionLostError, NBQueueError, ProtocolError
from nbqueue.launch import local
from nbqueue.launch.ask import ask
from nbqueue.settings import Settings
from nbqueue.wire import keys
from nbqueue.wire.keys import Connection


@pytest.fixture
def broker(folders):
    return local.ensure_broker(Settings())


def stranger(port):
    """A connection to a port with a key that no broker has."""
    server, _ = zmq.curve_keypair()
    _, client = zmq.curve_keypair()
    return Connection(
        host="127.0.0.1", port=port, server_public=server.decode(), client_secret=client.decode()
    )


@pytest.fixture
def listener():
    """A listening socket whose connections are handed to a function in a thread."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def test_a_question_is_answered(broker):
    assert ask(broker.url, "status")["broker"]["pid"] == broker.pid


def test_a_question_that_the_broker_does_not_know_is_an_error(broker):
    with pytest.raises(NBQueueError, match="weather"):
        ask(broker.url, "weather")


def test_nobody_listening_is_noticed_within_a_second_or_so(folders, listener):
    port = listener.getsockname()[1]
    listener.close()
    keys.remember(stranger(port))
    started = time.monotonic()
    with pytest.raises(ConnectionLostError, match="nobody listens"):
        ask(f"zmq://127.0.0.1:{port}", "status")
    assert time.monotonic() - started < 2


def test_a_wrong_client_key_is_an_authentication_error(broker):
    wrong = msgspec.structs.replace(broker, ipc="", client_secret=stranger(1).client_secret)
    keys.remember(wrong)
    with pytest.raises(AuthenticationError, match="`nbqueue key`"):
        ask(broker.url, "status")


def test_a_wrong_broker_key_is_an_authentication_error(broker):
    wrong = msgspec.structs.replace(broker, ipc="", server_public=stranger(1).server_public)
    keys.remember(wrong)
    with pytest.raises(AuthenticationError, match="`nbqueue key`"):
        ask(broker.url, "status")


def test_something_else_on_the_port_is_an_error_within_seconds(folders, listener):
    def greet():
        connection, _ = listener.accept()
        connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")

    threading.Thread(target=greet, daemon=True).start()
    port = listener.getsockname()[1]
    keys.remember(stranger(port))
    with pytest.raises(ProtocolError, match="not an nbqueue broker"):
        ask(f"zmq://127.0.0.1:{port}", "status")


def test_no_key_is_an_authentication_error_at_once(folders):
    with pytest.raises(AuthenticationError, match="no key"):
        ask("zmq://192.0.2.1:5", "status")
