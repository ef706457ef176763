"""Where values of tasks are kept, by the setting ``backend``.

::

    None, rpc://         the broker keeps them, with the rest of the record
    disabled://          they are not kept
    redis://, rediss://  a Redis keeps them, whatever the broker is; the broker's own one is the broker
    proj.backends:Mine   a class of your own (see ``results.base``), made with that text;
                         ``proj.backends:Mine://…`` will do, too
"""

import importlib
import re
from typing import Final
from urllib.parse import parse_qs, urlsplit

from nbqueue.exceptions import ConfigurationError
from nbqueue.results.base import ResultBackend
from nbqueue.settings import shown_url

__all__ = ["DISABLED", "ResultBackend", "is_with_broker", "result_backend"]

DISABLED: Final = "disabled://"
# Loaded when a URL asks for them, so that nobody pays for a backend that he does not use.
_BACKENDS: Final[dict[str, tuple[str, str]]] = dict.fromkeys(
    ("redis", "rediss", "sentinel"), ("nbqueue.results.redis", "RedisBackend")
)
#: backends of Celery's that are none of ours
_ELSEWHERE: Final = (
    "amqp", "arangodb", "azureblockblob", "cache", "cassandra", "consul", "cosmosdbsql", "couchbase",
    "couchdb", "db", "django-cache", "django-db", "dynamodb", "elasticsearch", "file", "gs", "mongodb", "s3",
)  # fmt: skip
_DOTTED: Final = re.compile(r"[A-Za-z_][\w.]*[.:][A-Za-z_]\w*")

#: by URL; one a process is enough, for they are safe to share
_made: dict[str, ResultBackend] = {}


def is_with_broker(url: str | None, broker: str = "") -> bool:
    """Whether the broker keeps the values: because nothing else is named, or that one itself."""
    if not url or url.partition("://")[0] == "rpc":
        return True
    return bool(broker) and _place(url) == _place(broker) and _scheme(url) in _BACKENDS


def _scheme(url: str) -> str:
    """``redis`` of ``redis+sentinel://…``."""
    return url.partition("://")[0].partition("+")[0]


def _place(url: str) -> tuple[object, ...]:
    """What is the same of two URLs of one application in one Redis."""
    try:
        parts = urlsplit(url)
        app = parse_qs(parts.query).get("app")
        return parts.scheme, parts.hostname, parts.port or 6379, parts.path.strip("/") or "0", app
    except ValueError:
        return (url,)


def result_backend(url: str) -> ResultBackend:
    """The backend of a URL that is neither disabled nor the broker; the same for all who ask.

    Raises
    ------
    ConfigurationError
        There is no such kind, or no such class.
    """
    made = _made.get(url)
    if made is None:
        made = _made[url] = _class_of(url)(url)
    return made


def _class_of(url: str) -> type[ResultBackend]:
    kind = url.partition("://")[0]
    scheme = kind.partition("+")[0]
    if scheme in _BACKENDS:
        module, name = _BACKENDS[scheme]
    elif _DOTTED.fullmatch(kind):
        module, _, name = kind.rpartition(":" if ":" in kind else ".")
    else:
        known = ", ".join(["rpc://", DISABLED, *(f"{scheme}://" for scheme in _BACKENDS)])
        shown = repr(shown_url(url))
        found = f"{shown} is none of ours" if scheme in _ELSEWHERE else f"there is none for {shown}"
        raise ConfigurationError(
            f"result backends: {found}; there are: {known}, and a class of your own"
            " by its path, 'proj.backends:Mine'.  Without any, the broker keeps results"
        )
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(
            f"the result backend {shown_url(url)!r} cannot be loaded: {error}"
        ) from error
    if not (isinstance(found, type) and issubclass(found, ResultBackend)):
        raise ConfigurationError(f"{kind!r} is no subclass of nbqueue.results.ResultBackend")
    return found
