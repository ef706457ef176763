"""An executor: receives tasks, runs them one at a time, sends their outcomes.

Outcomes of short tasks leave together, those of longer ones at once: an outcome is held back only
while more tasks of the same function, which took less than ``SHORT_RUN``, follow within ``BATCH``.
Should one of these take long after all, the control thread sends what waits (Exchange.attend).
"""

from collections.abc import Callable, Iterable
from time import monotonic
from typing import Any, Final

from nbqueue.core.worker import ExecutorCore
from nbqueue.messages import Hello
from nbqueue.transports.base import Transport
from nbqueue.wire import payload
from nbqueue.worker import context, output
from nbqueue.worker.executor.base import BaseExecutor
from nbqueue.worker.executor.exchange import Exchange, Run
from nbqueue.worker.executor.quota import Quota
from nbqueue.worker.executor.runner import Runner
from nbqueue.worker.executor.storage import Storage
from nbqueue.worker.interrupts import Gate, ThreadGate
from nbqueue.worker.log import TaskLog
from nbqueue.worker.registry import RegisteredTask
from nbqueue.worker.slot import Slot

#: seconds that a task may take and still share its message with the next
SHORT_RUN: Final = 0.0005
#: seconds that an outcome may wait for others
BATCH: Final = 0.001


class Executor(BaseExecutor):
    """Runs one task at a time, in the thread that calls :meth:`run`.

    Parameters
    ----------
    transport
        To the broker; two links are opened.
    identity
        Its Hello: id, worker, name, python, env, queues, … (role and leases are filled in).
    tasks
        Tasks that it has without their definitions (``-A``).
    accepted
        Serializers whose content it loads; None: all.
    storage
        Where it keeps values; with the broker unless a task says otherwise.
    whole_process
        It has the process for itself and runs in its main thread: SIGINT interrupts tasks, and
        threads started by a task belong to that task.
    slot
        Where it notes the lease that runs, for the supervisor.
    log
        Where it says which tasks it received and how they ended.
    quota
        After how much it stops by itself, and is :attr:`retired`; None: never.
    on_welcome
        Called when the broker has welcomed it, perhaps more than once.
    """

    def __init__(
        self,
        transport: Transport,
        identity: Hello,
        *,
        tasks: Iterable[RegisteredTask] = (),
        accepted: frozenset[str] | None = None,
        storage: Storage | None = None,
        whole_process: bool = False,
        slot: Slot | None = None,
        log: TaskLog | None = None,
        quota: Quota | None = None,
        on_welcome: Callable[[], None] = lambda: None,
    ) -> None:
        self._slot = slot
        self._log = log
        self._alone = whole_process
        self._gate = Gate() if whole_process else ThreadGate()
        exchange = Exchange(transport.connect(), ExecutorCore(identity), self._gate, on_welcome)
        super().__init__(exchange, transport.connect(), quota)
        self._runner = runner(
            exchange,
            self._gate,
            tasks,
            name=identity.name,
            whole_process=whole_process,
            accepted=accepted,
            storage=storage,
            log=log,
            push=self._control.link.wake,
        )

    def _work(self) -> None:
        """Run what waits, as long as the outcomes may wait for one another; then send them."""
        exchange = self._exchange
        began = monotonic()
        self._gate.attach()
        kind = ""
        while not exchange.draining and (run := exchange.begin()) is not None:
            task = run.assignment.task
            if kind and kind != (task.definition or task.name):
                exchange.flush()
            kind = task.definition or task.name
            self._perform(run)
            self._stop_if_used_up()
            now = monotonic()
            if now - run.began > SHORT_RUN or now - began > BATCH:
                break
        exchange.flush()

    def _perform(self, run: Run) -> None:
        assignment = run.assignment
        if self._slot is not None:
            self._slot.token = assignment.token
        if self._log is not None:
            self._log.received(assignment.task)
        output.capture(context.output_buffer)
        self._control.notice()
        self._exchange.end(run, self._runner.run(assignment, run.reports))
        # last: should any of the above kill the process, or hang, it is this task's doing
        if self._slot is not None:
            self._slot.token = 0


def runner(
    exchange: Exchange,
    gate: Gate,
    tasks: Iterable[RegisteredTask],
    *,
    name: str,
    whole_process: bool,
    log: TaskLog | None,
    accepted: frozenset[str] | None = None,
    **options: Any,
) -> Runner:
    """What runs tasks in one thread, with definitions of its own."""
    definitions = payload.Definitions(exchange.fetch_definition, name, accepted)
    for task in tasks:
        definitions.register(task.name, task.function, task.options, task.instance)
    return Runner(
        definitions,
        gate,
        worker=name,
        whole_process=whole_process,
        fetch=exchange.fetch,
        payload_limit=lambda: exchange.payload_limit,
        event_limit=lambda: exchange.event_limit,
        lease=lambda: exchange.lease,
        log=log,
        accepted=accepted,
        **options,
    )
