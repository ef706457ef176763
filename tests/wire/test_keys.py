"""Where the key for a broker's address is found, and what is said when it is not."""

import errno
import os
import socket
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
import zmq

from nbqueue import platform
from nbqueue.exceptions import AuthenticationError, ConfigurationError
from nbqueue.wire import keyring, keys
from nbqueue.wire.keys import Address, Connection


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NBQUEUE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("NBQUEUE_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.setattr(keys, "_remembered", {})
    for name in ("NBQUEUE_KEY", "NBQUEUE_KEY_FILE"):
        monkeypatch.delenv(name, raising=False)


def connection(port: int = 7001, **changes: object) -> Connection:
    """A connection to a broker that is this very process."""
    made = Connection(
        host="127.0.0.1",
        port=port,
        server_public=zmq.curve_keypair()[0].decode(),
        client_secret=zmq.curve_keypair()[1].decode(),
        hostname=socket.gethostname(),
        boot_id=platform.boot_id(),
        pid=os.getpid(),
        started=platform.process_started(os.getpid()),
    )
    return msgspec.structs.replace(made, **changes)


def announce(made: Connection) -> Path:
    path = keys.brokers_dir() / f"{made.port}.json"
    keys.write_connection(path, made)
    return path


def ended_process() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    return process.pid


# ── files ────────────────────────────────────────────────────────────────────────────────────────


def test_a_connection_file_comes_back_as_written_and_is_for_us_only(tmp_path: Path) -> None:
    made = connection()
    path = tmp_path / "broker.json"
    keys.write_connection(path, made)
    assert keys.read_connection(path) == made
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["broker.json"]


def test_a_connection_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "broker.json"
    keys.write_connection(path, connection())
    inode = path.stat().st_ino
    keys.write_connection(path, connection())
    assert path.stat().st_ino != inode


def test_a_full_disk_is_named_and_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "broker.json"
    keys.write_connection(path, before := connection())

    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"broker\.json cannot be written: No space left on device") as caught:
        keys.write_connection(path, connection())
    assert caught.value.errno == errno.ENOSPC
    assert os.listdir(tmp_path) == ["broker.json"]
    assert keys.read_connection(path) == before


def test_a_file_that_is_no_connection_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "broker.json").write_text("{")
    with pytest.raises(ConfigurationError, match=r"broker\.json is not a connection file"):
        keys.read_connection(tmp_path / "broker.json")


def test_secrets_do_not_show_in_representations(tmp_path: Path) -> None:
    made, ring = connection(), keyring.ensure(tmp_path)
    assert made.client_secret not in repr(made)
    assert ring.server_secret not in repr(ring)
    assert ring.default.secret not in f"{ring} {ring.keys}"


# ── folders ──────────────────────────────────────────────────────────────────────────────────────


def test_the_runtime_folder_is_made_for_us_only(tmp_path: Path) -> None:
    assert keys.runtime_dir() == tmp_path / "run"
    assert keys.runtime_dir().stat().st_mode & 0o777 == 0o700


def test_a_runtime_folder_that_others_can_enter_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run").chmod(0o755)
    with pytest.raises(ConfigurationError, match=r"open to other users.*NBQUEUE_RUNTIME_DIR"):
        keys.runtime_dir()


def test_a_runtime_folder_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / "run").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigurationError, match="not a folder"):
        keys.runtime_dir()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder away")
def test_a_runtime_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir(mode=0o700)
    os.chown(tmp_path / "run", 12345, -1)
    with pytest.raises(ConfigurationError, match="belongs to user 12345"):
        keys.runtime_dir()


def test_the_runtime_folder_is_in_xdg_runtime_dir_if_that_is_usable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NBQUEUE_RUNTIME_DIR")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert keys.runtime_dir() == tmp_path / "nbqueue"
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "gone"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert keys.runtime_dir() == tmp_path / f"nbqueue-{os.getuid()}"


def test_the_data_folder_is_the_hosts_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("NBQUEUE_DATA_DIR")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert keys.data_dir() == tmp_path / "nbqueue" / socket.gethostname()


# ── the key as text ──────────────────────────────────────────────────────────────────────────────


def test_a_key_comes_back_from_its_text() -> None:
    made = connection()
    found = keys.decode_key(keys.encode_key(made), Address("far", 7001))
    assert (found.server_public, found.client_secret) == (made.server_public, made.client_secret)
    assert found.url == "zmq://far:7001"


def test_a_key_is_one_word_that_shells_and_urls_leave_alone() -> None:
    assert all(character.isalnum() or character in "-_" for character in keys.encode_key(connection()))


def test_a_key_is_found_in_the_line_that_was_pasted() -> None:
    made = connection()
    line = f"NBQUEUE_KEY={keys.encode_key(made)} nbqueue worker --connect far:7001\n"
    assert keys.decode_key(line).client_secret == made.client_secret


@pytest.mark.parametrize(
    "damage", ["", "nbq1-", "password", "{key}x", "{key}xx", "{cut}", "{swapped}", "nbq1-{cut}é"]
)
def test_a_damaged_key_is_refused_with_what_to_do(damage: str) -> None:
    key = keys.encode_key(connection())
    text = damage.format(key=key, cut=key[:-1], swapped=key[:10] + key[10:][::-1])
    with pytest.raises(AuthenticationError, match=r"not a whole key.*nbqueue key"):
        keys.decode_key(text)


# ── addresses ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("zmq://", Address("", 0)),
        ("zmq://far", Address("far", keys.DEFAULT_PORT)),
        ("zmq://far.example:7001/", Address("far.example", 7001)),
        ("zmq://[::1]:7001", Address("::1", 7001)),
        ("zmq://[fe80::1%eth0]", Address("fe80::1%eth0", keys.DEFAULT_PORT)),
    ],
)
def test_addresses(url: str, address: Address) -> None:
    assert keys.parse_url(url) == address


@pytest.mark.parametrize(
    "url", ["far:7001", "zmq://far:99999", "zmq://far:0", "zmq://:7001", "zmq://a b", "zmq://[::1", ""]
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="no address of a broker"):
        keys.parse_url(url)


def test_the_url_of_an_ipv6_address_has_brackets() -> None:
    assert connection(host="::1").url == "zmq://[::1]:7001"


def test_a_broker_that_listens_everywhere_is_reached_here_by_loopback() -> None:
    assert connection(host="0.0.0.0").url == "zmq://127.0.0.1:7001"


# ── finding ──────────────────────────────────────────────────────────────────────────────────────


def test_the_connection_file_of_a_running_broker_is_found_by_port() -> None:
    announce(made := connection())
    assert keys.find("zmq://127.0.0.1:7001") == made
    assert keys.find("zmq://localhost:7001").server_public == made.server_public


def test_a_key_is_not_found_for_another_machine_by_port_alone() -> None:
    announce(connection())
    with pytest.raises(AuthenticationError, match=r"no key for zmq://192\.0\.2\.1:7001: run `nbqueue key`"):
        keys.find("zmq://192.0.2.1:7001")


def test_the_local_cluster_is_the_broker_of_the_data_folder() -> None:
    keys.write_connection(keys.data_dir() / "broker.json", made := connection())
    assert keys.find("zmq://") == made
    assert keys.find("zmq://127.0.0.1:7001") == made


def test_no_local_cluster_is_said() -> None:
    with pytest.raises(AuthenticationError, match="nbqueue start"):
        keys.find("zmq://")


def test_environment_comes_before_files_and_memory_before_both(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    in_file, in_key_file, in_environment, remembered = (connection() for _ in range(4))
    announce(in_file)
    key_file = tmp_path / "key"
    key_file.write_text(keys.encode_key(in_key_file))
    key_file.chmod(0o600)
    for source, expected in (
        (lambda: None, in_file),
        (lambda: monkeypatch.setenv("NBQUEUE_KEY_FILE", str(key_file)), in_key_file),
        (lambda: monkeypatch.setenv("NBQUEUE_KEY", keys.encode_key(in_environment)), in_environment),
        (lambda: keys.remember(remembered), remembered),
    ):
        source()
        assert keys.find("zmq://127.0.0.1:7001").client_secret == expected.client_secret


def test_a_bad_key_in_the_environment_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NBQUEUE_KEY", "nbq1-short")
    with pytest.raises(AuthenticationError, match="NBQUEUE_KEY: this is not a whole key"):
        keys.find("zmq://far:7001")


def test_a_key_file_may_be_a_connection_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys.write_connection(tmp_path / "copied.json", made := connection(hostname="far"))
    monkeypatch.setenv("NBQUEUE_KEY_FILE", str(tmp_path / "copied.json"))
    found = keys.find("zmq://far:9000")
    assert (found.url, found.client_secret) == ("zmq://far:9000", made.client_secret)


def test_a_key_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(keys.encode_key(connection()))
    path.chmod(0o644)
    with pytest.raises(AuthenticationError, match="chmod 600"):
        keys.read_key_file(path, Address("far", 7001))


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"nothing"])
def test_a_key_file_without_a_key_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(AuthenticationError, match=str(path)):
        keys.read_key_file(path, Address("far", 7001))


def test_the_file_of_a_broker_that_died_is_ignored_and_removed() -> None:
    path = announce(connection(pid=ended_process()))
    with pytest.raises(AuthenticationError, match="no broker of yours listens on port 7001 here"):
        keys.find("zmq://127.0.0.1:7001")
    assert list(keys.connections()) == []
    assert not path.exists()


def test_the_file_of_a_process_whose_number_was_used_again_is_removed() -> None:
    path = announce(connection(started=1.0))
    assert list(keys.connections()) == []
    assert not path.exists()


def test_the_file_of_another_machine_in_a_shared_home_is_ignored_and_kept() -> None:
    path = announce(connection(hostname="far", pid=ended_process()))
    assert list(keys.connections()) == []
    assert path.exists()


def test_a_file_of_an_earlier_boot_is_ignored() -> None:
    announce(connection(boot_id="another"))
    assert list(keys.connections()) == []


def test_a_zombie_counts_as_dead() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert not connection(pid=process.pid, started=0.0).is_alive
    process.wait()


def test_all_running_brokers_are_listed() -> None:
    for port in (7003, 7002):
        announce(connection(port))
    assert [found.port for found in keys.connections()] == [7002, 7003]
