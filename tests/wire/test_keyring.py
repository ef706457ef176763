"""The broker's keys: how they come to be, and what `nbqueue key` does to them."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import zmq

from nbqueue.core.permissions import Key
from nbqueue.exceptions import ConfigurationError
from nbqueue.wire import keyring


def names(folder: Path) -> list[str]:
    return [key.name for key in keyring.read(folder).keys]


def test_a_broker_keeps_its_keys_over_restarts(tmp_path: Path) -> None:
    first = keyring.ensure(tmp_path)
    assert keyring.ensure(tmp_path) == first
    assert first.default.key == Key("default", "client")
    assert keyring.path(tmp_path).stat().st_mode & 0o777 == 0o600


def test_the_pairs_are_pairs(tmp_path: Path) -> None:
    ring = keyring.ensure(tmp_path)
    assert zmq.curve_public(ring.server_secret.encode()).decode() == ring.server_public
    assert zmq.curve_public(ring.default.secret.encode()).decode() == ring.default.public


def test_the_one_key_of_before_becomes_the_default_key(tmp_path: Path) -> None:
    names = ("server_public", "server_secret", "client_public", "client_secret")
    old = {
        name: key.decode()
        for name, key in zip(names, [*zmq.curve_keypair(), *zmq.curve_keypair()], strict=True)
    }
    keyring.path(tmp_path).write_text(json.dumps(old))
    ring = keyring.ensure(tmp_path)
    assert (ring.server_public, ring.server_secret) == (old["server_public"], old["server_secret"])
    assert (ring.default.public, ring.default.secret) == (old["client_public"], old["client_secret"])
    assert "client_secret" not in keyring.path(tmp_path).read_text()
    assert keyring.ensure(tmp_path) == ring


@pytest.mark.parametrize("damage", ["", "{}", "[]", "{keys}", "no-default", "role", "twice"])
def test_damaged_keys_are_not_replaced_in_silence(tmp_path: Path, damage: str) -> None:
    keyring.ensure(tmp_path)
    ring = json.loads(keyring.path(tmp_path).read_text())
    if damage == "no-default":
        ring["keys"] = []
    elif damage == "role":
        ring["keys"][0]["role"] = "king"
    elif damage == "twice":
        ring["keys"] *= 2
    text = json.dumps(ring) if damage in ("no-default", "role", "twice") else damage
    keyring.path(tmp_path).write_text(text)
    with pytest.raises(ConfigurationError, match=r"keys\.json is not a file of keys"):
        keyring.ensure(tmp_path)
    assert keyring.path(tmp_path).read_text() == text


def test_a_key_is_made_once_and_found_after_that(tmp_path: Path) -> None:
    keyring.ensure(tmp_path)
    made = keyring.find_or_add(tmp_path, "gpu", "worker")
    assert made.key == Key("gpu", "worker")
    assert keyring.find_or_add(tmp_path, "gpu", "worker") == made
    assert keyring.find_or_add(tmp_path, "gpu", "") == made
    assert names(tmp_path) == ["default", "gpu"]


def test_a_key_without_a_role_is_a_clients(tmp_path: Path) -> None:
    keyring.ensure(tmp_path)
    assert keyring.find_or_add(tmp_path, "ann", "").role == "client"


def test_a_key_does_not_change_its_role(tmp_path: Path) -> None:
    keyring.ensure(tmp_path)
    keyring.find_or_add(tmp_path, "wall", "viewer")
    with pytest.raises(ConfigurationError, match="'wall' is a viewer's key: choose another --name"):
        keyring.find_or_add(tmp_path, "wall", "client")
    assert keyring.find_or_add(tmp_path, "wall", "").role == "viewer"


@pytest.mark.parametrize("name", ["", "-x", "a b", "ä", "a" * 65, "a\n", "../x"])
def test_what_cannot_name_a_key_is_refused(tmp_path: Path, name: str) -> None:
    keyring.ensure(tmp_path)
    with pytest.raises(ConfigurationError, match="cannot name a key"):
        keyring.find_or_add(tmp_path, name, "client")


def test_a_revoked_key_is_gone(tmp_path: Path) -> None:
    keyring.ensure(tmp_path)
    keyring.find_or_add(tmp_path, "gpu", "worker")
    keyring.revoke(tmp_path, "gpu")
    assert names(tmp_path) == ["default"]
    with pytest.raises(ConfigurationError, match="no key is called 'gpu'; there are: default"):
        keyring.revoke(tmp_path, "gpu")


def test_the_default_key_is_rotated_not_revoked(tmp_path: Path) -> None:
    before = keyring.ensure(tmp_path)
    with pytest.raises(ConfigurationError, match="nbqueue key rotate"):
        keyring.revoke(tmp_path, "default")
    fresh = keyring.rotate(tmp_path)
    assert (fresh.name, fresh.role) == ("default", "client")
    assert fresh.secret != before.default.secret
    assert keyring.read(tmp_path).default == fresh
    assert keyring.read(tmp_path).server_secret == before.server_secret


def test_a_rotated_key_keeps_its_role_and_place(tmp_path: Path) -> None:
    keyring.ensure(tmp_path)
    for name in ("a", "b"):
        keyring.find_or_add(tmp_path, name, "viewer")
    assert keyring.rotate(tmp_path, "a").role == "viewer"
    assert names(tmp_path) == ["default", "a", "b"]


def test_keys_of_a_broker_that_never_was_are_not_made_up(tmp_path: Path) -> None:
    for change in (
        lambda: keyring.find_or_add(tmp_path, "a", ""),
        lambda: keyring.revoke(tmp_path, "a"),
        lambda: keyring.rotate(tmp_path),
    ):
        with pytest.raises(ConfigurationError, match="no broker ever had its data"):
            change()
    assert os.listdir(tmp_path) == []


def test_changes_at_the_same_time_are_all_kept(tmp_path: Path) -> None:
    keyring.ensure(tmp_path)
    code = """
import sys
from pathlib import Path
from nbqueue.wire import keyring
for n in range(10):
    keyring.find_or_add(Path(sys.argv[1]), f"{sys.argv[2]}-{n}", "worker")
"""
    processes = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path), name]) for name in "ab"]
    for name in "cd":
        threads = [
            threading.Thread(target=keyring.find_or_add, args=(tmp_path, f"{name}-{n}", "viewer"))
            for n in range(5)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [process.wait() for process in processes] == [0, 0]
    assert len(names(tmp_path)) == 31


def test_representations_hold_no_secrets(tmp_path: Path) -> None:
    ring = keyring.ensure(tmp_path)
    for secret in (ring.server_secret, ring.default.secret):
        assert secret not in f"{ring!r} {ring.keys!r} {ring.default}"
