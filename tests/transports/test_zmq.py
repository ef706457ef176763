"""Links to a daemon: what they carry, and what they say when they cannot."""

import contextlib
import os
import re
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
import zmq

from nbqueue.broker.daemon import Broker
from nbqueue.exceptions import AuthenticationError, ConnectionLostError, ProtocolError
from nbqueue.messages import (
    CLIENT,
    AnyMessage,
    Define,
    Hello,
    Ping,
    Pong,
    Submit,
    Task,
    Unknown,
    Welcome,
)
from nbqueue.transports import zmq as transport
from nbqueue.transports.base import Link
from nbqueue.transports.zmq import ZmqLink, ZmqTransport
from nbqueue.wire import codec, keyring
from nbqueue.wire.keys import Connection
from tests.broker.running import (
    broker_in_thread,
    broker_process,
    linked,
    over_tcp,
    receive_one,
    receive_trouble,
)


@contextlib.contextmanager
def connected(connection: Connection) -> Iterator[ZmqLink]:
    link = ZmqLink(connection)
    try:
        yield link
    finally:
        link.close()


def stranger(port: int) -> Connection:
    """A connection to something on this machine that is not a broker of ours."""
    public, secret = (key.decode() for key in zmq.curve_keypair())
    return Connection(host="127.0.0.1", port=port, server_public=public, client_secret=secret)


@contextlib.contextmanager
def tcp_server(greet: Callable[[socket.socket], None]) -> Iterator[int]:
    """Something on a TCP port that treats each caller by ``greet``."""
    callers: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    callers.append(server.accept()[0])
                    with contextlib.suppress(OSError):
                        greet(callers[-1])

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
    for caller in callers:
        caller.close()


# ── carrying ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("way", ["ipc", "tcp"])
def test_messages_go_there_and_back_in_order(broker: Broker, way: str) -> None:
    connection = broker.connection if way == "ipc" else over_tcp(broker.connection)
    with linked(connection) as link:
        assert isinstance(link, ZmqLink)
        assert link._endpoint.startswith(f"{way}:")
        link.send([Ping(), Ping()])
        link.send([Submit([Task("a", "f", "", b""), Task("b", "f", "", b"")])])
        said: list[AnyMessage] = []
        while len(said) < 3:
            said += link.receive(5.0)
        assert [type(message).__name__ for message in said] == ["Pong", "Pong", "Accepted"]
        assert link.trouble is None


def test_a_message_of_many_megabytes_arrives_whole(broker: Broker) -> None:
    with linked(over_tcp(broker.connection)) as link:
        blob = os.urandom(20 * 2**20)
        link.send([Define("key", blob), Ping()])
        receive_one(link, Pong)
        assert broker._core.tasks.blobs.get("key") == blob


def test_the_key_is_found_by_address(broker: Broker) -> None:
    with contextlib.closing(ZmqTransport(broker.connection.url).connect()) as link:
        link.send([Hello(CLIENT, "me")])
        assert receive_one(link, Welcome).pid == os.getpid()


def test_an_address_without_a_key_is_an_error_at_once() -> None:
    with pytest.raises(AuthenticationError, match="nbqueue key"):
        ZmqTransport("zmq://192.0.2.1:7001").connect()


def test_ipv6_works_too(tmp_path: Path) -> None:
    with broker_in_thread(tmp_path, "[::1]:0") as broker, linked(over_tcp(broker.connection)) as link:
        assert link._endpoint.startswith("tcp://[::1]:")


# ── waiting ──────────────────────────────────────────────────────────────────────────────────────


def test_waiting_ends_when_the_time_is_over(broker: Broker) -> None:
    with linked(broker.connection) as link:
        began = time.monotonic()
        assert link.receive(0.05) == []
        assert 0.05 <= time.monotonic() - began < 5.0
        assert link.receive(0) == []


def test_another_thread_ends_the_wait(broker: Broker) -> None:
    with linked(broker.connection) as link:
        timer = threading.Timer(0.05, link.wake)
        timer.start()
        assert link.receive(None) == []
        timer.join()


def test_a_call_before_the_wait_ends_the_next_one_only(broker: Broker) -> None:
    with linked(broker.connection) as link:
        link.wake()
        assert link.receive(None) == []
        began = time.monotonic()
        assert link.receive(0.05) == []
        assert time.monotonic() - began >= 0.05


# ── reconnecting ─────────────────────────────────────────────────────────────────────────────────


def test_a_link_may_be_there_before_its_broker(tmp_path: Path) -> None:
    with broker_in_thread(tmp_path) as broker:
        connection = over_tcp(broker.connection)
    with connected(connection) as link:
        link.send([Hello(CLIENT, "early")])
        receive_trouble(link, ConnectionLostError)
        with broker_in_thread(tmp_path, f"127.0.0.1:{connection.port}"):
            receive_one(link, Welcome)
            assert link.trouble is None


@pytest.mark.parametrize("way", ["ipc", "tcp"])
def test_a_broker_that_comes_back_does_not_know_the_link_and_gets_nothing_old(
    tmp_path: Path, way: str
) -> None:
    with broker_in_thread(tmp_path) as broker:
        connection = broker.connection if way == "ipc" else over_tcp(broker.connection)
        link = ZmqLink(connection)
        link.send([Hello(CLIENT, "me")])
        receive_one(link, Welcome)
    with contextlib.closing(link):
        receive_trouble(link, ConnectionLostError)
        with broker_in_thread(tmp_path, f"127.0.0.1:{connection.port}"):
            link.send([Ping()])
            receive_one(link, Unknown)
            link.send([Hello(CLIENT, "me")])
            assert receive_one(link, Welcome).boot == 2


# ── a broker that does not read ──────────────────────────────────────────────────────────────────


def _fill(link: Link, frames: int) -> None:
    for n in range(frames):
        link.send([Define(str(n), bytes(codec.FRAME_BYTES // 2))])


@pytest.mark.parametrize("way", ["ipc", "tcp"])
def test_a_broker_that_comes_back_elsewhere_is_found_by_its_folder(tmp_path: Path, way: str) -> None:
    with contextlib.ExitStack() as stack:
        with broker_process(tmp_path) as (_, first):
            known = first if way == "ipc" else over_tcp(first)
            link = stack.enter_context(connected(known))
            link.send([Hello(CLIENT, "me")])
            receive_one(link, Welcome)
        (tmp_path / "port").unlink()
        _, second = stack.enter_context(broker_process(tmp_path))
        assert second.port != first.port
        receive_one_after_hello(link)
        assert link._endpoint.startswith(f"{way}:")
        assert link.trouble is None


def receive_one_after_hello(link: Link) -> None:
    """Say hello until somebody answers."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        link.send([Hello(CLIENT, "me")])
        if any(isinstance(message, Welcome) for message in link.receive(0.2)):
            return
    raise AssertionError(link.trouble)


def test_sending_to_a_broker_that_does_not_read_keeps_and_then_delivers_in_order(
    tmp_path: Path,
) -> None:
    with broker_process(tmp_path) as (process, connection), linked(over_tcp(connection)) as link:
        process.send_signal(signal.SIGSTOP)
        _fill(link, 100)
        assert link._kept
        link.send([Ping()])
        process.send_signal(signal.SIGCONT)
        receive_one(link, Pong)
        assert not link._kept


def test_what_was_kept_for_a_connection_ends_with_it(tmp_path: Path) -> None:
    with broker_process(tmp_path) as (process, connection), linked(over_tcp(connection)) as link:
        process.send_signal(signal.SIGSTOP)
        _fill(link, 100)
        assert link._kept
        process.kill()
        receive_trouble(link, ConnectionLostError)
        assert not link._kept


def test_past_the_bound_the_connection_is_given_up_and_all_is_to_be_said_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "_KEPT_BYTES", 8 * 2**20)
    monkeypatch.setattr(transport, "_STALL", 50)
    with broker_process(tmp_path) as (process, connection), linked(over_tcp(connection)) as link:
        process.send_signal(signal.SIGSTOP)
        _fill(link, 120)
        assert link._kept_bytes <= 8 * 2**20
        process.send_signal(signal.SIGCONT)
        receive_one(link, Unknown)


def test_before_the_first_connection_the_bound_holds_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "_KEPT_BYTES", 4 * 2**20)
    with connected(stranger(1)) as link:
        began = time.monotonic()
        _fill(link, 50)
        assert link._kept_bytes <= 4 * 2**20
        assert time.monotonic() - began < 5.0


# ── trouble ──────────────────────────────────────────────────────────────────────────────────────


def test_nobody_there() -> None:
    with connected(stranger(1)) as link:
        assert "nobody listens at zmq://127.0.0.1:1" in str(receive_trouble(link, ConnectionLostError))


def test_a_name_that_does_not_exist() -> None:
    with connected(msgspec.structs.replace(stranger(7001), host="no.such.host.invalid")) as link:
        assert "no address" in str(receive_trouble(link, ConnectionLostError))


def test_a_broker_of_another_key(broker: Broker) -> None:
    other = zmq.curve_keypair()[0].decode()
    with connected(msgspec.structs.replace(over_tcp(broker.connection), server_public=other)) as link:
        assert "nbqueue key" in str(receive_trouble(link, AuthenticationError))


def test_a_key_that_the_broker_does_not_know(broker: Broker) -> None:
    other = zmq.curve_keypair()[1].decode()
    with connected(msgspec.structs.replace(over_tcp(broker.connection), client_secret=other)) as link:
        assert "refused the key" in str(receive_trouble(link, AuthenticationError))


def test_a_refused_key_is_tried_again_as_zmq_itself_would_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "_REDIAL", 0.05)
    with broker_in_thread(tmp_path / "first") as broker:
        connection = over_tcp(broker.connection)
    (tmp_path / "other").mkdir()
    shutil.copy(keyring.path(tmp_path / "first"), tmp_path / "other")
    keyring.rotate(tmp_path / "other")
    bind = f"127.0.0.1:{connection.port}"
    with broker_in_thread(tmp_path / "other", bind):
        link = ZmqLink(connection)
        receive_trouble(link, AuthenticationError)
    with contextlib.closing(link), broker_in_thread(tmp_path / "first", bind):
        link.send([Hello(CLIENT, "me")])
        receive_one(link, Welcome)


def test_a_server_that_speaks_first_is_not_ours() -> None:
    with (
        tcp_server(lambda caller: caller.sendall(b"SSH-2.0-OpenSSH_9.2p1\r\n")) as port,
        connected(stranger(port)) as link,
    ):
        assert "not an nbqueue broker" in str(receive_trouble(link, ProtocolError))


def test_a_server_that_answers_in_http_is_not_ours() -> None:
    def answer(caller: socket.socket) -> None:
        caller.recv(100)
        caller.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

    with tcp_server(answer) as port, connected(stranger(port)) as link:
        assert "not an nbqueue broker" in str(receive_trouble(link, ProtocolError))


def test_a_server_that_says_nothing_is_noticed_within_seconds() -> None:
    with tcp_server(lambda caller: None) as port, connected(stranger(port)) as link:
        began = time.monotonic()
        assert "does not answer" in str(receive_trouble(link, ConnectionLostError))
        assert time.monotonic() - began < 10.0


def test_zmq_without_encryption_is_not_ours() -> None:
    with zmq.Context() as context, context.socket(zmq.ROUTER) as router:
        port = router.bind_to_random_port("tcp://127.0.0.1")
        with connected(stranger(port)) as link:
            # which of the two it is depends on who notices first that they do not match
            trouble = receive_trouble(link, (ProtocolError, AuthenticationError))
            assert re.search("not? (an )?nbqueue broker", str(trouble))


def test_a_refusal_is_read_out(broker: Broker) -> None:
    with linked(over_tcp(broker.connection)) as link:
        link._dealer.send(b"NBQ\x63future")
        assert "install the same version" in str(receive_trouble(link, ProtocolError))


# ── ends ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_closed_link_says_so(broker: Broker) -> None:
    with linked(broker.connection) as link:
        link.close()
        link.close()
        link.wake()
        with pytest.raises(ConnectionLostError, match="closed"):
            link.send([Ping()])
        with pytest.raises(ConnectionLostError, match="closed"):
            link.receive(0)


def test_last_words_arrive(broker: Broker) -> None:
    with linked(over_tcp(broker.connection)) as link:
        link.send([Define("last", b"words")])
    with linked(broker.connection, id="other") as link:
        while "last" not in broker._core.tasks.blobs:
            link.send([Ping()])
            receive_one(link, Pong)


def test_closing_does_not_hang_on_a_broker_that_does_not_read(tmp_path: Path) -> None:
    with broker_process(tmp_path) as (process, connection), linked(over_tcp(connection)) as link:
        process.send_signal(signal.SIGSTOP)
        _fill(link, 100)
        began = time.monotonic()
        link.close()
        assert time.monotonic() - began < 5.0


def test_a_link_is_not_used_by_a_forked_child(broker: Broker) -> None:
    with linked(over_tcp(broker.connection)) as link:
        pid = os.fork()
        if pid == 0:
            code = 1
            with contextlib.suppress(BaseException):
                try:
                    link.send([Ping()])
                except ConnectionLostError:
                    link.close()
                    with linked(over_tcp(broker.connection), id="child") as own:
                        own.send([Ping()])
                        receive_one(own, Pong)
                        code = 0
            os._exit(code)
        assert os.waitpid(pid, 0)[1] == 0
        link.send([Ping()])
        receive_one(link, Pong)


def test_what_is_kept_leaves_while_messages_keep_coming(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    with connected(broker.connection) as link:
        link.send([Hello(CLIENT, "c")])
        assert isinstance(receive_one(link, Welcome), Welcome)
        link._keep(codec.encode([Ping()])[0])
        with monkeypatch.context() as patch:
            patch.setattr(link, "_drain", lambda: [Pong(0)])  # as if they came without a pause
            link.receive(0)
        assert isinstance(receive_one(link, Pong), Pong)
