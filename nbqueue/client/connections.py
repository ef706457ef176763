"""The clients of this process: one a broker, shared by all who speak to it."""

import threading

from nbqueue._version import __version__
from nbqueue.client.client import Client
from nbqueue.launch import local
from nbqueue.settings import Settings
from nbqueue.transports import transport

_clients: dict[str, Client] = {}
_lock = threading.Lock()


def client_for(url: str, settings: Settings | None = None) -> Client:
    """The client for a broker, connected on first use.

    ``""`` and ``zmq://`` mean the local cluster, which is started if it is not there.

    Raises
    ------
    ConnectionLostError
        Nobody answers there; the subclasses say why.
    ConfigurationError
        There is no such kind of broker.
    """
    settings = settings if settings is not None else Settings()
    with _lock:
        client = _clients.get(url)
        if client is None or not client.usable:
            client = _clients[url] = _connect(url, settings)
            _clients[client.url] = client
        return client


def _connect(url: str, settings: Settings) -> Client:
    if url in ("", "zmq://"):
        url = local.ensure(settings).url
    return Client(transport(url), settings, version=__version__)
