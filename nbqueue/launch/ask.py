"""One question to a broker, without a client: connect, say Hello, ask, take the answer, leave.

For the command line and the launcher, which want no I/O thread and nothing to drain at exit.
"""

import os
import socket
import time
import uuid
from typing import Any

from nbqueue._version import __version__
from nbqueue.exceptions import AuthenticationError, ConnectionLostError, NBQueueError, ProtocolError
from nbqueue.messages import CLIENT, Answer, AnyMessage, Ask, Goodbye, Hello, Refused, Unknown
from nbqueue.settings import Settings
from nbqueue.transports import transport
from nbqueue.transports.base import Link

#: Seconds for which "nobody listens" may still be a broker about to start.
_PATIENCE = 0.5


def ask(url: str, topic: str, *, timeout: float = 5.0, settings: Settings | None = None, **args: Any) -> Any:
    """Put one question to the broker at ``url`` and return the answer's data.

    Parameters
    ----------
    topic
        What to ask, as in ``nbqueue.core.inspect``: ``status``, ``tasks``, ``why``, ``stop``.
    timeout
        Seconds.
    settings
        For brokers that are no process: see ``transports.transport``.

    Raises
    ------
    ConnectionLostError
        Nobody listens there or answers in time; its subclasses say that the key or the version is wrong.
    NBQueueError
        The broker did not understand the question.
    """
    link = transport(url, settings).connect()
    try:
        return _Question(topic, args).put(link, url, time.monotonic() + timeout)
    finally:
        link.send([Goodbye()])
        link.close()


class _Question:
    """What is said, and said again when the broker does not know us."""

    def __init__(self, topic: str, args: dict[str, Any]) -> None:
        hello = Hello(
            role=CLIENT,
            id=uuid.uuid4().hex,
            version=__version__,
            host=socket.gethostname(),
            pid=os.getpid(),
        )
        self.words = (hello, Ask(number=1, topic=topic, args=args))

    def put(self, link: Link, url: str, deadline: float) -> Any:
        link.send(self.words)
        patience = time.monotonic() + _PATIENCE
        while (now := time.monotonic()) < deadline:
            for message in link.receive(min(0.1, deadline - now)):
                if isinstance(message, Answer):
                    return _data(message)
                self._mind(message, link)
            if link.trouble is not None and (_is_final(link.trouble) or now > patience):
                raise link.trouble
        raise link.trouble or ConnectionLostError(f"the broker at {url} does not answer")

    def _mind(self, message: AnyMessage, link: Link) -> None:
        if isinstance(message, Refused):
            raise ProtocolError(message.reason)
        if isinstance(message, Unknown):
            link.send(self.words)


def _is_final(trouble: ConnectionLostError) -> bool:
    return isinstance(trouble, AuthenticationError | ProtocolError)


def _data(answer: Answer) -> Any:
    if answer.error:
        raise NBQueueError(answer.error)
    return answer.data
