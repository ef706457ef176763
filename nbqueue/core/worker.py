"""One executor process, without its links and threads: what it holds, runs and owes.

::

    Assign ─▶ waiting ─▶ running ─▶ unacknowledged ─▶ (Acknowledge)
                │ Recall, Drop, drain
                └──▶ Returned

An executor has two links.  ``EXECUTOR``, the main one, carries tasks and outcomes; ``CONTROL`` is
listened to while a task runs.  Whoever receives a message hands it to :meth:`ExecutorCore.receive`
and sends what comes back on the same link.
"""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final, NamedTuple, TypeAlias

import msgspec

from nbqueue.messages import (
    CONTROL,
    EXECUTOR,
    MAX_BATCH,
    Acknowledge,
    AnyMessage,
    Assign,
    Assignment,
    Consume,
    Drop,
    Held,
    Hello,
    Interrupt,
    Outcome,
    Ping,
    Recall,
    Refused,
    Replaced,
    Retry,
    Returned,
    Settle,
    Unknown,
    Welcome,
)

#: leases that were dropped before they arrived, and are remembered until they do
MAX_FORGOTTEN: Final = 4096
#: bytes of values that share a message
MAX_SETTLE_BYTES: Final = 16 * 2**20

#: How a run ends, for its executor.
Ending: TypeAlias = Outcome | Retry | Replaced
#: The same, or that its lease goes back without an end.
RunEnd: TypeAlias = Ending | Returned


class Raise(NamedTuple):
    """Interrupt the running task; ``reason`` is "cancel" or "soft_time_limit"."""

    token: int
    reason: str


class Leave(NamedTuple):
    """The broker will not talk to this executor: end it, and say why."""

    reason: str


#: What :meth:`ExecutorCore.receive` asks for: messages are to be sent, the others to be done.
Effect: TypeAlias = AnyMessage | Raise | Leave


class ExecutorCore:
    """See the module's docstring.  ``identity`` is its Hello, but for role and leases; it runs a task a slot.

    Two threads share it; the lock is theirs.
    """

    def __init__(self, identity: Hello) -> None:
        #: the broker's word of welcome on the main link, None before the first
        self.welcome: Welcome | None = None
        #: by token
        self.running: dict[int, Assignment] = {}
        #: on its way out: runs to its end what it runs, and takes no more
        self.draining = False
        self._identity = identity
        self._waiting: OrderedDict[int, Assignment] = OrderedDict()
        self._unacknowledged: dict[int, Ending] = {}
        self._unsent: list[Ending] = []
        #: the highest token that has arrived
        self._latest = 0
        self._forgotten: OrderedDict[int, None] = OrderedDict()
        self._welcomed = {EXECUTOR: False, CONTROL: False}

    # ── what is asked of it ──────────────────────────────────────────────────────────────────

    def receive(self, role: str, message: AnyMessage) -> list[Effect]:
        """Take in a message that came on the link of that role; returns what is to be done."""
        match message:
            case Assign():
                return self._assign(message.assignments)
            case Acknowledge():
                self._acknowledge(message.tokens)
            case Drop():
                return self._give_back(message.tokens)
            case Recall():
                return self._recall(message.count)
            case Interrupt():
                return self._interrupt(message)
            case Unknown():
                return self._introduce_again(role)
            case Welcome():
                self._welcome(role, message)
            case Refused():
                return [Leave(message.reason)]
        return []

    def _assign(self, assignments: Iterable[Assignment]) -> list[Effect]:
        returned = []
        for assignment in assignments:
            token = assignment.token
            self._latest = max(self._latest, token)
            if self.draining or self._forgotten.pop(token, True) is None:
                returned.append(token)
            elif not self._knows(token):
                self._waiting[token] = assignment
        return [Returned(returned)] if returned else []

    def _knows(self, token: int) -> bool:
        return token in self._unacknowledged or token in self.running

    def _acknowledge(self, tokens: Iterable[int]) -> None:
        for token in tokens:
            self._unacknowledged.pop(token, None)

    def _give_back(self, tokens: Iterable[int]) -> list[Effect]:
        """Forget leases that were not started; those still on their way are forgotten on arrival."""
        returned = []
        for token in tokens:
            if self._waiting.pop(token, None) is not None:
                returned.append(token)
            elif not self._knows(token):
                self._forgotten[token] = None
        while len(self._forgotten) > MAX_FORGOTTEN:
            self._forgotten.popitem(last=False)
        return [Returned(returned)] if returned else []

    def _recall(self, count: int) -> list[Effect]:
        """The last ones first to go, named in the order in which they would have run."""
        number = min(count, len(self._waiting))
        tokens = [self._waiting.popitem()[0] for _ in range(number)]
        return [Returned(tokens[::-1])]

    def _interrupt(self, message: Interrupt) -> list[Effect]:
        if message.token in self.running:
            return [Raise(message.token, message.reason)]
        # it was thought to run; a soft limit of a run that has not begun means nothing
        return self._give_back([message.token]) if message.reason == "cancel" else []

    # ── sessions ─────────────────────────────────────────────────────────────────────────────

    def introduce(self, role: str) -> list[AnyMessage]:
        """First words on a new link, and once more all that was not acknowledged."""
        self._welcomed[role] = False
        hello = msgspec.structs.replace(self._identity, role=role, held=self._leases())
        if role == CONTROL and not self.draining:
            return [hello]
        self._unsent.clear()
        return [hello, *_batches(self._unacknowledged.values())]

    def heartbeat(self, role: str) -> list[AnyMessage]:
        """What a link says when it has had nothing else to say: a lost connection shows by the answer."""
        if not self._welcomed[role]:
            return self.introduce(role)
        return [Ping()] if role == EXECUTOR else [Held(self.held(), self._latest)]

    def _introduce_again(self, role: str) -> list[Effect]:
        # several messages may have met a broker that does not know us: one Hello answers them all
        if (self.draining and role == EXECUTOR) or not self._welcomed[role]:
            return []
        return [*self.introduce(role)]

    def _welcome(self, role: str, message: Welcome) -> None:
        self._welcomed[role] = True
        if role == EXECUTOR:
            self.welcome = message

    # ── runs ─────────────────────────────────────────────────────────────────────────────────

    @property
    def waiting(self) -> int:
        """How many tasks wait to be run."""
        return len(self._waiting)

    @property
    def can_take(self) -> bool:
        """Whether a task waits, and may be begun beside those that run."""
        return bool(self._waiting) and len(self.running) < self._identity.slots

    @property
    def unsent(self) -> int:
        """How many endings wait to be sent."""
        return len(self._unsent)

    @property
    def settled(self) -> bool:
        """Whether everything that was run has been acknowledged."""
        return not self._unacknowledged

    def take(self) -> Assignment | None:
        """The next task, which runs from now on; None if none waits, or as many run as may."""
        if not self._waiting or len(self.running) >= self._identity.slots:
            return None
        token, assignment = self._waiting.popitem(last=False)
        self.running[token] = assignment
        return assignment

    def finish(self, ending: Ending) -> None:
        """A running task has ended like this."""
        self.running.pop(ending.token, None)
        self._unacknowledged[ending.token] = ending
        self._unsent.append(ending)

    def give_back(self, token: int) -> None:
        """A running task has not ended, and goes back; whoever calls says so to the broker."""
        self.running.pop(token, None)

    def consume(self, queues: list[str]) -> list[AnyMessage]:
        """Serve these queues from now on."""
        self._identity = msgspec.structs.replace(self._identity, queues=queues)
        return [Consume(queues)]

    def flush(self) -> list[AnyMessage]:
        """The endings that were not sent yet, as messages; they count as sent from now on."""
        unsent, self._unsent = self._unsent, []
        return _batches(unsent)

    def held(self) -> list[int]:
        """Tokens of all leases that wait, run, or have ended without the broker's acknowledgement."""
        return [token for _, token in self._leases()]

    def _leases(self) -> list[tuple[str, int]]:
        leases = [(ending.id, ending.token) for ending in self._unacknowledged.values()]
        leases += [(assignment.task.id, token) for token, assignment in self.running.items()]
        leases += [(assignment.task.id, token) for token, assignment in self._waiting.items()]
        return leases

    def drain(self) -> list[AnyMessage]:
        """From now on every task that is not running goes back, at once or on arrival."""
        self.draining = True
        tokens = list(self._waiting)
        self._waiting.clear()
        return [Returned(tokens)] if tokens else []


def _batches(endings: Iterable[Ending]) -> list[AnyMessage]:
    settles: list[AnyMessage] = []
    others: list[AnyMessage] = []
    batch: list[Outcome] = []
    size = 0
    for ending in endings:
        if not isinstance(ending, Outcome):
            others.append(ending)
            continue
        if len(batch) == MAX_BATCH or (batch and size + len(ending.value) > MAX_SETTLE_BYTES):
            settles.append(Settle(batch))
            batch, size = [], 0
        batch.append(ending)
        size += len(ending.value)
    if batch:
        settles.append(Settle(batch))
    return settles + others
