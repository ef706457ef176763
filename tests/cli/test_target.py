import os
import sys
from pathlib import Path

import pytest

from nbqueue.cli.target import broker_url, connection_to, named_url, settings_of
from nbqueue.exceptions import AuthenticationError, ConfigurationError, ConnectionLostError
from nbqueue.wire import keyring, keys
from nbqueue.wire.keys import Connection, encode_key


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder on the path in which modules can be written."""
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for file in tmp_path.glob("*.py"):
        sys.modules.pop(file.stem, None)


@pytest.fixture
def key(folders):
    ring = keyring.ensure(keys.data_dir())
    connection = Connection(
        host="127.0.0.1", port=1, server_public=ring.server_public, client_secret=ring.default.secret
    )
    return encode_key(connection)


@pytest.mark.parametrize(
    ("typed", "url"),
    [("node7", "zmq://node7"), ("node7:99", "zmq://node7:99"), ("zmq://[::1]:99", "zmq://[::1]:99")],
)
def test_a_broker_is_typed_as_a_host_or_a_url(folders, typed, url):
    assert named_url("", typed) == url


def test_without_a_name_it_is_the_broker_of_the_environment(folders, monkeypatch):
    monkeypatch.setenv("NBQUEUE_BROKER", "zmq://node7:99")
    assert broker_url("", "") == "zmq://node7:99"


def test_without_any_name_and_no_local_cluster_it_says_how_to_start_one(folders):
    with pytest.raises(ConnectionLostError, match="`nbqueue start`"):
        broker_url("", "")


def test_an_application_brings_its_settings(project):
    (project / "shop_tasks.py").write_text(
        "from nbqueue import App\nqueue = App('shop', broker='zmq://node8:77', workers=3)\n"
    )
    assert settings_of("shop_tasks").workers == 3
    assert settings_of("shop_tasks:queue").broker == "zmq://node8:77"


def test_a_module_without_an_application_leaves_the_defaults(project):
    (project / "plain_tasks.py").write_text("x = 1\n")
    assert settings_of("plain_tasks").broker == ""


@pytest.mark.parametrize("attribute", ["typo", "x"])
def test_a_module_without_the_application_that_is_named_is_an_error(project, attribute):
    (project / "plain_tasks.py").write_text("x = 1\n")
    with pytest.raises(ConfigurationError, match=f"-A plain_tasks:{attribute}: "):
        settings_of(f"plain_tasks:{attribute}")


def test_an_application_is_found_in_this_folder_but_nothing_there_hides_the_library(project, monkeypatch):
    (project / "plain_tasks.py").write_text("x = 1\n")
    library = str(Path(os.__file__).parent)
    monkeypatch.setattr("sys.path", [path for path in sys.path if path not in ("", str(project))])
    monkeypatch.chdir(project)
    settings_of("plain_tasks")
    assert sys.path.index(library) < sys.path.index(str(project))


def test_a_module_that_is_not_there_is_named(project):
    with pytest.raises(ConfigurationError, match=r"-A nowhere_tasks: there is no module 'nowhere_tasks'"):
        settings_of("nowhere_tasks")


def test_the_key_comes_from_a_file_that_only_we_can_read(folders, key, tmp_path):
    file = tmp_path / "key"
    file.write_text(f"NBQUEUE_KEY={key}\n")
    file.chmod(0o600)
    connection = connection_to("zmq://node7:99", file)
    assert (connection.host, connection.port, encode_key(connection)) == ("node7", 99, key)
    file.chmod(0o644)
    with pytest.raises(AuthenticationError, match="chmod 600"):
        connection_to("zmq://node7:99", file)


def test_the_key_comes_from_the_environment(folders, key, monkeypatch):
    monkeypatch.setenv("NBQUEUE_KEY", key)
    assert encode_key(connection_to("zmq://node7:99", None)) == key


def test_without_a_key_and_without_a_terminal_it_says_where_to_get_one(folders, monkeypatch):
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    with pytest.raises(AuthenticationError, match="`nbqueue key`"):
        connection_to("zmq://node7:99", None)


def test_at_a_terminal_the_key_is_asked_for_and_not_shown(folders, key, monkeypatch):
    asked = []
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("click.prompt", lambda text, **options: asked.append(options) or key)
    assert encode_key(connection_to("zmq://node7:99", None)) == key
    assert asked[0]["hide_input"] is True


def test_a_key_that_was_cut_is_not_taken_for_one(folders, key, monkeypatch):
    monkeypatch.setenv("NBQUEUE_KEY", key[:-4])
    with pytest.raises(AuthenticationError, match="whole key"):
        connection_to("zmq://node7:99", None)
