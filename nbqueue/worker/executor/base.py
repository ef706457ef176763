"""What executors do alike, however many tasks they run at once: begin, listen, work, leave."""

from abc import ABC, abstractmethod
from typing import Final

from nbqueue.transports.base import Link
from nbqueue.worker import output, tqdm
from nbqueue.worker.executor.control import Control
from nbqueue.worker.executor.exchange import Exchange
from nbqueue.worker.executor.quota import Quota

#: seconds that an executor which leaves waits for the last acknowledgements
FAREWELL: Final = 5.0


class BaseExecutor(ABC):
    """Runs tasks until told to stop.

    Usable in any thread: :meth:`run` there, :meth:`stop` from another one.
    """

    #: no notebook runs in this process
    _alone = True

    def __init__(self, exchange: Exchange, control: Link, quota: Quota | None) -> None:
        #: it has done as much as it may
        self.retired = False
        self._exchange = exchange
        self._control = Control(control, exchange)
        self._quota = quota

    @property
    def refused(self) -> str:
        """Why it ended although nobody stopped it, for instance what the broker has against it; else ""."""
        return self._exchange.refused

    def run(self) -> None:
        """Work until :meth:`stop`, or until the broker refuses (see :attr:`refused`)."""
        tqdm.install(notebook=self._alone)
        self._exchange.introduce()
        self._control.start()
        with output.captured_streams():
            while not (self._exchange.draining or self._exchange.refused):
                self._exchange.listen()
                self._work()
            self._finish()
        self._control.stop()
        self._exchange.depart(self._control.link, FAREWELL)
        self._control.link.close()

    def stop(self) -> None:
        """Finish what runs, give the others back and end :meth:`run`.  From any thread."""
        self._exchange.drain()
        self._control.link.wake()

    def consume(self, queues: list[str]) -> None:
        """Serve these queues from now on.  From any thread."""
        self._exchange.consume(queues)

    @abstractmethod
    def _work(self) -> None:
        """Begin what waits."""

    def _finish(self) -> None:
        """See what still runs to its end."""

    def _stop_if_used_up(self) -> None:
        """After each run: it may have been the last that the quota allows."""
        if self._quota is not None and self._quota.used_up():
            self.retired = True
            self.stop()
