"""The control thread: what an executor hears and says while its main thread runs a task.

It listens on a link of its own (Recall, Drop, Interrupt), and every ``TICK`` while there is work it
attends to the run: reports that it started, how far it is, what it printed.  When nothing ran for a
while it sleeps from heartbeat to heartbeat, and the main thread wakes it with the next task.
"""

import threading
from time import monotonic
from typing import Final

from nbqueue.transports.base import Link
from nbqueue.worker.executor.exchange import Exchange

#: seconds between two looks at the run that is going on
TICK: Final = 0.025
#: seconds without a run after which it sleeps
DROWSY: Final = 1.0


class Control(threading.Thread):
    """See the module's docstring.  It owns ``link`` until it has been joined."""

    def __init__(self, link: Link, exchange: Exchange) -> None:
        super().__init__(name="nbqueue control", daemon=True)
        self.link = link
        self._exchange = exchange
        self._asleep = False
        self._stopped = False

    def notice(self) -> None:
        """A run begins.  Called by the main thread, each time: costs nothing when awake."""
        if self._asleep:
            self._asleep = False
            self.link.wake()

    def stop(self) -> None:
        """End the thread, after its goodbye on the main link if the executor drains."""
        self._stopped = True
        self.link.wake()
        self.join()

    def run(self) -> None:
        try:
            self._serve()
        except Exception as error:
            # without it nothing could be cancelled or reported: better no executor than a deaf one
            self._exchange.fail(f"the control thread failed: {error!r}")
            raise

    def _serve(self) -> None:
        exchange = self._exchange
        exchange.introduce_control(self.link)
        next_beat = monotonic() + exchange.heartbeat
        busy_at = 0.0
        away = False
        while True:
            stopped = self._stopped
            if exchange.draining:
                exchange.leave(self.link)
            if stopped:
                return
            now = monotonic()
            if exchange.runs:
                busy_at = now
            exchange.attend(self.link)
            if now >= next_beat:
                next_beat = now + exchange.heartbeat
                exchange.beat(self.link)
            exchange.listen_control(self.link, self._patience(now, busy_at, next_beat))
            was_away, away = away, self.link.trouble is not None
            if was_away and not away:
                next_beat = now  # a broker that does not know us says so

    def _patience(self, now: float, busy_at: float, next_beat: float) -> float:
        """How long to wait for messages."""
        self._asleep = now - busy_at > DROWSY
        # looked at after _asleep was set: a run that began before is seen here, one after wakes us
        if self._asleep and not self._exchange.runs:
            return max(0.0, next_beat - now)
        self._asleep = False
        return min(TICK, max(0.0, next_beat - now))
