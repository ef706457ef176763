"""What one turn of the core wants sent, with the small things for one peer put together."""

from collections.abc import Iterable

from nbqueue.core.actions import Action, Peer, Send, Stop
from nbqueue.messages import (
    Accepted,
    Acknowledge,
    Answer,
    AnyMessage,
    Ask,
    Assign,
    Assignment,
    Denied,
    Outcome,
    Rejected,
    Schedule,
    Settle,
    Submit,
    Unschedule,
)


class Outbox:
    """Collects actions; lists of assignments, outcomes and acknowledgements go out as one message a peer."""

    def __init__(self) -> None:
        self._actions: list[Action] = []
        self._assignments: dict[Peer, list[Assignment]] = {}
        #: peers that get a task which must not be started twice
        self._careful: set[Peer] = set()
        self._outcomes: dict[Peer, list[Outcome]] = {}
        self._tokens: dict[Peer, list[int]] = {}

    def send(self, peer: Peer | None, message: AnyMessage) -> None:
        """Send, if there is a peer."""
        if peer is not None:
            self._actions.append(Send(peer, message))

    def refuse(self, peer: Peer, message: AnyMessage, reason: str) -> None:
        """Say no, in the words in which the sender waits for an answer."""
        match message:
            case Submit(tasks):
                for task in tasks:
                    self.send(peer, Rejected(task.id, reason))
            case Ask(number) | Schedule(number) | Unschedule(number):
                self.send(peer, Answer(number, None, reason))
            case _:
                self.send(peer, Denied(type(message).__name__, reason))

    def stop(self, reason: str) -> None:
        self._actions.append(Stop(reason))

    def accepted(self, peer: Peer, ids: list[str]) -> None:
        if ids:
            self._actions.append(Send(peer, Accepted(ids)))

    def assign(self, peer: Peer, assignment: Assignment) -> None:
        self._assignments.setdefault(peer, []).append(assignment)
        if not assignment.task.acks_late:
            self._careful.add(peer)

    def settled(self, peer: Peer, outcome: Outcome) -> None:
        self._outcomes.setdefault(peer, []).append(outcome)

    def acknowledge(self, peer: Peer, tokens: Iterable[int]) -> None:
        self._tokens.setdefault(peer, []).extend(tokens)

    def flush(self) -> list[Action]:
        """Everything collected since the last flush."""
        actions, self._actions = self._actions, []
        if self._tokens:
            actions += [Send(peer, Acknowledge(tokens)) for peer, tokens in self._tokens.items()]
            self._tokens.clear()
        if self._assignments:
            for peer, items in self._assignments.items():
                if peer in self._careful:
                    actions += [Send(peer, message) for message in _divided(items)]
                else:
                    actions.append(Send(peer, Assign(items)))
            self._assignments.clear()
            self._careful.clear()
        if self._outcomes:
            actions += [Send(peer, Settle(items)) for peer, items in self._outcomes.items()]
            self._outcomes.clear()
        return actions


def _divided(items: list[Assignment]) -> list[Assign]:
    """In order, and so that what comes before a task that must not be started twice does not wait with it."""
    first = next(n for n, assignment in enumerate(items) if not assignment.task.acks_late)
    return [Assign(part) for part in (items[:first], items[first:]) if part]
