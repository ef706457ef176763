"""What strangers may do to the port; the broker stays up and the others notice nothing."""

import contextlib
import os
import random
import socket
from pathlib import Path

import pytest
import zmq

from nbqueue.broker.daemon import Broker
from nbqueue.exceptions import AuthenticationError, ProtocolError
from nbqueue.messages import Ping, Pong
from nbqueue.transports.zmq import ZmqLink
from nbqueue.wire import codec
from tests.broker.running import answers, broker_process, linked, over_tcp, receive_one, receive_trouble

GREETING = b"\xff\0\0\0\0\0\0\0\x01\x7f\x03\x00CURVE" + bytes(15) + b"\0" + bytes(31)


def call(broker: Broker) -> socket.socket:
    return socket.create_connection(("127.0.0.1", broker.connection.port), timeout=10)


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + bytes(500),
        b"SSH-2.0-OpenSSH_9.2p1\r\n",
        GREETING[:10],
        GREETING,
        GREETING + b"\x04\xc8\x05HELLO" + bytes(194),
        GREETING + b"\x06" + b"\xff" * 8,
        GREETING.replace(b"CURVE", b"NULL\0") + b"\x04\x1a\x05READY\x0bSocket-Type\0\0\0\x06DEALER",
        b"\xff" * 100_000,
    ],
    ids=["nothing", "line", "http", "tls", "ssh", "half", "greeting", "hello", "length", "null", "ones"],
)
def test_garbage_on_the_port_harms_nobody(broker: Broker, said: bytes) -> None:
    with linked(over_tcp(broker.connection), id="bystander") as bystander:
        with call(broker) as stranger, contextlib.suppress(OSError):
            stranger.sendall(said)
            stranger.shutdown(socket.SHUT_WR)
            stranger.recv(1000)
        bystander.send([Ping()])
        receive_one(bystander, Pong)
    assert answers(over_tcp(broker.connection))


def test_random_bytes_on_the_port_harm_nobody(broker: Broker) -> None:
    seed = random.randrange(2**32)
    print(f"{seed=}")
    dice = random.Random(seed)
    for _ in range(200):
        with call(broker) as stranger, contextlib.suppress(OSError):
            if dice.random() < 0.5:
                stranger.sendall(GREETING)
            stranger.sendall(dice.randbytes(dice.randrange(300)))
    assert answers(over_tcp(broker.connection))


def test_ten_thousand_connections_opened_and_closed_harm_nobody(tmp_path: Path) -> None:
    with broker_process(tmp_path) as (process, connection):
        for _ in range(10_000):
            socket.create_connection(("127.0.0.1", connection.port), timeout=10).close()
        assert answers(over_tcp(connection))
        assert process.poll() is None
        assert len(os.listdir(f"/proc/{process.pid}/fd")) < 1000


def test_without_the_key_nothing_is_let_in(broker: Broker) -> None:
    public, secret = zmq.curve_keypair()
    with zmq.Context() as context, context.socket(zmq.DEALER) as thief:
        thief.linger = 0
        thief.curve_serverkey = broker.connection.server_public.encode()
        thief.curve_publickey, thief.curve_secretkey = public, secret
        thief.connect(f"tcp://127.0.0.1:{broker.connection.port}")
        thief.send(codec.encode([Ping()])[0])
        assert not thief.poll(300)
    assert answers(over_tcp(broker.connection))


def test_without_encryption_nothing_is_let_in(broker: Broker) -> None:
    with zmq.Context() as context, context.socket(zmq.DEALER) as thief:
        thief.linger = 0
        thief.connect(f"tcp://127.0.0.1:{broker.connection.port}")
        thief.send(codec.encode([Ping()])[0])
        assert not thief.poll(300)


def test_wrong_keys_are_logged_once(broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    import msgspec

    stranger = msgspec.structs.replace(
        over_tcp(broker.connection), client_secret=zmq.curve_keypair()[1].decode()
    )
    for _ in range(3):
        link = ZmqLink(stranger)
        receive_trouble(link, AuthenticationError)
        link.close()
    assert caplog.text.count("refused a peer with a wrong key from 127.0.0.1") == 1


@pytest.mark.parametrize(
    "frame",
    [b"", b"garbage", b"NBQ\x01", b"NBQ\x01\x93garbage", b"NBQ\x02\x90", b"NBQ\x01\x91\x93\xcc\xff\1\1"],
)
def test_garbage_from_an_admitted_peer_is_answered_by_one_refusal(broker: Broker, frame: bytes) -> None:
    with linked(broker.connection) as link:
        dealer = link._dealer
        for _ in range(3):
            dealer.send(frame)
        assert "install the same version" in str(receive_trouble(link, ProtocolError))
        assert link.receive(0.05) == []
        link.send([Ping()])
        receive_one(link, Pong)
        assert link.trouble is None


def test_frames_of_several_parts_are_read_as_one_batch_or_refused(broker: Broker) -> None:
    with linked(broker.connection) as link:
        dealer = link._dealer
        dealer.send_multipart([codec.encode([Ping()])[0], codec.encode([Ping()])[0]])
        receive_one(link, Pong)
        dealer.send_multipart([b"", codec.encode([Ping()])[0], b"x" * 1000])
        receive_trouble(link, ProtocolError)
