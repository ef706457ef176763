"""What is kept where others can write."""

import hashlib
import hmac
import os
import subprocess
import sys
from pathlib import Path

import pytest

from nbqueue.exceptions import AuthenticationError
from nbqueue.wire import signing
from nbqueue.wire.signing import ForgedError, Signer

KEY = b"a key of thirty-two characters.."


@pytest.fixture(autouse=True)
def nothing_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signing, "_remembered", "")


def test_what_was_sealed_is_opened() -> None:
    signer = Signer(KEY, "app")
    assert bytes(signer.open("task", signer.seal("task", b"body"))) == b"body"


@pytest.mark.parametrize("key", [KEY, b"k" * 100])
def test_the_seal_is_an_hmac_sha256(key: bytes) -> None:
    sealed = Signer(key, "app").seal("task", b"body")
    assert sealed[:32] == hmac.digest(key, b"app\0task\0body", hashlib.sha256)


@pytest.mark.parametrize("at", [0, 31, 32, 35])
def test_an_altered_byte_is_noticed(at: int) -> None:
    signer = Signer(KEY, "app")
    sealed = bytearray(signer.seal("task", b"body"))
    sealed[at] ^= 1
    with pytest.raises(ForgedError, match="not signed"):
        signer.open("task", bytes(sealed))


@pytest.mark.parametrize("sealed", [b"", b"short", b"\0" * 32, b"\0" * 100])
def test_what_was_never_sealed_is_refused(sealed: bytes) -> None:
    with pytest.raises(ForgedError):
        Signer(KEY, "app").open("task", sealed)


def test_a_seal_of_another_kind_application_or_key_does_not_count() -> None:
    sealed = Signer(KEY, "app").seal("task", b"body")
    for other in (Signer(KEY, "other"), Signer(b"x" * 32, "app")):
        with pytest.raises(ForgedError):
            other.open("task", sealed)
    with pytest.raises(ForgedError):
        Signer(KEY, "app").open("result", sealed)


def test_the_key_is_made_on_first_use_for_its_owner_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NBQUEUE_DATA_DIR", str(tmp_path))
    key = signing.signing_key()
    assert len(key) >= 32
    assert (tmp_path / "signing.key").stat().st_mode & 0o777 == 0o600
    assert signing.signing_key() == key
    assert [path.name for path in tmp_path.iterdir()] == ["signing.key"]


def test_processes_that_make_it_at_once_agree(tmp_path: Path) -> None:
    program = "from nbqueue.wire.signing import signing_key; print(signing_key())"
    env = {**os.environ, "NBQUEUE_DATA_DIR": str(tmp_path)}
    makers = [
        subprocess.Popen([sys.executable, "-c", program], env=env, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    assert len({maker.communicate()[0] for maker in makers}) == 1


def test_the_environment_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NBQUEUE_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("NBQUEUE_SIGNING_KEY", "another key, long enough\n")
    assert signing.signing_key() == "another key, long enough"
    signing.remember("told in this process")
    assert signing.signing_key() == "told in this process"


def test_a_key_that_protects_nothing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NBQUEUE_SIGNING_KEY", "secret")
    with pytest.raises(AuthenticationError, match="6 characters"):
        signing.signing_key()


def test_a_file_that_others_can_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NBQUEUE_DATA_DIR", str(tmp_path))
    signing.signing_key()
    (tmp_path / "signing.key").chmod(0o644)
    with pytest.raises(AuthenticationError, match="chmod 600"):
        signing.signing_key()
