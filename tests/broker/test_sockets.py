"""Where a broker listens, and why it cannot."""

import socket
from pathlib import Path

import pytest

from nbqueue.broker.errors import AddressUnavailable
from nbqueue.broker.sockets import Bind, parse_bind
from nbqueue.exceptions import ConfigurationError
from nbqueue.wire.keys import DEFAULT_PORT
from tests.broker.running import answers, broker_in_thread


@pytest.mark.parametrize(
    ("text", "bind"),
    [
        ("", Bind("127.0.0.1", 0)),
        ("0.0.0.0", Bind("0.0.0.0", DEFAULT_PORT)),
        ("*:7000", Bind("0.0.0.0", 7000)),
        (":7000", Bind("127.0.0.1", 7000)),
        ("host.example:0", Bind("host.example", 0)),
        ("[::1]:7000", Bind("::1", 7000)),
    ],
)
def test_addresses_to_listen_on(text: str, bind: Bind) -> None:
    assert parse_bind(text) == bind


@pytest.mark.parametrize("text", ["::1", "a:b", "host:70000", "tcp://x:1", "a b:1", "[::1"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="HOST:PORT is expected"):
        parse_bind(text)


def test_a_port_in_use_is_named_with_its_owner_and_what_to_do(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with (
            pytest.raises(
                AddressUnavailable, match=rf"port {port} is taken by .*; choose another with --bind"
            ),
            broker_in_thread(tmp_path, f"127.0.0.1:{port}"),
        ):
            pass
    with broker_in_thread(tmp_path, f"127.0.0.1:{port}") as broker:
        assert answers(broker.connection)


@pytest.mark.parametrize("bind", ["192.0.2.1:0", "no.such.host.invalid:0"])
def test_an_address_of_another_machine_is_refused(tmp_path: Path, bind: str) -> None:
    with (
        pytest.raises(AddressUnavailable, match="choose another with --bind"),
        broker_in_thread(tmp_path, bind),
    ):
        pass


def test_a_name_can_be_listened_on(tmp_path: Path) -> None:
    with broker_in_thread(tmp_path, "localhost:0") as broker:
        assert answers(broker.connection)


def test_too_long_a_path_leaves_tcp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NBQUEUE_RUNTIME_DIR", str(tmp_path / ("x" * 120)))
    with broker_in_thread(tmp_path) as broker:
        assert broker.connection.ipc == ""
        assert answers(broker.connection)


def test_a_socket_file_that_was_left_over_is_replaced(tmp_path: Path) -> None:
    with broker_in_thread(tmp_path) as broker:
        path, port = broker.connection.ipc, broker.connection.port
    left = socket.socket(socket.AF_UNIX)
    Path(path).unlink(missing_ok=True)
    left.bind(path)
    left.close()
    with broker_in_thread(tmp_path, f"127.0.0.1:{port}") as broker:
        assert broker.connection.ipc == path
        assert answers(broker.connection)


def test_a_socket_on_which_another_broker_listens_is_left_to_it(tmp_path: Path) -> None:
    with broker_in_thread(tmp_path / "a") as first, socket.socket() as probe:
        probe.bind(("127.0.0.2", 0))
        bind = f"127.0.0.2:{first.connection.port}"
        with broker_in_thread(tmp_path / "b", bind) as second:
            assert second.connection.ipc == ""
        assert answers(first.connection)
