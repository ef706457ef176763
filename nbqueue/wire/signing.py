"""What is kept where others can write is signed: nothing is unpickled that did not come from one of us.

A *seal* is an HMAC-SHA256 (RFC 2104) under the signing key, over the application, what kind of thing it is,
and the thing itself; ids, attempts, queues and times stand inside::

    seal(kind, body) ─▶ MAC (32 bytes) + body ─▶ Redis ─▶ open(kind, sealed) ─▶ body, or ForgedError

The key is the same for all who use an application: ``NBQUEUE_SIGNING_KEY``, or else a file that is made on
first use and that only its owner can read.  ``nbqueue key`` prints it for other machines.
"""

import hashlib
import hmac
import os
import secrets
import sys
from pathlib import Path
from typing import Final

from nbqueue import platform
from nbqueue.exceptions import AuthenticationError
from nbqueue.wire.keys import data_dir

VARIABLE: Final = "NBQUEUE_SIGNING_KEY"
SIZE: Final = 32
_FILE: Final = "signing.key"
#: bytes from which a text is as good as random ones
_SHORTEST: Final = 16
_BLOCK: Final = 64
#: kinds whose beginnings are remembered
_KINDS: Final = 100
_INNER: Final = bytes(x ^ 0x36 for x in range(256))
_OUTER: Final = bytes(x ^ 0x5C for x in range(256))

_remembered: str = ""


class ForgedError(AuthenticationError):
    """Something in Redis was not written by anybody who has this application's signing key."""


class Signer:
    """Seals what one application keeps.

    The state after the key's block is copied for each message instead of made anew: a third of the time that
    ``hmac.digest`` takes.
    """

    def __init__(self, key: bytes, app: str) -> None:
        if len(key) > _BLOCK:
            key = hashlib.sha256(key).digest()
        padded = key.ljust(_BLOCK, b"\0")
        self._inner = hashlib.sha256(padded.translate(_INNER))
        self._inner.update(app.encode() + b"\0")
        self._outer = hashlib.sha256(padded.translate(_OUTER))
        self._kinds: dict[str, hashlib._Hash] = {}

    def mac(self, kind: str, body: bytes | memoryview) -> bytes:
        begun = self._kinds.get(kind)
        if begun is None:
            begun = self._begin(kind)
        inner = begun.copy()
        inner.update(body)
        outer = self._outer.copy()
        outer.update(inner.digest())
        return outer.digest()

    def _begin(self, kind: str) -> "hashlib._Hash":
        begun = self._inner.copy()
        begun.update(kind.encode() + b"\0")
        if len(self._kinds) < _KINDS:
            self._kinds[kind] = begun
        return begun

    def seal(self, kind: str, body: bytes) -> bytes:
        return self.mac(kind, body) + body

    def open(self, kind: str, sealed: bytes) -> memoryview:
        """What was sealed.

        Raises
        ------
        ForgedError
            Not by us, or not as that kind of thing, or it was altered since.
        """
        body = memoryview(sealed)[SIZE:]
        self.check(kind, sealed[:SIZE], body)
        return body

    def check(self, kind: str, mac: bytes, body: bytes | memoryview) -> None:
        """The same for what is kept apart from its MAC."""
        if not hmac.compare_digest(mac, self.mac(kind, body)):
            raise ForgedError(f"a {kind} that is not signed by this application's key")


def remember(key: str) -> None:
    """Use this key from now on in this process, whatever the environment says."""
    global _remembered
    _remembered = key


def hide() -> str:
    """Take the key out of the environment, where what tasks start would find it, and use it; "" if it is not
    there."""
    if text := os.environ.pop(VARIABLE, "").strip():
        remember(text)
    return text


def fingerprint() -> str:
    """Eight characters by which two people see whether they have the same key."""
    return hashlib.sha256(b"nbqueue signing key\0" + signing_key().encode()).hexdigest()[:8]


def source() -> str:
    """Where the key comes from: for people."""
    if _remembered or os.environ.get(VARIABLE, "").strip():
        return VARIABLE
    return str(data_dir() / _FILE)


def signing_key() -> str:
    """The key as a line of text: told in this process, ``NBQUEUE_SIGNING_KEY``, or the file, which is made if
    it is not there.

    Raises
    ------
    AuthenticationError
        It is too short to protect anything, or others can read the file.
    """
    text = _remembered or os.environ.get(VARIABLE, "").strip() or _from_file(data_dir() / _FILE)
    if len(text) < _SHORTEST:
        raise AuthenticationError(
            f"the signing key has {len(text)} characters, and at least {_SHORTEST} are needed; without one,"
            " nbqueue makes its own"
        )
    return text


def _from_file(path: Path) -> str:
    try:
        text, mode = path.read_text(), path.stat().st_mode
    except FileNotFoundError:
        return _made(path)
    except (OSError, ValueError) as error:
        raise AuthenticationError(f"no signing key can be read from {path}: {error}") from None
    if sys.platform != "win32" and mode & 0o077:
        raise AuthenticationError(f"others can read the signing key in {path}: chmod 600 it")
    return text.strip()


def _made(path: Path) -> str:
    """A new key; of several processes that make one at once, the first one's counts."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    platform.write_private(draft, secrets.token_urlsafe(SIZE).encode() + b"\n")
    try:
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
    return path.read_text().strip()
