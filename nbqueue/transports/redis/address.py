"""``redis://`` URLs: where Redis is, who we are there, and the application.

::

    redis://[[USER]:PASSWORD@]HOST[:PORT][/DB][?app=NAME]        rediss:// for TLS

What else stands behind ``?`` is redis-py's: ``ssl_ca_certs=ca.pem``, ``ssl_certfile``, ``ssl_keyfile``, …  A
password need not be in the URL, which others may see: NBQUEUE_REDIS_PASSWORD holds it as well.
"""

import os
import re
from typing import Any, Final
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from redis.connection import AbstractConnection, Connection, parse_url

from nbqueue.exceptions import ConfigurationError
from nbqueue.settings import shown_url

PASSWORD: Final = "NBQUEUE_REDIS_PASSWORD"
DEFAULT_APP: Final = "default"
_APP: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
#: seconds that a connection may take to come about
_CONNECT: Final = 2.0
#: seconds for each answer of the handshake
_HANDSHAKE: Final = 5.0


class Address:
    """A URL taken apart.

    Raises
    ------
    ConfigurationError
        It is no such URL.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        self.app = query.pop("app", DEFAULT_APP)
        if not _APP.fullmatch(self.app):
            raise ConfigurationError(
                f"app={self.app!r}: letters, digits, dots, hyphens and underscores name one"
            )
        try:
            options: dict[str, Any] = dict(_parsed(urlunsplit(parts._replace(query=urlencode(query)))))
            self._class: type[AbstractConnection] = options.pop("connection_class", Connection)
            self._options = {**options, **self._ours(options)}
            self._class(**self._options)  # tells of options that there are not
        except (ValueError, TypeError) as error:
            raise ConfigurationError(f"{shown_url(url)} is no address of a Redis: {error}") from None
        self.host = str(options.get("host", "localhost"))
        self.port = int(options.get("port", 6379))
        self.password = str(self._options["password"] or "")
        #: without the password, for people
        self.url = shown_url(url)
        self._username = options.get("username")
        self._parts = parts

    @property
    def public_url(self) -> str:
        """The URL with everything but the password, for another machine."""
        user = f"{quote(self._username)}@" if self._username else ""
        where = self._parts.netloc.rpartition("@")[2]
        asked = [pair for pair in parse_qsl(self._parts.query) if "password" not in pair[0]]
        return urlunsplit(self._parts._replace(netloc=user + where, query=urlencode(asked)))

    @staticmethod
    def _ours(options: dict[str, Any]) -> dict[str, Any]:
        """What redis-py is told beside what the URL says: its own limits on time and its tries would end a
        wait, or say a command twice."""
        return {
            "password": options.get("password") or os.environ.get(PASSWORD) or None,
            "protocol": 3,
            "socket_connect_timeout": _CONNECT,
            "socket_timeout": _HANDSHAKE,
            "retry": None,
            "maint_notifications_config": None,
        }

    def connection(self, host: str = "", port: int = 0) -> AbstractConnection:
        """A connection that is not open yet; to another node of the same set, if one is named."""
        options = dict(self._options)
        if host:
            options.update(host=host, port=port)
        return self._class(**options)


def _parsed(url: str) -> dict[str, Any]:
    options: dict[str, Any] = parse_url(url)  # type: ignore[no-untyped-call]
    return options
