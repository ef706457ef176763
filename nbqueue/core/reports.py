"""What executors say: what they lack, how their runs go and end, and what they hold."""

from nbqueue import messages as m
from nbqueue.core import inputs
from nbqueue.core.actions import Peer
from nbqueue.core.dispatch import Dispatcher
from nbqueue.core.executors import ExecutorState
from nbqueue.core.outbox import Outbox
from nbqueue.core.tasks import Tasks


class Reports:
    """One method a message; those of a run go to its task, and whoever has room afterwards gets more."""

    def __init__(self, tasks: Tasks, dispatch: Dispatcher, outbox: Outbox) -> None:
        self._tasks = tasks
        self._dispatch = dispatch
        self._outbox = outbox

    def need(self, peer: Peer, executor: ExecutorState, message: m.Need, now: float) -> None:
        self._outbox.send(peer, m.Define(message.key, self._blob(executor, message.key)))

    def _blob(self, executor: ExecutorState, key: str) -> bytes:
        """What is named so, b"" if it is not here, or not for this executor."""
        if (portion := inputs.parsed(key)) is not None:
            id, start = portion
            return self._tasks.steps.portion(id, start) if executor.holds_task(id) else b""
        allowed = not executor.key.only_own or executor.needs(key)
        return self._tasks.blobs.get(key) if allowed else b""

    def report(
        self,
        peer: Peer,
        executor: ExecutorState,
        message: m.Started | m.Progress | m.Update | m.Item | m.Output,
        now: float,
    ) -> None:
        """How a run goes."""
        if executor.key.only_own:
            record = executor.held.get(message.token)
            if record is None or record.task.id != message.id:
                return  # not its run, or no longer
        match message:
            case m.Started():
                self._tasks.started(message, executor, now)
            case m.Progress():
                self._tasks.progressed(message)
            case m.Update():
                self._tasks.updated(message)
            case m.Item():
                self._tasks.yielded(message)
            case m.Output():
                self._tasks.printed(message)

    def settle(self, peer: Peer, executor: ExecutorState, message: m.Settle, now: float) -> None:
        for outcome in message.outcomes:
            self._tasks.ended(outcome, executor, now)
        self._outbox.acknowledge(peer, [outcome.token for outcome in message.outcomes])
        self._dispatch.feed(executor, now)

    def retry(self, peer: Peer, executor: ExecutorState, message: m.Retry, now: float) -> None:
        self._tasks.retried(message, executor, now)
        self._outbox.acknowledge(peer, [message.token])
        self._dispatch.feed(executor, now)

    def replaced(self, peer: Peer, executor: ExecutorState, message: m.Replaced, now: float) -> None:
        self._tasks.replaced(message, executor, now)
        self._outbox.acknowledge(peer, [message.token])
        self._dispatch.feed(executor, now)

    def returned(self, peer: Peer, executor: ExecutorState, message: m.Returned, now: float) -> None:
        for token in reversed(message.tokens):
            self._tasks.take_back(executor, token, now, last=message.rejected)
        self._dispatch.feed(executor, now)

    def consume(self, peer: Peer, executor: ExecutorState, message: m.Consume, now: float) -> None:
        self._dispatch.consume(executor, message.queues)
        self._dispatch.feed(executor, now)

    def held(self, peer: Peer, executor: ExecutorState, message: m.Held, now: float) -> None:
        """Make good what got lost on the way, in either direction."""
        for token in self._dispatch.lost(executor, message):
            self._tasks.take_back(executor, token, now)
        if strange := [token for token in message.tokens if token not in executor.held]:
            self._outbox.send(peer, m.Drop(strange))
            if executor.peer is not None:
                self._outbox.acknowledge(executor.peer, strange)
        self._dispatch.feed(executor, now)
