"""Keys, and where to find them: how a client or a worker gets to speak to a broker.

A broker has a CURVE key pair of its own, and one for each whom it lets in (see ``wire.keyring``).
Whoever is to connect needs the broker's public key and a secret one that it knows, and finds them by
the broker's address::

    zmq://HOST:PORT ─▶ told in this process (remember)
                     ─▶ NBQUEUE_KEY             the line that `nbqueue key` prints
                     ─▶ NBQUEUE_KEY_FILE        a 0600 file with that line, or a connection file
                     ─▶ connection files        of this user's brokers on this machine

A *connection file* is written by a broker when it listens: address, keys, and which run of which
machine it lives on, so that one left over is told from one of a living broker.
"""

import hashlib
import os
import re
import socket
import sys
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import zmq
from zmq.utils import z85

from nbqueue import platform
from nbqueue.exceptions import AuthenticationError, ConfigurationError

#: How URLs begin that need a key of this kind.
SCHEME: Final = "zmq://"
#: The port of ``zmq://HOST``.
DEFAULT_PORT: Final = 5560

_URL = re.compile(r"zmq://(?:(?P<host>\[[0-9A-Fa-f:.%\w]+\]|[^\[\]:/@\s]+)(?::(?P<port>\d{1,5}))?)?/?")
_KEY = re.compile(r"nbq1-([A-Za-z0-9_-]+)")
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_ANY: Final = frozenset({"0.0.0.0", "::", "*"})


class Connection(msgspec.Struct, frozen=True, kw_only=True):
    """All that is needed to speak to a broker.  Keys are in Z85, as zmq writes them."""

    #: where it listens
    host: str
    port: int
    #: path of its unix socket, "" if it has none
    ipc: str = ""
    server_public: str
    client_secret: str
    #: the machine that it runs on, and which run of that machine (see ``platform.boot_id``)
    hostname: str = ""
    boot_id: str = ""
    pid: int = 0
    #: see ``platform.process_started``
    started: float = 0.0
    #: of nbqueue
    version: str = ""
    data_dir: str = ""

    @property
    def url(self) -> str:
        """``zmq://HOST:PORT``, for a peer on the broker's own machine if it listens everywhere."""
        host = "127.0.0.1" if self.host in _ANY else self.host
        return f"zmq://[{host}]:{self.port}" if ":" in host else f"zmq://{host}:{self.port}"

    @property
    def client_public(self) -> str:
        return zmq.curve_public(self.client_secret.encode()).decode()

    @property
    def is_here(self) -> bool:
        """Whether its broker is one of this machine, in this run of it."""
        return self.hostname == socket.gethostname() and self.boot_id == platform.boot_id()

    @property
    def is_alive(self) -> bool:
        """Whether its broker runs on this machine."""
        return self.is_here and platform.process_alive(self.pid, self.started)

    def __repr__(self) -> str:
        return f"<Connection {self.url}, pid {self.pid} on {self.hostname or 'another machine'}>"


class Address(NamedTuple):
    """A ``zmq://`` URL taken apart; host "" and port 0 mean the local cluster."""

    host: str
    port: int


_HERE: Final = Address("127.0.0.1", DEFAULT_PORT)


# ── connection files ─────────────────────────────────────────────────────────────────────────────


def write_connection(path: Path, connection: Connection) -> None:
    """Write a connection file: whole or not at all, readable by us only.

    Raises
    ------
    OSError
        The disk is full or the folder is not ours to write; the message names the file.
    """
    platform.write_private(path, msgspec.json.encode(connection))


def read_connection(path: Path) -> Connection:
    """Read a connection file.

    Raises
    ------
    OSError
        There is none.
    ConfigurationError
        It is not a connection file.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=Connection)
    except msgspec.MsgspecError as error:
        raise ConfigurationError(f"{path} is not a connection file: {error}") from None


# ── folders ──────────────────────────────────────────────────────────────────────────────────────


def data_dir() -> Path:
    """Where this user's broker of this machine keeps its data; made if it is not there.

    ``NBQUEUE_DATA_DIR`` names another.  The hostname is part of it, since homes may be shared by machines.

    Raises
    ------
    ConfigurationError
        It cannot be made.
    """
    named = os.environ.get("NBQUEUE_DATA_DIR")
    folder = Path(named) if named else _user_data_dir()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"the data folder {folder} cannot be made: {error.strerror}; name another by NBQUEUE_DATA_DIR"
        ) from None
    return folder


def _user_data_dir() -> Path:
    import platformdirs  # 10 ms to load, and not needed when the folder is named

    return platformdirs.user_state_path("nbqueue", appauthor=False) / socket.gethostname()


def runtime_dir() -> Path:
    """Where this user's sockets and connection files of running brokers are; made if it is not there.

    ``NBQUEUE_RUNTIME_DIR`` names another; keep it short, since paths of sockets end at 107 bytes.

    Raises
    ------
    ConfigurationError
        It cannot be made, or is not ours alone.
    """
    named = os.environ.get("NBQUEUE_RUNTIME_DIR")
    try:
        return platform.private_folder(Path(named) if named else platform.runtime_base())
    except OSError as error:
        raise ConfigurationError(
            f"the runtime folder cannot be used: {error}; NBQUEUE_RUNTIME_DIR names another"
        ) from None


def brokers_dir() -> Path:
    """Where brokers that run put their connection files and sockets, named by port."""
    return platform.private_folder(runtime_dir() / "brokers")


# ── the key as a line of text ────────────────────────────────────────────────────────────────────


def encode_key(connection: Connection) -> str:
    """The key as one word, for ``NBQUEUE_KEY``: both keys and a checksum, safe in URLs and shells."""
    secrets = z85.decode(connection.server_public) + z85.decode(connection.client_secret)
    return "nbq1-" + urlsafe_b64encode(secrets + _checksum(secrets)).decode().rstrip("=")


def decode_key(text: str, address: Address = _HERE) -> Connection:
    """Read what :func:`encode_key` wrote, or a whole line with it; the address comes from elsewhere.

    Raises
    ------
    AuthenticationError
        There is no key in it, or one that was cut or mistyped.
    """
    found = _KEY.search(text)
    data = (
        urlsafe_b64decode(found[1] + "=" * (-len(found[1]) % 4)) if found and len(found[1]) % 4 != 1 else b""
    )
    server, client, checksum = data[:32], data[32:64], data[64:]
    if len(client) != 32 or checksum != _checksum(server + client):
        raise AuthenticationError(
            "this is not a whole key of nbqueue: copy all that `nbqueue key` prints on the broker's machine"
        )
    return Connection(
        host=address.host,
        port=address.port,
        server_public=z85.encode(server).decode(),
        client_secret=z85.encode(client).decode(),
    )


def _checksum(data: bytes) -> bytes:
    return hashlib.sha256(b"nbqueue key" + data).digest()[:4]


# ── finding ──────────────────────────────────────────────────────────────────────────────────────

_remembered: dict[Address, Connection] = {}


def remember(connection: Connection) -> None:
    """Use this for its address from now on in this process, before any other source."""
    _remembered[_normal(parse_url(connection.url))] = connection


def parse_url(url: str) -> Address:
    """Take a URL apart: ``zmq://HOST[:PORT]``, or ``zmq://`` for the local cluster.

    Raises
    ------
    ConfigurationError
        It is none.
    """
    found = _URL.fullmatch(url)
    port = int(found["port"] or DEFAULT_PORT) if found else 0
    if found is None or not 0 < port < 65536:
        raise ConfigurationError(
            f"{url!r} is no address of a broker: zmq://HOST:PORT is (zmq://[…] for IPv6)"
        )
    return Address(found["host"].strip("[]"), port) if found["host"] else Address("", 0)


def find(url: str) -> Connection:
    """Find the key for a broker's address; the order is in the module's docstring.

    Raises
    ------
    ConfigurationError
        ``url`` is no address, or a file that should hold a key does not.
    AuthenticationError
        There is no key for it, or what should be one is none.
    """
    address = parse_url(url)
    if not address.host:
        connection = running(data_dir())
    else:
        connection = (
            _remembered.get(_normal(address))
            or _from_environment(address)
            or _from_key_file(address)
            or _from_connection_files(address)
        )
    if connection is None:
        raise AuthenticationError(_no_key(url, address))
    return connection


def _no_key(url: str, address: Address) -> str:
    if not address.host:
        return "no local cluster is running: `nbqueue start` starts one"
    where = "the broker's machine"
    if _is_local(address.host):
        where += f" (no broker of yours listens on port {address.port} here)"
    return f"no key for {url}: run `nbqueue key` on {where} and set NBQUEUE_KEY to what it prints"


def running(folder: Path) -> Connection | None:
    """The broker that runs on this machine with its data in that folder; None if none does."""
    return _living(folder / "broker.json")


def left_over(folder: Path) -> Connection | None:
    """The broker of this machine that died there without a word; None if the last one took its leave, which
    removes its connection file, or lives."""
    connection = _read(folder / "broker.json")
    return connection if connection is not None and connection.is_here and not connection.is_alive else None


def connections() -> Iterator[Connection]:
    """All brokers of this user that run on this machine."""
    for path in sorted(brokers_dir().glob("*.json")):
        connection = _read(path)
        if connection is not None and connection.is_alive:
            yield connection
        elif connection is not None and connection.is_here:
            path.unlink(missing_ok=True)


def _living(path: Path) -> Connection | None:
    """A connection file's content, if its broker runs on this machine."""
    connection = _read(path)
    return connection if connection is not None and connection.is_alive else None


def _read(path: Path) -> Connection | None:
    try:
        return read_connection(path)
    except (OSError, ConfigurationError):
        return None


def _from_environment(address: Address) -> Connection | None:
    key = os.environ.get("NBQUEUE_KEY")
    return _decode_from("NBQUEUE_KEY", key, address) if key else None


def _decode_from(source: object, text: str, address: Address) -> Connection:
    try:
        return decode_key(text, address)
    except AuthenticationError as error:
        raise AuthenticationError(f"{source}: {error}") from None


def _from_key_file(address: Address) -> Connection | None:
    name = os.environ.get("NBQUEUE_KEY_FILE")
    return read_key_file(Path(name), address) if name else None


def read_key_file(path: Path, address: Address) -> Connection:
    """Read the key in a file: a line with it, or a connection file.

    Raises
    ------
    AuthenticationError
        There is no such file, others can read it, or there is no key in it.
    """
    try:
        text, mode = path.read_text(), path.stat().st_mode
    except (OSError, ValueError) as error:
        raise AuthenticationError(f"no key can be read from {path}: {error}") from None
    if sys.platform != "win32" and mode & 0o077:
        raise AuthenticationError(f"others can read the key in {path}: chmod 600 it")
    if text.lstrip().startswith("{"):
        return _elsewhere(read_connection(path), address)
    return _decode_from(path, text, address)


def _elsewhere(connection: Connection, address: Address) -> Connection:
    return msgspec.structs.replace(connection, host=address.host, port=address.port)


def _from_connection_files(address: Address) -> Connection | None:
    if not _is_local(address.host):
        return None
    for path in (brokers_dir() / f"{address.port}.json", data_dir() / "broker.json"):
        connection = _living(path)
        if connection is not None and connection.port == address.port:
            return _elsewhere(connection, address)
    return None


def _normal(address: Address) -> Address:
    return Address("127.0.0.1", address.port) if address.host in _LOOPBACK else address


def _is_local(host: str) -> bool:
    """Whether an address is one of this machine's own: one can bind to those only."""
    if host in _LOOPBACK or host == socket.gethostname():
        return True
    try:
        family, kind, _, _, target = socket.getaddrinfo(host, 0, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind) as probe:
            probe.bind(target)
    except OSError:
        return False
    return True
