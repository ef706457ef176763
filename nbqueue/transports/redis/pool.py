"""Connections for what is asked and answered at once, from any thread: values in a result backend, payloads
that are too large to be pushed.

Links listen to channels, and Redis hangs up on listeners that are sent more than 32 MB at once.  These
connections listen to nothing, so they may carry what is large; and each is one thread's while it is used::

    pool.use(ask, patience=5.0) ─▶ a connection that is free, or a new one ─▶ ask(wire)
                                   it broke: another one, until that time is over

What is asked may be asked twice, since nobody knows how far a connection that broke has come.
"""

import os
import threading
import time
from collections.abc import Callable
from typing import Final, TypeVar

from nbqueue.transports.redis.address import Address
from nbqueue.transports.redis.reach import Broken
from nbqueue.transports.redis.wire import Wire

T = TypeVar("T")

#: connections that are kept for the next who asks
_KEPT: Final = 4
#: seconds until the next try: the first, and at most
_SOON: Final = 0.05
_LATEST: Final = 1.0


class Pool:
    """See the module's docstring.  A forked child makes its own connections."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._lock = threading.Lock()
        self._free: list[Wire] = []
        self._pid = os.getpid()
        #: the node that has the application now, if it is not the one that the address names
        self._node: tuple[str, int] | None = None

    def use(self, ask: Callable[[Wire], T], patience: float) -> T:
        """What ``ask`` returns; it gets a connection, and is called again with another one if that breaks.

        Parameters
        ----------
        patience
            Seconds for which it is tried.

        Raises
        ------
        ConnectionLostError
            Redis could not be reached; its subclasses and its text say why.
        """
        deadline, pause = time.monotonic() + patience, 0.0
        while True:
            try:
                return self._used(ask)
            except Broken as broken:
                self._node = broken.moved
                if broken.final or time.monotonic() + pause > deadline:
                    raise broken.trouble from None
                if not broken.moved:
                    time.sleep(pause)
                    pause = min(_LATEST, max(_SOON, 2 * pause))

    def close(self) -> None:
        """Close what nobody uses just now."""
        with self._lock:
            free, self._free = self._free, []
        if os.getpid() == self._pid:
            for wire in free:
                wire.close()

    def _used(self, ask: Callable[[Wire], T]) -> T:
        wire = self._taken() or Wire(self._address, self._node, with_scripts=False)
        try:
            answer = ask(wire)
        except BaseException:  # replies to come are nobody's: interrupted ones too
            wire.close()
            raise
        with self._lock:
            if len(self._free) < _KEPT and self._pid == os.getpid():
                self._free.append(wire)
                return answer
        wire.close()
        return answer

    def _taken(self) -> Wire | None:
        with self._lock:
            if self._pid != os.getpid():  # those of the parent are not ours to close
                self._pid, self._free = os.getpid(), []
            return self._free.pop() if self._free else None
