"""A supervisor's part: its heartbeat keeps its executors' leases alive; it reports their deaths, and hears
whom to kill (``w:WORKER``) and what it is asked and told (``o:WORKER``)."""

from typing import Any, Final

from nbqueue import messages as m
from nbqueue.messages import AnyMessage
from nbqueue.transports.redis import losses, periodic
from nbqueue.transports.redis.chores import Chores
from nbqueue.transports.redis.desk import Desk, Part
from nbqueue.transports.redis.losses import seat
from nbqueue.transports.redis.orders import Orders
from nbqueue.transports.redis.periodic import Keeper

#: seconds between two looks at what is due
_LOOK: Final = 1.0


class WorkerPart(Part):
    """See the module's docstring."""

    def __init__(self, desk: Desk, hello: m.Hello) -> None:
        super().__init__(desk, hello)
        #: executors that nobody has heard of
        self._lost: list[bytes] = []

    def greet(self) -> None:
        desk, hello = self.desk, self.hello
        desk.subscribe(f"w:{hello.id}", f"o:{hello.id}", periodic.CHANNEL)
        self._keeper = Keeper(desk, hello.id)
        self._orders = Orders(desk, hello.id)
        desk.run("join", hello.id, desk.settings.worker_lease, "", desk.sealed.hello(hello))
        self._chores = Chores(desk, _LOOK)
        desk.deliver(desk.welcome())
        if desk.events_of.on:
            desk.events_of.of_worker("worker-online", hello)

    def say(self, message: AnyMessage) -> None:
        desk, worker = self.desk, self.hello.id
        match message:
            case m.Heartbeat(executors, load):
                seats = [seat(worker, executor) for executor in executors]
                if desk.events_of.on and worker not in desk.events_of.silent:
                    desk.events_of.of_worker("worker-heartbeat", self.hello, load)
                shown = desk.sealed.events([m.Heartbeat([], load)])
                desk.tell("beat", worker, desk.settings.worker_lease, shown, *seats, then=self._on_beat)
            case m.Reply():
                self._orders.replied(message)
            case m.ExecutorLost():
                losses.died(desk, worker, message)
            case m.Goodbye(unreachable=False):
                if desk.events_of.on:
                    desk.events_of.of_worker("worker-offline", self.hello)
                losses.worker_gone(desk, worker, "its worker was stopped", charge=False)
            case m.Goodbye():
                pass
            case m.Ping():
                desk.wire.call(b"PING", then=lambda _: desk.deliver(m.Pong(1)))
            case _:
                self.refuse(message)

    def _on_beat(self, reply: Any) -> None:
        if not isinstance(reply, list):
            raise self.desk.fault(reply)
        known, self._lost = reply
        if not known:
            self.desk.deliver(m.Unknown())

    def pushed(self, channel: bytes, message: bytes) -> None:
        if channel == self.desk.names(f"o:{self.hello.id}").encode():
            self._orders.heard(message)
            return
        if channel == self.desk.names(periodic.CHANNEL).encode():
            self._keeper.due = 0.0
            return
        for order in self.desk.events(message):
            if isinstance(order, m.Kill):
                self.desk.deliver(order)

    def turn(self, now: float) -> None:
        lost, self._lost = self._lost, []
        for executor in lost:
            losses.abandoned(self.desk, self.hello.id, executor.decode(), "its process is gone", charge=False)
        self._chores.turn(now)
        self._keeper.turn(now)

    def due(self) -> float:
        return min(self._chores.due, self._keeper.due)
