"""How long a worker waits for a broker that is away, and what it says meanwhile."""

import logging
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Final

from nbqueue.wire import keys
from nbqueue.wire.keys import Connection
from nbqueue.worker.options import WorkerOptions

#: seconds without a broker after which a worker of the local cluster ends: whoever uses it starts another
LOCAL_PATIENCE: Final = 30.0
#: seconds without a broker until that is said again; twice as long each time
REMINDER: Final = 60.0


class Absence:
    """Since when there is no broker.  ``busy`` says how many tasks run, which are finished in any case: the
    broker may be back by then, and take the outcome."""

    def __init__(
        self, options: WorkerOptions, broker: Connection | None, log: logging.Logger, busy: Callable[[], int]
    ) -> None:
        #: None when there is one
        self.since: float | None = monotonic()
        self._options = options
        self._broker = broker
        self._log = log
        self._busy = busy
        #: seconds of absence that are said next
        self._reminder = REMINDER

    def end(self) -> None:
        """The broker is there."""
        self.since, self._reminder = None, REMINDER

    def verdict(self, *, linked: bool) -> tuple[int, str] | None:
        """The exit code and why, if it is not worth waiting any longer.  ``linked``: a connection is there,
        though nobody has answered on it yet."""
        if self.since is None:
            self.since = monotonic()
        broker = self._broker
        if self._options.local and not linked and broker is not None and _has_left(broker):
            return 0, "the broker has ended"
        away = monotonic() - self.since
        patience = LOCAL_PATIENCE if self._options.local else self._options.broker_patience
        busy = self._busy()
        if patience and away > patience and not busy:
            return 1, f"no broker for {away:.0f} s: giving up"
        if away > self._reminder:
            self._reminder *= 2
            running = f"; tasks that run: {busy}" if busy else ""
            self._log.warning("no broker for %.0f s; trying on%s", away, running)
        return None


def _has_left(connection: Connection) -> bool:
    """Whether that broker was a process of this machine and took its leave, rather than died to be started
    again, and none has taken its place."""
    if connection.pid == 0 or not connection.is_here or connection.is_alive:
        return False
    folder = Path(connection.data_dir)
    return keys.left_over(folder) is None and keys.running(folder) is None
