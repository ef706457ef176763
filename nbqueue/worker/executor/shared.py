"""The exchange of an executor that runs several tasks at once: the link stays with the main thread, which
listens for a moment, reports for all runs, and sends how they ended.

Runs are begun by the main thread and end in others, which put their ending into a queue and wake it.
"""

import threading
from collections import deque
from collections.abc import Iterable
from time import monotonic
from typing import Any, Final

from nbqueue.core.worker import RunEnd
from nbqueue.messages import EXECUTOR, AnyMessage, Define, Need
from nbqueue.transports.base import Link
from nbqueue.worker import context
from nbqueue.worker.executor.exchange import ASK_AGAIN, Exchange, Run

#: seconds between two looks at what runs report
TICK: Final = 0.025


class _Wanted:
    """A blob that a run waits for."""

    def __init__(self) -> None:
        self.came = threading.Event()
        self.blob = b""


class SharedExchange(Exchange):
    """See the module's docstring."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._ended: deque[tuple[Run, RunEnd]] = deque()
        #: set whenever a run has ended
        self._news = threading.Event()
        self._awaited: dict[str, _Wanted] = {}
        self._beat_at = 0.0

    # ── the main thread's side ───────────────────────────────────────────────────────────────

    def listen(self) -> None:
        """Take in what is there, waiting for it a while; report, and send what has ended."""
        now = monotonic()
        timeout = max(0.0, min(TICK if self.runs else self.heartbeat, self._beat_at - now))
        with self._link_lock:
            messages = self._receive(0.0 if self._core.can_take or self._ended else timeout)
            self._handle(EXECUTOR, messages, self._link)
            self._take_ended()
            if self._left:
                return
            self._report()
            self._send_waiting(self._link)
            if monotonic() >= self._beat_at:
                self._beat_at = monotonic() + self.heartbeat
                self._beat()

    def settle(self) -> None:
        """Once draining, wait a moment for runs to end; what they said goes by the control link."""
        self._news.wait(TICK)
        self._news.clear()
        with self._link_lock:
            self._take_ended()

    def _take_ended(self) -> None:
        while self._ended:
            run, ending = self._ended.popleft()
            self._events += run.reports.collect(last=True)
            self._forget(run, ending)

    def wake(self) -> None:
        """There is something to be sent.  From any thread."""
        self._link.wake()

    # ── the places' side ─────────────────────────────────────────────────────────────────────

    def ended(self, run: Run, ending: RunEnd) -> None:
        """A run has ended; from any thread."""
        self._ended.append((run, ending))
        self._news.set()
        self._link.wake()

    def fetch(self, key: str) -> bytes:
        """A blob of the broker's; see :meth:`Exchange.fetch`.  From any place's thread."""
        with self._core_lock:
            wanted = self._awaited.setdefault(key, _Wanted())
        while not wanted.came.is_set():
            self._check_worth_waiting()
            with self._core_lock:
                self._said.append(Need(key))
            self._link.wake()
            wanted.came.wait(ASK_AGAIN)
        return wanted.blob

    def _check_worth_waiting(self) -> None:
        current = context.current()
        if current is not None and self._gate.cancelled(current.reports.token):
            raise KeyboardInterrupt
        self._check_way()

    def _handle(self, role: str, messages: Iterable[AnyMessage], outlet: Link) -> None:
        messages = list(messages)
        for message in messages:
            if isinstance(message, Define):
                with self._core_lock:
                    wanted = self._awaited.pop(message.key, None)
                if wanted is not None:
                    wanted.blob = message.blob
                    wanted.came.set()
        super()._handle(role, messages, outlet)

    def attend(self, link: Link) -> None:
        """What :meth:`listen` does, for the time in which the main thread does something else."""
        if self._ended and self._link_lock.acquire(blocking=False):
            try:
                self._take_ended()
            finally:
                self._link_lock.release()
        super().attend(link)
