"""What clients ask: each topic has one who knows.

::

    noted                      nobody: the answer itself proves that what was said before has been dealt with
    inspect, control, purge    the panel, which may have to ask workers first
    all others                 ``inspect.TOPICS``, out of the broker's books

A client that is still to be told of its tasks is answered after that.
"""

from collections.abc import Callable
from typing import Final

from nbqueue import messages as m
from nbqueue.core import commands, inspect
from nbqueue.core.actions import Peer
from nbqueue.core.audience import Audience, ClientSession
from nbqueue.core.outbox import Outbox
from nbqueue.core.ownership import Ownership
from nbqueue.core.panel import Panel

NOTED: Final = "noted"
_OF_THE_PANEL: Final = (commands.INSPECT, commands.CONTROL, commands.PURGE)


class Questions:
    """See the module's docstring; ``books`` are what answers are made of, ``stop`` ends the broker."""

    def __init__(
        self,
        books: Callable[[], inspect.Books],
        stop: Callable[[str], None],
        ownership: Ownership,
        audience: Audience,
        remote: Panel,
        outbox: Outbox,
    ) -> None:
        self._books = books
        self._stop = stop
        self._ownership = ownership
        self._audience = audience
        self._panel = remote
        self._outbox = outbox

    def ask(self, peer: Peer, client: ClientSession, message: m.Ask, now: float) -> None:
        if self._audience.listens(client):
            self.answer(client, message, now)
        elif not self._audience.put_off(client, message):
            error = "too many questions wait until what was asked for before has been read"
            self._outbox.refuse(peer, message, error)

    def answer(self, client: ClientSession, message: m.Ask, now: float) -> None:
        """Answer now, or have workers asked for it."""
        try:
            if message.topic == NOTED:
                self._outbox.send(client.peer, m.Noted(message.number))
            elif message.topic in _OF_THE_PANEL:
                self._panel.ask(client, message, now)
            else:
                self._look_up(client, message, now)
        except (TypeError, ValueError, OverflowError) as error:
            self._outbox.refuse(client.peer, message, f"{message.topic}: {error}")

    def _look_up(self, client: ClientSession, message: m.Ask, now: float) -> None:
        topic = inspect.TOPICS.get(message.topic)
        if topic is None:
            others = ", ".join((*inspect.TOPICS, *_OF_THE_PANEL))
            objection = f"no topic is called {message.topic!r}; there are: {others}"
        else:
            objection = self._ownership.objection(client.key, [str(message.args.get("id", ""))])
        if topic is None or objection:
            self._outbox.refuse(client.peer, message, objection)
            return
        self._outbox.send(client.peer, m.Answer(message.number, topic(self._books(), message.args, now)))
        if message.topic == "stop":
            self._stop("asked to stop")
