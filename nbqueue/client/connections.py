"""The clients of this process: one a broker, shared by all who speak to it."""

import threading
from typing import NamedTuple

from nbqueue.client.client import Client
from nbqueue.client.options import text
from nbqueue.client.revival import Revival
from nbqueue.exceptions import ConnectionLostError
from nbqueue.launch import local
from nbqueue.settings import Settings
from nbqueue.transports import transport
from nbqueue.wire import keys
from nbqueue.wire.keys import Connection

#: of the default application, and of whatever was unpickled from another process
default_settings = Settings()

#: URLs of the local cluster, wherever it listens
_LOCAL = ("", "zmq://")

#: by URL, that of the local cluster by its data folder as well
_clients: dict[str, Client] = {}
_lock = threading.Lock()


def client_for(url: str, settings: Settings | None = None) -> Client:
    """The client for a broker, connected on first use, and the same one for good: when the broker ends and
    there is another in its place, it goes on with that.

    ``""`` and ``zmq://`` mean the local cluster, which is started if it is not there.

    Raises
    ------
    ConnectionLostError
        Nobody answers there; the subclasses say why.
    ConfigurationError
        There is no such kind of broker.
    """
    settings = settings if settings is not None else Settings()
    name = str(keys.data_dir()) if url in _LOCAL else url
    with _lock:
        client = _clients.get(name)
        if client is None or not client.usable:
            if client is not None:
                _dismiss(client)
            client = _clients[name] = _connect(url, settings)
            _clients[client.url] = client
            return client
        if not _has_lost_its_broker(url, client):
            return client
        revival = _revival(local.ensure(settings), settings) if url in _LOCAL else None
    try:
        client.rejoin(revival)
    except ConnectionLostError:
        _dismiss(client)
        raise
    return client


def _dismiss(client: Client) -> None:
    """Close one that is of no use, unless results wait for it: should its broker be back, they are told."""
    if not client.is_awaited:
        client.close(drain=False)


def _has_lost_its_broker(url: str, client: Client) -> bool:
    """Whether its broker has ended; or died, as the local cluster's, with nobody who starts it again."""
    if client.ended:
        return True
    if url not in _LOCAL or client.connected or client.revives:
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

    def client(self, version: int) -> Client:
        """The connection, for a caller who knows which version of the settings is the present one."""
        route = self._route
        if route is None or route.version != version or not route.client.connected:
            return self.route.client
        return route.client

    @property
    def made(self) -> Client | None:
        """The connection, if it has been needed yet."""
        return None if self._route is None else self._route.client

    @property
    def route(self) -> Route:
        """The connection, made on first use, and anew when the settings have changed."""
        route, settings = self._route, self.settings
        if route is None or route.version != settings.version or not route.client.connected:
            client = client_for(settings.broker, settings)
            client.accept_as(settings)
            queue = text("task_default_queue", settings.task_default_queue)
            route = self._route = Route(client, queue, settings.version)
        return route


#: of the default application
default_router = Router(default_settings)


def _connect(url: str, settings: Settings) -> Client:
    if url not in _LOCAL:
        return Client(transport(url, settings), settings)
    connection = local.ensure(settings)
    return Client(transport(connection.url), settings, _revival(connection, settings))


def _revival(connection: Connection, settings: Settings) -> Revival | None:
    """For a cluster that is ours to start again."""
    return Revival(settings) if local.is_ours(connection) else None
