"""The one interface to what keeps the values of tasks in place of the broker.

A value is written by the executor that made it, before the broker hears how the task ended; a client that
has heard so asks for it.  States, errors, output and progress stay with the broker, and so does the
decision which run counts: a value is named by the task's id and the *lease token* of its run, so that one of
a run that came too late is never taken for the outcome's::

    executor ── store([value]) ──▶ backend ◀── load(id, token) ── client
        └────── Settle(outcome without value) ──▶ broker ──▶ Settle ─┘
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple


class StoredValue(NamedTuple):
    """What a run returned."""

    #: of the task
    id: str
    #: of the run
    token: int
    #: written by the task's ``result_serializer``; the backend need not read it
    data: bytes


class ResultBackend(ABC):
    """Keeps values.  Made with its URL once a process, and used from several threads.

    Raise what you like when it cannot be reached: ``get()`` shows it, and a task whose value could not be
    stored ends in FAILURE with it.
    """

    def __init__(self, url: str) -> None:
        self.url = url

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    @abstractmethod
    def store(self, values: Sequence[StoredValue], expires: float) -> None:
        """Keep these for ``expires`` seconds (0: for ever), in place of earlier ones of the same tasks.

        Returns when they are kept: the broker is told only then.
        """

    @abstractmethod
    def load(self, id: str, token: int) -> bytes | memoryview | None:
        """The value of that run; None if it is not there, or no more."""

    @abstractmethod
    def forget(self, ids: Sequence[str]) -> None:
        """Delete the values of these tasks, where they are there."""
