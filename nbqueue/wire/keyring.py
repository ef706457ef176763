"""The keys of a broker: its own pair, and one named pair with a role for each whom it lets in.

The ring is one file, ``keys.json`` in the broker's data folder.  ``nbqueue key`` changes it, and a running
broker looks at it once a second: what is on it may come in, what is no longer on it has to go.
"""

import contextlib
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
import zmq

from nbqueue import platform
from nbqueue.core.permissions import CLIENT, ROLES, Key
from nbqueue.exceptions import ConfigurationError

#: The key of the local cluster, and of ``nbqueue key`` without options.
DEFAULT: Final = "default"

_FILE: Final = "keys.json"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")


class NamedKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key pair that the broker lets in; in Z85, as zmq writes them."""

    name: str
    role: str
    public: str
    secret: str
    #: Unix time
    created: float = 0.0

    @property
    def key(self) -> Key:
        return Key(self.name, self.role)

    def __repr__(self) -> str:
        return f"<NamedKey {self.name!r}, a {self.role}'s>"


class KeyRing(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All keys of a broker, the oldest first."""

    server_public: str
    server_secret: str
    keys: tuple[NamedKey, ...]

    def get(self, name: str) -> NamedKey | None:
        return next((key for key in self.keys if key.name == name), None)

    @property
    def default(self) -> NamedKey:
        """The key that local clients and workers use."""
        key = self.get(DEFAULT)
        assert key is not None  # read() has looked
        return key

    def __repr__(self) -> str:
        return f"<KeyRing of {self.server_public}, {len(self.keys)} keys>"


class _OneKey(msgspec.Struct, forbid_unknown_fields=True):
    """What the file held before keys had names."""

    server_public: str
    server_secret: str
    client_public: str
    client_secret: str


# ── the file ─────────────────────────────────────────────────────────────────────────────────────


def path(folder: Path) -> Path:
    """Where the ring of the broker with that data folder is."""
    return folder / _FILE


def ensure(folder: Path) -> KeyRing:
    """The ring of the broker that keeps its data there, made at its first start.

    Raises
    ------
    OSError
        The file cannot be read or written.
    ConfigurationError
        It is not a file of keys.
    """
    with _lock(folder):
        try:
            ring, was_old = _decode(folder)
        except FileNotFoundError:
            return _write(folder, _new_ring())
        return _write(folder, ring) if was_old else ring


def read(folder: Path) -> KeyRing:
    """The ring as it is now.

    Raises
    ------
    FileNotFoundError
        There is none.
    ConfigurationError
        It is not a file of keys.
    """
    return _decode(folder)[0]


def _decode(folder: Path) -> tuple[KeyRing, bool]:
    """The ring, and whether the file is of a time when keys had no names."""
    data = path(folder).read_bytes()
    with contextlib.suppress(msgspec.MsgspecError):
        return _named(msgspec.json.decode(data, type=_OneKey)), True
    try:
        ring = msgspec.json.decode(data, type=KeyRing)
        _check(ring)
    except ValueError as error:  # msgspec's are, too
        raise ConfigurationError(
            f"{path(folder)} is not a file of keys ({error}): restore it, or remove it so that new keys are"
            " made (clients and workers elsewhere then need the new ones)"
        ) from None
    return ring, False


def _check(ring: KeyRing) -> None:
    """Raise ValueError if it is not what this module writes."""
    for key in ring.keys:
        if key.role not in ROLES:
            raise ValueError(f"no key has the role {key.role!r}")
    for kind in ("name", "public"):
        if len({getattr(key, kind) for key in ring.keys}) != len(ring.keys):
            raise ValueError(f"two keys have the same {kind}")
    if (default := ring.get(DEFAULT)) is None or default.role != CLIENT:
        raise ValueError(f"there is no client's key {DEFAULT!r}")


def _named(old: _OneKey) -> KeyRing:
    default = NamedKey(name=DEFAULT, role=CLIENT, public=old.client_public, secret=old.client_secret)
    return KeyRing(server_public=old.server_public, server_secret=old.server_secret, keys=(default,))


def _new_ring() -> KeyRing:
    public, secret = _new_pair()
    return KeyRing(server_public=public, server_secret=secret, keys=(_new_key(DEFAULT, CLIENT),))


def _new_key(name: str, role: str) -> NamedKey:
    public, secret = _new_pair()
    return NamedKey(name=name, role=role, public=public, secret=secret, created=time.time())


def _new_pair() -> tuple[str, str]:
    public, secret = zmq.curve_keypair()
    return public.decode(), secret.decode()


def _write(folder: Path, ring: KeyRing) -> KeyRing:
    platform.write_private(path(folder), msgspec.json.encode(ring))
    return ring


def _lock(folder: Path) -> platform.FileLock:
    """One process at a time reads and writes; none holds the lock for longer than that."""
    return platform.FileLock(folder / "keys.lock")


# ── what `nbqueue key` does ──────────────────────────────────────────────────────────────────────


def find_or_add(folder: Path, name: str, role: str) -> NamedKey:
    """The key of that name, made if there is none; ``role`` "" means that of the key, or a client's.

    Raises
    ------
    ConfigurationError
        There is one of another role, or it cannot be a name.
    """
    if not _NAME.fullmatch(name):
        raise ConfigurationError(f"{name!r} cannot name a key: up to 64 letters, digits and . _ @ - can")

    def add(ring: KeyRing) -> KeyRing:
        key = ring.get(name)
        if key is None:
            return msgspec.structs.replace(ring, keys=(*ring.keys, _new_key(name, role or CLIENT)))
        if role not in ("", key.role):
            raise ConfigurationError(f"{name!r} is a {key.role}'s key: choose another --name for a {role}'s")
        return ring

    return _named_key(_change(folder, add), name)


def revoke(folder: Path, name: str) -> None:
    """Take a key off the ring.

    Raises
    ------
    ConfigurationError
        There is none of that name, or it is the one that the local cluster needs.
    """
    if name == DEFAULT:
        raise ConfigurationError(
            f"the key {DEFAULT!r} is that of this machine's own clients and workers:"
            " `nbqueue key rotate` gives it a new secret, and the old one is good no longer"
        )

    def remove(ring: KeyRing) -> KeyRing:
        gone = _named_key(ring, name)
        return msgspec.structs.replace(ring, keys=tuple(key for key in ring.keys if key is not gone))

    _change(folder, remove)


def rotate(folder: Path, name: str = DEFAULT) -> NamedKey:
    """Give a key a new secret; the old one is good no longer.

    Raises
    ------
    ConfigurationError
        There is none of that name.
    """

    def renew(ring: KeyRing) -> KeyRing:
        old = _named_key(ring, name)
        fresh = _new_key(name, old.role)
        return msgspec.structs.replace(ring, keys=tuple(fresh if k is old else k for k in ring.keys))

    return _named_key(_change(folder, renew), name)


def _change(folder: Path, change: Callable[[KeyRing], KeyRing]) -> KeyRing:
    if not path(folder).exists():
        raise ConfigurationError(f"no broker ever had its data in {folder}: `nbqueue start` starts one")
    try:
        with _lock(folder):
            before = read(folder)
            after = change(before)
            return before if after is before else _write(folder, after)
    except OSError as error:
        raise ConfigurationError(f"the keys in {folder} cannot be changed: {error}") from None


def _named_key(ring: KeyRing, name: str) -> NamedKey:
    key = ring.get(name)
    if key is None:
        names = ", ".join(key.name for key in ring.keys)
        raise ConfigurationError(f"no key is called {name!r}; there are: {names}")
    return key
