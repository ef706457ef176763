"""A core that is talked to by hand, under a clock that is moved by hand."""

from typing import Any

from nbqueue import messages as m
from nbqueue.core import entries
from nbqueue.core.actions import Keep, Send
from nbqueue.core.broker import BrokerCore, BrokerSettings
from nbqueue.testing import invariants


class Hand:
    """What the broker says is kept by peer until :meth:`heard`; what it writes, for :meth:`restart`."""

    def __init__(self, **settings: Any) -> None:
        self.now = 0.0
        self.journal: list[bytes] = []
        self._settings = BrokerSettings(**{"worker_lease": 1e6, **settings})
        self.core = BrokerCore(self._settings, boot=1)
        self._said: dict[object, list[Any]] = {}
        self._write([self.core.began])
        self._numbers = iter(range(1, 10_000))
        self.client()

    # ── who is there ─────────────────────────────────────────────────────────────────────────

    def client(self, id: str = "client", **hello: Any) -> None:
        self.say(id, m.Hello(m.CLIENT, id, **hello))
        self.say(id, m.Define("d", b"blob"))

    def worker(self, name: str = "w", executors: int = 1, **hello: Any) -> None:
        """A supervisor, and executors ``w.0``, ``w.1``, …"""
        fields = {"worker": name, "name": name, "queues": ["default"], **hello}
        self.say(name, m.Hello(m.WORKER, name, **fields))
        for number in range(executors):
            self.say(f"{name}.{number}", m.Hello(m.EXECUTOR, f"{name}.{number}", **fields))

    def restart(self) -> None:
        """Another broker from what the last one wrote, or from what it would have in a snapshot."""
        self.core = BrokerCore(self._settings, boot=self.core.welcome.boot + 1)
        recovery = self.core.recovery()
        for turn in self.journal:
            recovery.read(entries.decode(turn))
        recovery.finish(self.now)
        self._said.clear()
        self.client()

    def snapshot(self) -> None:
        self.journal = [entries.encode(portion) for portion in self.core.standing()]

    # ── what is said ─────────────────────────────────────────────────────────────────────────

    def say(self, peer: str, *messages: m.AnyMessage) -> None:
        for message in messages:
            self._perform(self.core.receive(peer, message, self.now))

    def wait(self, seconds: float = 0.0) -> None:
        """Let time go by, with every tick that the core wants."""
        end = self.now + seconds
        while (due := self.core.next_deadline()) is not None and due <= end:
            self.now = max(due, self.now)
            self._perform(self.core.tick(self.now))
        self.now = end

    def _perform(self, actions: list[Any]) -> None:
        for action in actions:
            if isinstance(action, Send):
                self._said.setdefault(action.peer, []).append(action.message)
            elif isinstance(action, Keep):
                self._write(action.entries)
        invariants.check(self.core, self.now)

    def _write(self, turn: list[entries.AnyEntry]) -> None:
        self.journal.append(entries.encode(turn))

    def heard(self, peer: str, kind: type) -> list[Any]:
        """All of that kind since the last look; the others are forgotten."""
        return [message for message in self._said.pop(peer, []) if isinstance(message, kind)]

    def ask(self, topic: str, *, peer: str = "client", **args: Any) -> Any:
        """The answer to a question, which is there at once."""
        self.say(peer, m.Ask(next(self._numbers), topic, args))
        (answer,) = self.heard(peer, m.Answer)
        assert not answer.error, answer.error
        return answer.data

    # ── tasks ────────────────────────────────────────────────────────────────────────────────

    def submit(self, *ids: str, **task: Any) -> None:
        fields = {"name": "f", "definition": "d", "payload": b"", **task}
        self.say("client", m.Submit([m.Task(id, **fields) for id in ids]))

    def taken(self, *executors: str) -> list[str]:
        """The tasks that these executors, or all, were given since the last look."""
        peers = executors or [e.id for e in self.core.dispatch.executors.values()]
        found = [message for peer in peers for message in self.heard(peer, m.Assign)]
        return [assignment.task.id for message in found for assignment in message.assignments]

    def finish(self, id: str, state: str = "SUCCESS", runtime: float = 0.001) -> None:
        """Its executor says that it ended."""
        record = self.core.tasks.records.get(id)
        assert record is not None
        outcome = m.Outcome(id, record.token, state, runtime=runtime)
        self.say(record.executor, m.Settle([outcome]))

    def why(self, id: str) -> str:
        text: str = self.ask("why", id=id)["text"]
        return text
