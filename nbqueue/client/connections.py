"""The clients of this process: one a broker, shared by all who speak to it."""

import threading
from typing import NamedTuple

from nbqueue.client.client import Client
from nbqueue.client.options import text
from nbqueue.client.revival import Revival
from nbqueue.launch import local
from nbqueue.settings import Settings
from nbqueue.transports import transport

#: of the default application, and of whatever was unpickled from another process
default_settings = Settings()

#: URLs of the local cluster, wherever it listens
_LOCAL = ("", "zmq://")

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
        if client is None or not client.usable or _has_lost_its_broker(url, client):
            client = _clients[url] = _connect(url, settings)
            _clients[client.url] = client
        return client


def _has_lost_its_broker(url: str, client: Client) -> bool:
    """Whether the local cluster that it is connected to has died, and is not ours to start again as it was:
    a new one takes its place."""
    if url not in _LOCAL or client.linked or client.revives:
        return False
    connection = local.find()
    return connection is None or connection.url != client.url


class Route(NamedTuple):
    """What each call needs; looking the settings up anew would cost more than the call."""

    client: Client
    #: of tasks that name none
    queue: str
    #: of the settings that it was made by
    version: int


class Router:
    """The way to the broker that some settings name."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._route: Route | None = None

    @property
    def route(self) -> Route:
        """The connection, made on first use, and anew when the settings have changed."""
        route, settings = self._route, self.settings
        if (
            route is None
            or route.version != settings.version
            or not route.client.usable
            or not route.client.linked
        ):
            client = client_for(settings.broker, settings)
            queue = text("task_default_queue", settings.task_default_queue)
            route = self._route = Route(client, queue, settings.version)
        return route


#: of the default application
default_router = Router(default_settings)


def _connect(url: str, settings: Settings) -> Client:
    if url not in _LOCAL:
        return Client(transport(url), settings)
    connection = local.ensure(settings)
    revival = Revival(settings) if local.is_ours(connection) else None
    return Client(transport(connection.url), settings, revival)
