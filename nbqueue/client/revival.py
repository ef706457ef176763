"""The local cluster, brought back when it dies under a client.

::

    no way to the broker ─▶ is its process there?
        yes                    it will answer again, or zmq connects anew
        no, it took its leave  the cluster was stopped, and stays so until its next use
        no, it died            start it again

Of several kernels that notice, one starts it (``launch.local.revive`` has a lock); the others find it
started.  All count its deaths, so that one which keeps dying is given up by all.  The worker is looked
after in the same way, as long as this client has tasks for it.

Starting takes a while, so it has a thread of its own; everything else is the client's I/O thread's.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Final

from nbqueue.exceptions import NBQueueError
from nbqueue.launch import local, workers
from nbqueue.settings import Settings
from nbqueue.wire import keys
from nbqueue.wire.keys import Connection

logger = logging.getLogger(__name__)

#: how often within PERIOD seconds the broker, or the worker, is started again
MAX_STARTS: Final = 3
PERIOD: Final = 60.0
#: seconds between two looks for a broker that is away
LOOK: Final = 0.2


class Revival:
    """See the module's docstring.  Made when the client connects to the local cluster."""

    def __init__(self, settings: Settings) -> None:
        #: the broker has died, and is about to be back
        self.under_way = False
        self._settings = settings
        self._folder = keys.data_dir()
        self._look_at = 0.0
        #: pid of the dead broker that was counted last
        self._counted = 0
        self._deaths: deque[float] = deque(maxlen=MAX_STARTS + 1)
        self._worker_starts: deque[float] = deque(maxlen=MAX_STARTS)
        self._thread: threading.Thread | None = None
        self._failure = ""

    def look_for_broker(self) -> str:
        """There is no way to the broker: start it if it has died.

        Returns
        -------
        str
            Why it will not be back by itself; "" while it is there or may be back.
        """
        now = monotonic()
        if now < self._look_at or self._is_starting:
            return ""
        self._look_at = now + LOOK
        if keys.running(self._folder) is not None:
            self.under_way = False
            return ""
        dead = keys.left_over(self._folder)
        reason = self._mourn(dead, now) if dead is not None else "the local cluster was stopped"
        self.under_way = not reason
        return reason

    def back(self) -> None:
        """There is a way to the broker again."""
        self.under_way = False
        self._failure = ""
        self._look_at = 0.0

    def look_for_worker(self, is_needed: Callable[[], bool]) -> None:
        """The broker is there: start a worker if this environment's has died, and ``is_needed()``."""
        connection = keys.running(self._folder)
        if connection is None or self._is_starting or not workers.has_died(connection) or not is_needed():
            return
        now = monotonic()
        starts = self._worker_starts
        if len(starts) < MAX_STARTS or now - starts[0] > PERIOD:
            starts.append(now)
            logger.warning("the worker of the local cluster died: starting another")
            self._start()

    def _mourn(self, dead: Connection, now: float) -> str:
        """Start the successor; returns why not, if it is not to be."""
        if self._failure:
            return self._failure
        if dead.pid != self._counted:
            self._counted = dead.pid
            self._deaths.append(now)
        if len(self._deaths) > MAX_STARTS and now - self._deaths[0] <= PERIOD:
            return f"it died {len(self._deaths)} times within {PERIOD:g} s; {local.last_words()}"
        if keys.data_dir() != self._folder:
            return "this process uses another data folder by now"
        logger.warning("the broker of the local cluster died (pid %d): starting it again", dead.pid)
        self._start()
        return ""

    @property
    def _is_starting(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._revive, name="nbqueue revival", daemon=True)
        self._thread.start()

    def _revive(self) -> None:
        try:
            local.revive(self._settings)
        except NBQueueError as error:
            dead = keys.left_over(self._folder)
            if dead is not None and dead.pid != self._counted:
                return  # it did start, and died at once: that is counted, and tried again
            self._failure = f"it does not start again: {error}"
            logger.warning("the local cluster does not start again: %s", error)
