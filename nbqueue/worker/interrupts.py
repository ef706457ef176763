"""Interrupting the task that runs, and never the one after it.

Another thread asks for an exception in the thread that runs tasks.  By the time it gets there the
task may have ended; so each run passes a :class:`Gate`, and an interrupt goes through only while the
run that it was meant for is inside.
"""

import _thread
import signal
import sys
import threading
from time import sleep
from types import FrameType
from typing import Final

from nbqueue.exceptions import SoftTimeLimitExceeded

CANCEL: Final = "cancel"
#: seconds until an interrupt that was swallowed is raised again
_UNTIL_AGAIN: Final = 0.01


def _exception(reason: str) -> type[BaseException]:
    return KeyboardInterrupt if reason == CANCEL else SoftTimeLimitExceeded


class Gate:
    """The gate of an executor that runs tasks in its process' main thread: SIGINT goes through it.

    A SIGINT that nobody asked for (Ctrl-C in a terminal) is ignored: the supervisor decides.
    """

    def __init__(self) -> None:
        #: token and reason of the interrupt that was raised last
        self._raised: tuple[int, str] | None = None
        self._inside = 0
        self._request: tuple[int, str] | None = None
        self._thread = threading.get_ident()
        self._next_hook = sys.unraisablehook

    def attach(self) -> None:
        """Prepare for the next runs, whatever the last one did.  Called by the thread that runs tasks."""
        if signal.getsignal(signal.SIGINT) != self._on_signal:
            signal.signal(signal.SIGINT, self._on_signal)
        if sys.unraisablehook != self._on_unraisable:
            self._next_hook, sys.unraisablehook = sys.unraisablehook, self._on_unraisable

    def enter(self, token: int) -> None:
        """The run under that lease begins; raises at once if its interrupt came earlier."""
        self._inside = token
        self._let_through()

    def leave(self) -> None:
        """The run has ended: nothing is raised any more."""
        self._inside = 0

    def interrupt(self, token: int, reason: str) -> None:
        """Raise KeyboardInterrupt ("cancel") or SoftTimeLimitExceeded in that run.  From any thread."""
        self._request = (token, reason)
        signal.pthread_kill(self._thread, signal.SIGINT)

    def cancelled(self, token: int) -> bool:
        """Whether that run was cancelled, before it began or while it was on."""
        return (token, CANCEL) in (self._raised, self._request)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._let_through()

    def _on_unraisable(self, swallowed: "sys.UnraisableHookArgs") -> None:
        """What Python calls with an exception that it cannot raise, as in a ``__del__`` or a callback of
        the garbage collector.  If that was the interrupt, the task would go on: raise it again."""
        if self._raised and self._inside and swallowed.exc_type is _exception(self._raised[1]):
            # by another thread and a moment later, since what is raised in here is swallowed too;
            # threading's locks may be held by the code that was interrupted
            _thread.start_new_thread(self._interrupt_again, self._raised)
        else:
            self._next_hook(swallowed)

    def _interrupt_again(self, token: int, reason: str) -> None:
        sleep(_UNTIL_AGAIN)
        if self._inside == token:
            self.interrupt(token, reason)

    def _let_through(self) -> None:
        if self._request is not None and self._request[0] == self._inside:
            self._raised, self._request = self._request, None
            raise _exception(self._raised[1])


class ThreadGate(Gate):
    """The gate of an executor that runs tasks in any other thread: Python raises there at its next
    byte code, so what blocks in C (``time.sleep``) ends first."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        #: something was raised that may still be on its way
        self._thrown = False

    def attach(self) -> None:
        self._thread = threading.get_ident()

    def enter(self, token: int) -> None:
        with self._lock:
            super().enter(token)

    def leave(self) -> None:
        while True:
            try:
                with self._lock:
                    self._inside = 0
                    if self._thrown:
                        self._throw(None)
                        self._thrown = False
                return
            except (KeyboardInterrupt, SoftTimeLimitExceeded):
                # raised a moment too late: the run is over
                continue

    def interrupt(self, token: int, reason: str) -> None:
        with self._lock:
            if self._inside == token:
                self._raised = (token, reason)
                self._thrown = True
                self._throw(_exception(reason))
            else:
                self._request = (token, reason)

    def _throw(self, exception: type[BaseException] | None) -> None:
        # slow to import, and needed here only
        import ctypes

        target = None if exception is None else ctypes.py_object(exception)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self._thread), target)
