"""What clients want of the tasks that there are, and of a schedule; questions are ``core.questions``."""

from nbqueue import messages as m
from nbqueue.core import permissions
from nbqueue.core.actions import Peer
from nbqueue.core.audience import Audience, ClientSession
from nbqueue.core.dispatch import Dispatcher
from nbqueue.core.feed import Feed
from nbqueue.core.outbox import Outbox
from nbqueue.core.ownership import Ownership
from nbqueue.core.periodic import Schedules
from nbqueue.core.records import DONE
from nbqueue.core.tasks import Tasks


class Requests:
    """One method a message."""

    def __init__(
        self,
        tasks: Tasks,
        dispatch: Dispatcher,
        schedules: Schedules,
        ownership: Ownership,
        audience: Audience,
        feed: Feed,
        outbox: Outbox,
    ) -> None:
        self._tasks = tasks
        self._dispatch = dispatch
        self._schedules = schedules
        self._ownership = ownership
        self._audience = audience
        self._feed = feed
        self._outbox = outbox

    def cancel(self, peer: Peer, client: ClientSession, message: m.Cancel, now: float) -> None:
        if objection := self._ownership.objection(client.key, message.ids):
            self._outbox.refuse(peer, message, objection)
            return
        for id in message.ids:
            self._tasks.cancel(id, now, terminate=message.terminate)

    def watch(self, peer: Peer, client: ClientSession, message: m.Watch, now: float) -> None:
        absent = []
        for id in message.ids:
            record = self._tasks.records.get(id)
            if record is None or record.unwanted or not permissions.sees(client.key, record.sender.owner):
                absent.append(id)
            else:
                self._audience.join(record, client.id)
        if absent:
            self._outbox.send(peer, m.NotFound(absent))

    def stream(self, peer: Peer, client: ClientSession, message: m.Stream, now: float) -> None:
        if objection := self._ownership.objection(client.key, [message.id]):
            self._outbox.refuse(peer, message, objection)
        else:
            self._tasks.stream(client.id, message, now)

    def forget(self, peer: Peer, client: ClientSession, message: m.Forget, now: float) -> None:
        if objection := self._ownership.objection(client.key, message.ids):
            self._outbox.refuse(peer, message, objection)
            return
        for id in message.ids:
            record = self._tasks.records.get(id)
            if record is not None and record.place == DONE:
                self._tasks.steps.forget(record)
            elif record is not None:
                self._audience.leave(record, client.id)
        if self._dispatch.paused:
            self._tasks.make_room(now)

    def listen(self, peer: Peer, client: ClientSession, message: m.Listen, now: float) -> None:
        self._feed.listen(client, message.types)

    def schedule(self, peer: Peer, client: ClientSession, message: m.Schedule, now: float) -> None:
        objection = self._schedules.register(
            message.app, message.entries, client.sender, now, complete=message.complete
        )
        if objection:
            self._outbox.refuse(peer, message, objection)
        else:
            self._outbox.send(peer, m.Noted(message.number))

    def unschedule(self, peer: Peer, client: ClientSession, message: m.Unschedule, now: float) -> None:
        self._schedules.remove(message.app, dict.fromkeys(message.names))
        self._outbox.send(peer, m.Noted(message.number))
