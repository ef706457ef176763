"""An executor that runs several tasks at once: ``--pool threads``, ``--concurrency-async``.

It has one place for each (``executor.places``), and its main thread only receives and sends
(``executor.shared``).  Code that is not async runs in all places at once, or one after the other.
"""

import threading
from collections.abc import Callable, Iterable

from nbqueue.core.worker import ExecutorCore, RunEnd
from nbqueue.messages import Hello
from nbqueue.transports.base import Transport
from nbqueue.worker import context, output
from nbqueue.worker.executor.base import BaseExecutor
from nbqueue.worker.executor.exchange import Run
from nbqueue.worker.executor.loop import runner
from nbqueue.worker.executor.places import Caller, Gates, Place, PlaceGate, SharedLoop
from nbqueue.worker.executor.quota import Quota
from nbqueue.worker.executor.shared import SharedExchange
from nbqueue.worker.executor.storage import Storage
from nbqueue.worker.log import TaskLog
from nbqueue.worker.registry import RegisteredTask
from nbqueue.worker.slot import Slot


class SeveralExecutor(BaseExecutor):
    """See the module's docstring; parameters are those of :class:`Executor`, and

    Parameters
    ----------
    one_at_a_time
        Only async tasks run together.
    """

    _exchange: SharedExchange

    def __init__(
        self,
        transport: Transport,
        identity: Hello,
        *,
        tasks: Iterable[RegisteredTask] = (),
        one_at_a_time: bool = False,
        accepted: frozenset[str] | None = None,
        storage: Storage | None = None,
        slot: Slot | None = None,
        log: TaskLog | None = None,
        quota: Quota | None = None,
        on_welcome: Callable[[], None] = lambda: None,
    ) -> None:
        self._slot = slot
        self._log = log
        self._gates = Gates()
        exchange = SharedExchange(transport.connect(), ExecutorCore(identity), self._gates, on_welcome)
        super().__init__(exchange, transport.connect(), quota)
        self._loop = SharedLoop()
        self._turn = threading.Lock() if one_at_a_time else None
        self._tasks = list(tasks)
        self._accepted = accepted
        self._storage = storage
        self._name = identity.name
        self._free: list[Place] = []
        self._places: list[Place] = []
        #: names of tasks of which it was said that their limit cannot be kept
        self._warned: set[str] = set()

    def _work(self) -> None:
        while not self._exchange.draining and (run := self._exchange.begin()) is not None:
            self._begin(run)

    def _finish(self) -> None:
        while self._exchange.runs:
            self._exchange.settle()
        for place in self._places:
            place.give(None)

    def _begin(self, run: Run) -> None:
        task = run.assignment.task
        place = self._free.pop() if self._free else self._open()
        self._gates.begin(run.assignment.token, place.gate)
        if self._slot is not None:
            self._slot.put(place.number, run.assignment.token)
        if self._log is not None:
            self._log.received(task)
            if task.time_limit is not None and task.name not in self._warned:
                self._warned.add(task.name)
                self._log.warn(
                    task,
                    f"has a time limit of {task.time_limit:g} s, past which its outcome is refused; but"
                    " what runs beside other tasks cannot be killed: that takes a pool of processes",
                )
        output.capture(context.output_buffer)
        self._control.notice()
        place.give(run)

    def _open(self) -> Place:
        """A new place: there are never more runs than slots."""
        gate = PlaceGate()
        made = runner(
            self._exchange, gate, self._tasks, name=self._name, whole_process=False, log=self._log,
            caller=Caller(self._loop, gate, self._turn).call,
            push=self._exchange.wake, accepted=self._accepted, storage=self._storage,
        )  # fmt: skip
        place = Place(len(self._places), gate, made, self._ended)
        self._places.append(place)
        place.start()
        return place

    def _ended(self, place: Place, run: Run, ending: RunEnd) -> None:
        """In the place's thread."""
        self._gates.end(run.assignment.token)
        if self._slot is not None:
            self._slot.put(place.number, 0)
        self._free.append(place)
        self._exchange.ended(run, ending)
        self._stop_if_used_up()
