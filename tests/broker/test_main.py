"""The process: how it starts, what it says, and with which code it ends."""

import json
import os
import resource
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from nbqueue.broker.options import BrokerOptions, read_options
from nbqueue.core.broker import BrokerSettings
from nbqueue.exceptions import ConfigurationError
from nbqueue.wire import keys
from tests.broker.running import broker_process, start_broker


def finish(process: "subprocess.Popen[bytes]") -> tuple[int, str]:
    assert process.stderr is not None
    with process.stderr as stderr:
        said = stderr.read().decode()
    return process.wait(20), said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_good_order(tmp_path: Path, number: signal.Signals) -> None:
    with broker_process(tmp_path) as (process, connection):
        process.send_signal(number)
        assert process.wait(20) == 0
        assert process.stderr is not None
        said = process.stderr.read().decode()
    assert f"ready at {connection.url}" in said
    assert f"ends: told to by {number.name}" in said
    assert keys.running(tmp_path) is None
    assert not (tmp_path / "broker.json").exists()
    assert not (keys.brokers_dir() / f"{connection.port}.json").exists()
    assert not Path(connection.ipc).exists()


def test_after_a_violent_end_the_folder_is_free_and_the_boot_number_goes_on(tmp_path: Path) -> None:
    with broker_process(tmp_path) as (process, _):
        process.kill()
        process.wait()
        assert keys.running(tmp_path) is None
    with broker_process(tmp_path):
        assert (tmp_path / "boot").read_text() == "2\n"


def test_one_that_breaks_down_counts_as_dead_and_not_as_stopped(tmp_path: Path) -> None:
    with broker_process(tmp_path, module="tests.broker.crashing") as (process, connection):
        process.send_signal(signal.SIGUSR1)
        assert process.wait(20) == 1
        assert process.stderr is not None
        assert "a bug in the loop" in process.stderr.read().decode()
        assert keys.left_over(tmp_path) == connection
    with broker_process(tmp_path) as (_, second):
        assert (second.port, second.ipc) == (connection.port, connection.ipc)


def test_it_listens_where_it_did_the_last_time(tmp_path: Path) -> None:
    with broker_process(tmp_path) as (process, first):
        process.kill()
        process.wait()
        assert keys.left_over(tmp_path) == first
    with broker_process(tmp_path) as (_, second):
        assert (second.port, second.ipc) == (first.port, first.ipc)
        assert keys.left_over(tmp_path) is None


def test_it_listens_elsewhere_when_its_last_port_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        (tmp_path / "port").write_text(f"{port}\n")
        with broker_process(tmp_path) as (_, connection):
            assert connection.port != port
            assert (tmp_path / "port").read_text() == f"{connection.port}\n"


@pytest.mark.parametrize("text", ["", "x", "0", "-1", "65536"])
def test_a_last_port_that_cannot_be_read_does_not_matter(tmp_path: Path, text: str) -> None:
    (tmp_path / "port").write_text(text)
    with broker_process(tmp_path) as (_, connection):
        assert connection.port


def test_files_are_for_us_only(tmp_path: Path) -> None:
    with broker_process(tmp_path) as (_, connection):
        for path in (
            tmp_path / "broker.json",
            tmp_path / "keys.json",
            keys.brokers_dir() / f"{connection.port}.json",
        ):
            assert path.stat().st_mode & 0o777 == 0o600


def test_no_secret_is_in_argv_or_environment(tmp_path: Path) -> None:
    with broker_process(tmp_path) as (process, connection):
        secret = connection.client_secret.encode()
        assert secret not in Path(f"/proc/{process.pid}/cmdline").read_bytes()
        assert secret not in Path(f"/proc/{process.pid}/environ").read_bytes()


def test_a_second_one_on_the_same_folder_ends_with_73_and_names_the_first(tmp_path: Path) -> None:
    with broker_process(tmp_path) as (process, connection):
        code, said = finish(start_broker(tmp_path))
        assert code == 73
        assert f"pid {process.pid}" in said
        assert keys.running(tmp_path) == connection


def test_a_port_in_use_ends_with_69(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        code, said = finish(start_broker(tmp_path, f"127.0.0.1:{port}"))
    assert code == 69
    assert f"port {port} is taken by" in said
    assert f"(pid {os.getpid()})" in said
    assert "Traceback" not in said


def test_a_file_that_cannot_be_written_ends_with_74_and_is_not_half_there(tmp_path: Path) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    process = start_broker(tmp_path, before=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20, hard)))
    code, said = finish(process)
    assert code == 74
    assert "keys.json cannot be written: File too large" in said
    assert "Traceback" not in said
    assert sorted(os.listdir(tmp_path)) == ["boot", "broker.lock", "keys.lock"]


def test_options_that_make_no_sense_end_with_78(tmp_path: Path) -> None:
    code, said = finish(start_broker(tmp_path, "no address at all"))
    assert code == 78
    assert "HOST:PORT is expected" in said


def test_options_are_read_as_json() -> None:
    line = json.dumps({"bind": "127.0.0.1:7000", "settings": {"idle_timeout": 5}}).encode()
    assert read_options(line) == BrokerOptions(
        bind="127.0.0.1:7000", settings=BrokerSettings(idle_timeout=5.0)
    )
    assert read_options(b"") == BrokerOptions()


@pytest.mark.parametrize(
    "line",
    [
        b"{",
        b"[]",
        b'{"bind": 3}',
        b'{"bnd": ""}',
        b'{"settings": {"heart": 1}}',
        b'{"settings": {"worker_lease": 1}}',
    ],
)
def test_options_that_are_none_are_refused(line: bytes) -> None:
    with pytest.raises(ConfigurationError, match="options of the broker"):
        read_options(line)
