"""The one interface between a peer (client, worker) and its broker, whatever carries the messages.

A *link* is one peer's two-way connection.  It carries batches of messages in order, reconnects by
itself, and may lose what was under way when a connection breaks: acknowledgements in the protocol
(Accepted, Acknowledge, Held) make up for that, never the link.

A link belongs to one thread at a time; only :meth:`Link.wake` may be called from others.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from nbqueue.exceptions import ConnectionLostError
from nbqueue.messages import AnyMessage


class Link(ABC):
    """One peer's connection to a broker."""

    #: why messages do not get through just now, None when they do (or nothing is known against it)
    trouble: ConnectionLostError | None = None

    @abstractmethod
    def send(self, messages: Sequence[AnyMessage]) -> None:
        """Send a batch.  Never blocks for long: what cannot leave yet is kept in order, and dropped
        when the connection breaks.

        Raises
        ------
        ConnectionLostError
            The link is closed.
        """

    @abstractmethod
    def receive(self, timeout: float | None) -> list[AnyMessage]:
        """Wait up to ``timeout`` seconds (None: for ever, 0: not at all) for messages, and return all
        that are there, oldest first; an empty list when the time is over or :meth:`wake` was called.
        """

    @abstractmethod
    def wake(self) -> None:
        """Make a waiting (or the next) :meth:`receive` return at once.  Safe from any thread."""

    @abstractmethod
    def close(self) -> None:
        """Send what can be sent at once and let go of everything.  Closing twice is allowed."""


class Transport(ABC):
    """A way to a broker: makes links to it.  Safe to share between threads."""

    #: as in the ``broker`` setting
    url: str
    #: the result backend that keeps values of more than ``values_above`` bytes, since the broker does not; ""
    values_url: str = ""
    values_above: int = 0

    @abstractmethod
    def connect(self) -> Link:
        """Open a link; it is usable at once, and connects in the background.

        Raises
        ------
        ConfigurationError, AuthenticationError
            The address cannot be, or no key for it was found.
        """

    def close(self) -> None:
        """Let go of what the links share."""
