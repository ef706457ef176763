"""A broker's core with peers of every role that say anything, and what must hold whatever they say."""

import math
from typing import Any, Final, NamedTuple

from nbqueue import messages as m
from nbqueue.core.actions import Keep, Send
from nbqueue.core.broker import BrokerCore, BrokerSettings
from nbqueue.core.entries import AnyEntry, decode, encode
from nbqueue.core.permissions import CLIENT, VIEWER, WORKER, Key
from nbqueue.core.records import DONE, READY, SCHEDULED
from nbqueue.testing.invariants import check
from nbqueue.wire import codec
from tests.fuzz.words import Source, Words

PERSON: Final = Key("default", CLIENT)
KEYS: Final = (PERSON, PERSON, Key("gpu", WORKER), Key("cpu", WORKER), Key("wall", VIEWER))
ROLES: Final = (m.CLIENT, m.WORKER, m.EXECUTOR, m.CONTROL)
#: Few, so that peers meet, and reconnect under the ids of others.
PEERS: Final = 20
SETTINGS: Final = BrokerSettings(
    max_connections=PEERS, max_result_bytes=20_000, max_output_bytes=20_000, result_expires=100.0
)
BYSTANDER: Final = "bystander"


class Standing(NamedTuple):
    """Of a task: what those without rights must not change."""

    owner: str
    #: name of the key of the executor that has its current lease, or has not ended its last one
    holder: str | None
    place: str
    state: str
    token: int
    outcome: int
    output: int


class House:
    """One core; :meth:`step` has one of the peers say something."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.words = Words(source)
        self._now = 100.0
        self._brought = 0
        self._boot = 1
        self.core = self._broker()
        #: what was written down
        self._journal: list[list[AnyEntry]] = [[self.core.began]]
        #: kinds of messages that were dealt with, and answers that were given
        self.heard: dict[str, int] = {}
        self._furnish()

    def _broker(self) -> BrokerCore:
        return BrokerCore(SETTINGS, boot=self._boot, epoch=1e9)

    def _furnish(self) -> None:
        """A usual day: a client, and a worker of each key, with tasks to do."""
        self.receive(BYSTANDER, m.Hello(m.CLIENT, BYSTANDER), PERSON)
        self.receive(BYSTANDER, m.Define("d", b"definition"), PERSON)
        for number, key in enumerate(KEYS):
            for role in ROLES[: 1 if key.role == VIEWER else 4]:
                self.receive((number, role), self._hello(number, role), key)
        self.words.peers = [f"{kind}{number}" for kind in "pe" for number in range(len(KEYS))]
        tasks = [m.Task(f"t{n}", "f", "d", b"") for n in range(6)]
        self.receive(BYSTANDER, m.Submit(tasks), PERSON)

    def _hello(self, number: int, role: str) -> m.Hello:
        """What a peer ought to say first."""
        name = f"p{number}" if role in (m.WORKER, m.CLIENT) else f"e{number}"
        return m.Hello(role, name, worker=f"p{number}", python="3.11", queues=["default"])

    def step(self, message: m.AnyMessage | None = None) -> None:
        """Somebody says something (``message``, if given), or time goes by."""
        below = self._source.below
        event = below(100)
        if event < 5:
            self._now += (0.001, 0.1, 3.0, 30.0)[below(4)]
            self._perform(self.core.tick(self._now))
            self._check_clock()
        elif event == 5 and not below(8):
            self._perform(self.core.revoke(KEYS[below(len(KEYS))].name or "x", "revoked", self._now))
        elif event == 6 and not below(4):
            self._restart()
        else:
            number = below(len(KEYS))
            role = ROLES[below(4)]
            key = KEYS[number] if below(30) else KEYS[below(len(KEYS))]  # its routing id was another's
            self._remind()
            if message is None:
                is_known = (number, role) in self.core.sessions.by_peer or not below(4)
                message = self.words.message(role) if is_known else self._hello(number, role)
            self.receive((number, role), message, key)
        self._look_after_the_bystander()

    def receive(self, peer: Any, message: m.AnyMessage, key: Key) -> None:
        """Hand over a message, and look at what came of it."""
        before = None if key.role == CLIENT else self._standings()
        self._perform(self.core.receive(peer, message, self._now, key))
        if before is not None:
            self._check_rights(key, before, message)
        kind = type(message).__name__
        self.heard[kind] = self.heard.get(kind, 0) + 1

    def _perform(self, actions: list[Any]) -> None:
        check(self.core)
        for action in actions:
            if isinstance(action, Keep):
                self._journal.append(decode(encode(action.entries)))
            elif isinstance(action, Send):
                codec.encode([action.message])
                self._check_audience(action)

    def _remind(self) -> None:
        """Of what there is to speak of."""
        held = [t for e in self.core.dispatch.executors.values() for t in e.held]
        self.words.tokens = [*held, 2**32 + 1]
        recent = [record.task.id for record in self.core.tasks.records.newest(12)]
        leased = [r.task.id for e in self.core.dispatch.executors.values() for r in e.held.values()]
        self.words.tasks = [*leased, *recent, "t0"]

    # ── what must hold ───────────────────────────────────────────────────────────────────────

    def _look_after_the_bystander(self) -> None:
        """Somebody with a client's key, who is served and brings work whatever the others say."""
        ping = self.core.receive(BYSTANDER, m.Ping(), self._now, PERSON)
        if m.Unknown() in [a.message for a in ping if isinstance(a, Send)]:  # by somebody of the same key
            self._perform(self.core.receive(BYSTANDER, m.Hello(m.CLIENT, BYSTANDER), self._now, PERSON))
            ping = self.core.receive(BYSTANDER, m.Ping(), self._now, PERSON)
        answers = [a.message for a in ping if isinstance(a, Send) and a.peer == BYSTANDER]
        assert m.Pong(self._boot) in answers, answers
        if not self._source.below(4):
            self._brought += 1
            fresh = m.Task(f"n{self._brought}", "f", "d", b"", priority=self._source.below(10))
            self._perform(self.core.receive(BYSTANDER, m.Submit([fresh]), self._now, PERSON))

    def _check_clock(self) -> None:
        """Whatever was due has been done, and what comes next is a time."""
        late = [r for r in self.core.tasks.records if r.place == SCHEDULED and r.due <= self._now]
        assert not late, late
        deadline = self.core.next_deadline()
        times = [deadline or 0.0, *(timer.at for timer in self.core._timers._heap)]
        assert not any(map(math.isnan, times)), times

    def _standings(self) -> dict[str, Standing]:
        holders = {token: e.key.name for e in self.core.dispatch.executors.values() for token in e.held}
        found = {}
        for record in self.core.tasks.records:
            found[record.task.id] = Standing(
                record.sender.owner,
                holders.get(record.token),
                record.place,
                record.state,
                record.token,
                id(record.outcome),
                record.output.size if record.output is not None else 0,
            )
        return found

    def _check_rights(self, key: Key, before: dict[str, Standing], message: m.AnyMessage) -> None:
        """A viewer changes nothing; a worker nothing but its own tasks and leases, and what it takes up."""
        after = self._standings()
        story = f"{key} said {message!r:.200}"
        if key.role == VIEWER:
            assert after == before, story
            return
        for id, was in before.items():
            now = after.get(id)
            if now == was or key.name in (was.owner, was.holder):
                continue
            if now is not None and now == was._replace(holder=now.holder):
                continue  # it has come back by an id that only it knows, and holds what is done
            if now is None:  # room was made for another result
                assert was.place == DONE, story
                assert not isinstance(message, m.Forget), story
            else:
                assert was.place in (READY, SCHEDULED), (story, was, now)
                assert now.holder == key.name, (story, was, now)
        for id in after.keys() - before.keys():
            assert after[id].owner == key.name, (story, after[id])

    def _check_audience(self, action: Send) -> None:
        """No worker's client hears of tasks of others."""
        session = self.core.sessions.by_peer.get(action.peer)
        if session is None or not session.key.only_own:
            return
        clients = self.core.audience.clients.values()
        if isinstance(action.message, m.Known | m.Settle) and session in clients:
            message = action.message
            ids = [o.id for o in message.outcomes] if isinstance(message, m.Settle) else [message.id]
            for id in ids:
                record = self.core.tasks.records.get(id)
                assert record is None or record.sender.owner == session.key.name, (session.key, message)

    def _restart(self) -> None:
        """The broker dies; the next one reads what it wrote down."""
        self._boot += 1
        self.core = self._broker()
        recovery = self.core.recovery()
        for entries in self._journal:
            recovery.read(entries)
        recovery.finish(self._now)
        check(self.core)
        self._journal = list(self.core.standing())
        self._furnish()
