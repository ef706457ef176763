"""The sockets on which a broker listens: TCP with CURVE, and a unix socket for its own machine.

Two ROUTERs, since a CURVE socket would ask for keys on the unix socket as well; that one is guarded by
its folder, which only this user can enter.
"""

import contextlib
import errno
import os
import re
import socket
from pathlib import Path
from typing import Final, NamedTuple

import zmq

from nbqueue import platform
from nbqueue.broker.complaints import log
from nbqueue.broker.errors import AddressUnavailable
from nbqueue.broker.zap import DOMAIN
from nbqueue.exceptions import ConfigurationError
from nbqueue.transports.zmq import HIGH_WATER, tune_tcp
from nbqueue.wire import keys
from nbqueue.wire.keyring import KeyRing

_BIND = re.compile(r"(?P<host>\[[0-9A-Fa-f:.%\w]+\]|[^\[\]:\s]*)(?::(?P<port>\d{1,5}))?")
_BACKLOG: Final = 1024
#: Milliseconds in which a peer has to prove its key; then its connection is dropped.
HANDSHAKE: Final = 10_000

Context = zmq.Context[zmq.Socket[bytes]]
Router = zmq.Socket[bytes]


class Bind(NamedTuple):
    """Where to listen."""

    host: str
    #: 0 for a free one
    port: int


def parse_bind(text: str) -> Bind:
    """Read ``--bind``: HOST:PORT, HOST for the default port, "" for a free port of this machine only.

    Raises
    ------
    ConfigurationError
        It is none of these.
    """
    if not text:
        return Bind("127.0.0.1", 0)
    found = _BIND.fullmatch(text)
    if found is None or int(found["port"] or 0) > 65535:
        raise ConfigurationError(f"--bind {text}: HOST:PORT is expected ([…]:PORT for IPv6)")
    host = found["host"].strip("[]") or "127.0.0.1"
    return Bind("0.0.0.0" if host == "*" else host, int(found["port"] or keys.DEFAULT_PORT))


def listen_tcp(context: Context, bind: Bind, own: KeyRing, max_message: int) -> tuple[Router, int]:
    """Listen on TCP; returns the socket and its port.  Who sends more than ``max_message`` bytes at once is
    hung up on.

    Raises
    ------
    AddressUnavailable
        Another program listens there, or the address is not of this machine.
    """
    router = _router(context, max_message)
    tune_tcp(router)
    router.handshake_ivl = HANDSHAKE
    router.curve_server = True
    router.curve_publickey, router.curve_secretkey = own.server_public.encode(), own.server_secret.encode()
    router.zap_domain = DOMAIN
    router.ipv6 = ":" in bind.host
    try:
        router.bind(f"tcp://{_numeric(bind)}:{bind.port or '*'}")
    except (zmq.ZMQError, socket.gaierror) as error:
        router.close(0)
        raise AddressUnavailable(_why_not(bind, error)) from None
    return router, int(router.getsockopt_string(zmq.LAST_ENDPOINT).rpartition(":")[2])


def listen_ipc(context: Context, folder: Path, port: int, max_message: int) -> tuple[Router, str]:
    """Listen on a unix socket; returns the socket and its path, "" if there can be none here."""
    router = _router(context, max_message)
    path = str(folder / f"{port}.sock")
    if not platform.HAS_IPC:
        path = ""
    elif len(os.fsencode(path)) > platform.MAX_SOCKET_PATH:
        log.warning(
            "no unix socket: the path %s is too long; NBQUEUE_RUNTIME_DIR names a shorter folder", path
        )
        path = ""
    elif platform.listens(path):
        log.warning("no unix socket: another broker listens on %s", path)
        path = ""
    else:
        router.bind(f"ipc://{path}")
    return router, path


def _router(context: Context, max_message: int) -> Router:
    router = context.socket(zmq.ROUTER)
    router.linger = 1000
    router.router_mandatory = True
    router.sndhwm = router.rcvhwm = HIGH_WATER
    router.maxmsgsize = max_message
    router.backlog = _BACKLOG
    return router


def _numeric(bind: Bind) -> str:
    """The address as zmq binds to it: numbers only, IPv6 in brackets."""
    family = socket.AF_INET6 if ":" in bind.host else socket.AF_INET
    address = str(socket.getaddrinfo(bind.host, bind.port, family, socket.SOCK_STREAM)[0][4][0])
    return f"[{address}]" if ":" in address else address


def _why_not(bind: Bind, error: zmq.ZMQError | socket.gaierror) -> str:
    if isinstance(error, socket.gaierror):
        return f"{bind.host} has no address: {error.strerror}; choose another with --bind"
    if error.errno == errno.EADDRINUSE:
        return f"port {bind.port} is taken by {_occupant(bind.port)}; choose another with --bind"
    if error.errno == errno.EACCES:
        return f"port {bind.port} is for the system administrator; choose one above 1023 with --bind"
    return f"cannot listen on {bind.host}:{bind.port}: {error.strerror}; choose another with --bind"


def _occupant(port: int) -> str:
    """Who listens on a port of this machine, as far as we may know."""
    import psutil  # 20 ms to load, and only to explain

    with contextlib.suppress(psutil.Error, OSError):
        for found in psutil.net_connections("tcp"):
            if found.status == psutil.CONN_LISTEN and found.laddr[1:] == (port,) and found.pid:
                return f"{psutil.Process(found.pid).name()} (pid {found.pid})"
    return "another program"
