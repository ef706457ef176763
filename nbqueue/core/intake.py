"""What is taken from clients: definitions, and tasks that are made of them.

::

    Define ─▶ room? ─▶ kept, or its size is remembered: the tasks that need it are told why
    Submit ─▶ allowed? sound? room? ─▶ Accepted
                 │ no                └─ a definition is lacking ─▶ Missing: send both again
                 └─▶ Rejected

A step of a workflow may come right after the task that it waits for.  If that one was not taken, neither is
the step: so it is remembered who was turned away.
"""

from typing import Final

from nbqueue import messages as m
from nbqueue.core.actions import Peer
from nbqueue.core.audience import ClientSession
from nbqueue.core.blobs import BLOB_BYTES, name_of
from nbqueue.core.outbox import Outbox
from nbqueue.core.ownership import Ownership
from nbqueue.core.records import task_size
from nbqueue.core.room import Room
from nbqueue.core.settings import too_large
from nbqueue.core.tasks import Tasks
from nbqueue.core.validation import flaw

#: blobs remembered for which there was no room
MAX_UNFIT: Final = 1000
#: tasks remembered that were not taken from a client, for those that were to come after them
MAX_TURNED_AWAY: Final = 100_000


class Intake:
    """See the module's docstring."""

    def __init__(
        self, tasks: Tasks, ownership: Ownership, room: Room, outbox: Outbox, payload_limit: int
    ) -> None:
        self._tasks = tasks
        self._ownership = ownership
        self._room = room
        self._outbox = outbox
        self._payload_limit = payload_limit
        #: sizes of blobs for which there was no room
        self._unfit: dict[str, int] = {}

    def define(self, peer: Peer, client: ClientSession, message: m.Define, now: float) -> None:
        limit = self._payload_limit
        if len(message.blob) > limit:
            self._outbox.send(peer, m.Refused(too_large("a function", len(message.blob), limit)))
            return
        if client.key.only_own:
            if message.key != name_of(message.blob):  # would be taken for a definition of others
                self._outbox.send(peer, m.Refused(f"the blob is not what its name {message.key!r} says"))
                return
            if not self._ownership.runs_any(client.key):  # the Submit that follows is told why
                return
        size = len(message.blob) + BLOB_BYTES
        if self._room.lack(size):  # the Submit that follows is told
            if len(self._unfit) > MAX_UNFIT:
                self._unfit.clear()
            self._unfit[message.key] = size
        elif self._tasks.define(message):
            self._room.take(size)

    def submit(self, peer: Peer, client: ClientSession, message: m.Submit, now: float) -> None:
        accepted: list[str] = []
        missing: dict[str, list[str]] = {}
        for task in message.tasks:
            reason = self._ownership.objection_to_submit(client.key, task) if client.key.only_own else ""
            key, size = "", 0
            is_new = self._tasks.records.get(task.id) is None
            if is_new and not reason:
                size = task_size(task)
                reason = flaw(task) or self._room.lack(size) or self._tasks.refusal(task, size)
                key = self._tasks.lacking(task)
                if not reason and (key or task.step is not None):
                    key, reason = self._wanting(task, client, key)
            if reason:
                self._outbox.send(peer, m.Rejected(task.id, reason))
                _remember(client.rejected, task.id, reason)
            elif key:
                missing.setdefault(key, []).append(task.id)
                _remember(client.missing, task.id, key)
            else:
                if client.missing:
                    client.missing.pop(task.id, None)
                if is_new:
                    self._room.take(size)
                    self._tasks.keep(task, client.sender, now)
                else:
                    self._tasks.accept(task, client.sender, now)
                accepted.append(task.id)
        for key, ids in missing.items():
            self._outbox.send(peer, m.Missing(key, ids))
        self._outbox.accepted(peer, accepted)

    def _wanting(self, task: m.Task, client: ClientSession, key: str) -> tuple[str, str]:
        """The blob that is wanting for a task, by itself (``key``) or for one before it, and why it will not
        come; "" for none."""
        if key and (reason := self._room.lack(self._unfit.get(key, 0))):
            return key, reason
        return (key, "") if task.step is None else self._turned_away(task.step, client, key)

    def _turned_away(self, step: m.Step, client: ClientSession, key: str) -> tuple[str, str]:
        """The blob that a task before it waits for (or ``key``), and why one was refused; "" for none."""
        if not (client.missing or client.rejected):
            return key, ""
        for id in step.after:
            if self._tasks.records.get(id) is None:
                if id in client.rejected:
                    return "", f"task {id}, which it comes after, was refused: {client.rejected[id]}"
                key = key or client.missing.get(id, "")
        return key, ""


def _remember(turned_away: dict[str, str], id: str, why: str) -> None:
    if len(turned_away) >= MAX_TURNED_AWAY:
        del turned_away[next(iter(turned_away))]
    turned_away[id] = why
