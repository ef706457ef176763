"""Ways to a broker, by the scheme of its URL."""

import importlib

from nbqueue.exceptions import ConfigurationError
from nbqueue.settings import Settings
from nbqueue.transports.base import Transport

# Loaded when a URL asks for them, so that nobody pays for a transport that he does not use.
_TRANSPORTS = {
    "zmq": ("nbqueue.transports.zmq", "ZmqTransport"),
    "redis": ("nbqueue.transports.redis", "RedisTransport"),
    "rediss": ("nbqueue.transports.redis", "RedisTransport"),
    "memory": ("nbqueue.transports.memory", "MemoryTransport"),
}

_BROKERLESS = ("redis", "rediss")


def transport(url: str, settings: Settings | None = None) -> Transport:
    """The transport for a broker's URL.

    ``settings`` are for those without a broker process, where each peer brings along what a broker has.

    Raises
    ------
    ConfigurationError
        There is no transport for its scheme, or the rest of it cannot be an address.
    """
    scheme, separator, _ = url.partition("://")
    if not separator or scheme not in _TRANSPORTS:
        known = ", ".join(f"{name}://" for name in _TRANSPORTS)
        raise ConfigurationError(f"no transport for {url!r}; there are: {known}")
    module, name = _TRANSPORTS[scheme]
    kind = getattr(importlib.import_module(module), name)
    made: Transport = kind(url, settings) if scheme in _BROKERLESS else kind(url)
    return made
