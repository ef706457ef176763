"""Ways to a broker, by the scheme of its URL."""

import importlib

from nbqueue.exceptions import ConfigurationError
from nbqueue.transports.base import Transport

# Loaded when a URL asks for them, so that nobody pays for a transport that he does not use.
_TRANSPORTS = {
    "zmq": ("nbqueue.transports.zmq", "ZmqTransport"),
    "memory": ("nbqueue.transports.memory", "MemoryTransport"),
}


def transport(url: str) -> Transport:
    """The transport for a broker's URL.

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
    made: Transport = getattr(importlib.import_module(module), name)(url)
    return made
