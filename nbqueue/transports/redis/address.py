"""URLs of a Redis: where it is, who we are there, and the application.

::

    redis://[[USER]:PASSWORD@]HOST[:PORT][,HOST[:PORT]…][/DB][?app=NAME]     rediss:// for TLS
    sentinel://[[USER]:PASSWORD@]HOST[:PORT][,HOST[:PORT]…]/[DB]?master_name=NAME

Of several hosts the first that answers is used: nodes of a Cluster, which tell of the others, or Sentinels,
which know where the master is.  Celery's way of writing them will do, too: ``redis://H1;redis://H2``, and so
will ``redis+sentinel://HOSTS/NAME/DB`` (``rediss+sentinel://`` for TLS).  What else stands behind ``?`` is
redis-py's: ``ssl_ca_certs=ca.pem``, ``ssl_certfile``, ``ssl_keyfile``, …

A password need not be in the URL, which others may see: NBQUEUE_REDIS_PASSWORD holds it as well, and that of
the Sentinels NBQUEUE_SENTINEL_PASSWORD.
"""

import os
import re
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from redis.connection import AbstractConnection, Connection, parse_url

from nbqueue.exceptions import ConfigurationError
from nbqueue.settings import shown_url

#: a host and its port
Node = tuple[str, int]

PASSWORD: Final = "NBQUEUE_REDIS_PASSWORD"
SENTINEL_PASSWORD: Final = "NBQUEUE_SENTINEL_PASSWORD"
DEFAULT_APP: Final = "default"
SCHEMES: Final = ("redis", "rediss", "sentinel", "redis+sentinel", "rediss+sentinel")
_APP: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
#: names of the master in the query of a URL
_MASTER: Final = ("master_name", "service_name", "master")
#: seconds that a connection may take to come about
_CONNECT: Final = 2.0
#: seconds for each answer of the handshake
_HANDSHAKE: Final = 5.0
_PORT: Final = 6379
_SENTINEL_PORT: Final = 26379


class Address:
    """A URL taken apart.

    Raises
    ------
    ConfigurationError
        It is no such URL.
    """

    def __init__(self, url: str) -> None:
        #: without the password, for people
        self.url = shown_url(url)
        self._parts = _Parts(url)
        self.app = self._parts.query.pop("app", DEFAULT_APP)
        if not _APP.fullmatch(self.app):
            raise ConfigurationError(
                f"app={self.app!r}: letters, digits, dots, hyphens and underscores name one"
            )
        #: what Sentinels call the set, "" if there are none
        self.master = self._master()
        try:
            self._set_options()
            self._nodes = [
                _node(host, _SENTINEL_PORT if self.master else _PORT) for host in self._parts.hosts
            ]
        except (ValueError, TypeError) as error:
            raise ConfigurationError(f"{self.url} is no address of a Redis: {error}") from None
        self.host, self.port = self._nodes[0]
        #: others of the same Cluster
        self._others: list[Node] = []

    def _master(self) -> str:
        """The name that Sentinels know the set by."""
        named = [self._parts.query.pop(name) for name in _MASTER if name in self._parts.query]
        if not self._parts.by_sentinel:
            return ""
        path = [part for part in self._parts.path if not part.isdecimal()]
        if not (named or path):
            raise ConfigurationError(
                f"{self.url}: name the set that these Sentinels watch: sentinel://HOST:PORT/0?master_name=NAME"
            )
        return (named or path)[0]

    def _set_options(self) -> None:
        parts = self._parts
        database = next((part for part in parts.path if part.isdecimal()), "")
        if not self.master and parts.path and not database:
            raise ValueError(f"{'/'.join(parts.path)!r} is no number of a database")
        scheme = "rediss" if parts.tls else "redis"
        plain = f"{scheme}://{parts.user}localhost/{database}?{urlencode(parts.query)}"
        options: dict[str, Any] = dict(_parsed(plain))
        self._class: type[AbstractConnection] = options.pop("connection_class", Connection)
        self.password = str(options.get("password") or os.environ.get(PASSWORD) or "")
        self._username = options.get("username")
        self._options = {**options, "password": self.password or None, **_OURS}
        self._class(**self._options)  # tells of options that there are not

    @property
    def public_url(self) -> str:
        """The URL with everything but the password, for another machine."""
        parts = self._parts
        user = f"{quote(self._username)}@" if self._username else ""
        asked = {name: value for name, value in parts.query.items() if "password" not in name}
        asked |= {"master_name": self.master} if self.master else {}
        asked |= {"app": self.app} if self.app != DEFAULT_APP else {}
        path = "/".join(["", *(part for part in parts.path if part.isdecimal() or not self.master)])
        query = f"?{urlencode(asked)}" if asked else ""
        return f"{parts.scheme}://{user}{','.join(parts.hosts)}{path}{query}"

    # ── nodes ────────────────────────────────────────────────────────────────────────────────

    def nodes(self) -> Iterator[Node]:
        """Where to try, in order: the hosts that were named (Sentinels, if there is a master), then others of
        the same Cluster."""
        yield from self._nodes
        yield from self._others

    def learn(self, nodes: list[Node]) -> None:
        """These are nodes of the same Cluster."""
        self._others = [node for node in nodes if node not in self._nodes]

    def connection(self, node: Node) -> AbstractConnection:
        """A connection that is not open yet, to one node."""
        return self._class(**{**self._options, "host": node[0], "port": node[1]})

    def sentinel(self, node: Node) -> AbstractConnection:
        """The same to a Sentinel, which has a password of its own, and no databases."""
        own = {"username": None, "password": os.environ.get(SENTINEL_PASSWORD) or None, "db": 0}
        return self._class(**{**self._options, **own, "host": node[0], "port": node[1]})


#: what redis-py is told beside what the URL says: its own limits on time and its tries would end a wait, or
#: say a command twice
_OURS: Final[dict[str, Any]] = {
    "protocol": 3,
    "socket_connect_timeout": _CONNECT,
    "socket_timeout": _HANDSHAKE,
    "retry": None,
    "maint_notifications_config": None,
}


class _Parts:
    """What stands where in a URL, of which there may be several, with semicolons between them."""

    def __init__(self, url: str) -> None:
        self.scheme = url.partition("://")[0]
        if self.scheme not in SCHEMES:
            raise ConfigurationError(f"{shown_url(url)} is no address of a Redis")
        hosts: list[str] = []
        self.user = ""
        self.path: list[str] = []
        self.query: dict[str, str] = {}
        for one in url.split(";"):
            parts = urlsplit(one if "://" in one else f"{self.scheme}://{one}")
            user, at, named = parts.netloc.rpartition("@")
            self.user = f"{user}@" if at else self.user
            hosts += named.split(",")
            self.path = [unquote(part) for part in parts.path.split("/") if part] or self.path
            self.query |= dict(parse_qsl(parts.query, keep_blank_values=True))
        self.hosts = [host for host in hosts if host] or ["localhost"]
        self.by_sentinel = "sentinel" in self.scheme
        self.tls = self.scheme in ("rediss", "rediss+sentinel")


def _node(text: str, port: int) -> Node:
    parts = urlsplit(f"//{text}")
    return parts.hostname or "localhost", parts.port or port


def _parsed(url: str) -> dict[str, Any]:
    options: dict[str, Any] = parse_url(url)
    options.pop("host", None)
    return options
