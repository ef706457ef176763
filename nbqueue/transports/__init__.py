"""Ways to a broker, by the scheme of its URL."""

import importlib
import re

from nbqueue.exceptions import ConfigurationError
from nbqueue.settings import Settings, shown_url
from nbqueue.transports.base import Transport

# Loaded when a URL asks for them, so that nobody pays for a transport that he does not use.
_TRANSPORTS = {
    "zmq": ("nbqueue.transports.zmq", "ZmqTransport"),
    "redis": ("nbqueue.transports.redis", "RedisTransport"),
    "rediss": ("nbqueue.transports.redis", "RedisTransport"),
    "sentinel": ("nbqueue.transports.redis", "RedisTransport"),
    "memory": ("nbqueue.transports.memory", "MemoryTransport"),
}
_BROKERLESS = ("redis", "rediss", "sentinel")

#: a class of one's own: ``proj.transports:Mine://…``
_DOTTED = re.compile(r"[A-Za-z_][\w.]*[.:][A-Za-z_]\w*")
#: brokers of Celery's that are none of ours
_ELSEWHERE = {
    **dict.fromkeys(("amqp", "amqps", "pyamqp", "librabbitmq", "qpid"), "RabbitMQ"),
    "sqs": "Amazon SQS",
    "gcpubsub": "Google Pub/Sub",
    "kafka": "Kafka",
    "confluentkafka": "Kafka",
    "mongodb": "MongoDB",
    "zookeeper": "ZooKeeper",
    "consul": "Consul",
    "etcd": "etcd",
    "filesystem": "a folder",
    **dict.fromkeys(("db", "sqla", "sqlalchemy", "django"), "a database"),
    **dict.fromkeys(("azurestoragequeues", "azureservicebus"), "Azure"),
}


def _own(path: str, url: str) -> Transport:
    """One of a class of the user's own, by its dotted path."""
    module, _, name = path.rpartition(":" if ":" in path else ".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(f"the broker {shown_url(url)!r} cannot be loaded: {error}") from error
    if not (isinstance(found, type) and issubclass(found, Transport)):
        raise ConfigurationError(f"{path!r} is no subclass of nbqueue.transports.base.Transport")
    return found(url)  # type: ignore[call-arg]  # what a transport is made with


def transport(url: str, settings: Settings | None = None) -> Transport:
    """The transport for a broker's URL.

    ``settings`` are for those without a broker process, where each peer brings along what a broker has.

    Raises
    ------
    ConfigurationError
        There is no transport for its scheme, or the rest of it cannot be an address.
    """
    scheme, separator, _ = url.partition("://")
    if separator and _DOTTED.fullmatch(scheme):
        return _own(scheme, url)
    scheme = scheme.partition("+")[0]  # of redis+sentinel://
    if not separator or scheme not in _TRANSPORTS:
        known = ", ".join(f"{name}://" for name in _TRANSPORTS)
        shown = shown_url(url)
        if scheme in _ELSEWHERE:
            raise ConfigurationError(
                f"{_ELSEWHERE[scheme]} as broker ({shown!r}) is not supported; there are: {known}."
                "  Leave the broker out, or set NBQUEUE_BROKER=zmq:// which wins over what code says, and the"
                " local cluster is started on first use; for several machines, `nbqueue broker` and zmq://HOST:PORT"
            )
        raise ConfigurationError(f"no transport for {shown!r}; there are: {known}")
    module, name = _TRANSPORTS[scheme]
    kind = getattr(importlib.import_module(module), name)
    made: Transport = kind(url, settings) if scheme in _BROKERLESS else kind(url)
    return made
