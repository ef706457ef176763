"""The thread that draws.

Widgets are redrawn when the client's I/O thread says that something changed.  Drawing reads views, renders
tracebacks, calls ``repr`` of people's values and signs messages: none of that may hold up the I/O thread,
nor wait for a cell to end.  So all of it happens here, one job after the other.
"""

import logging
import threading
from collections.abc import Callable
from queue import SimpleQueue

logger = logging.getLogger(__name__)

Job = Callable[[], None]


class Painter:
    """Runs jobs in the order in which they were posted, in a daemon thread of its own."""

    def __init__(self) -> None:
        self._jobs: SimpleQueue[Job] = SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def post(self, job: Job) -> None:
        """Have a job run soon; never blocks, safe from any thread."""
        self._jobs.put(job)
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="nbqueue-painter", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            run_safely(self._jobs.get())


def run_safely(job: Job) -> None:
    """Run a job; what it raises is logged: a widget that cannot be drawn must not disturb the notebook."""
    try:
        job()
    except Exception:
        logger.warning("A result could not be drawn.", exc_info=True)


#: the kernel's one painter
painter = Painter()
