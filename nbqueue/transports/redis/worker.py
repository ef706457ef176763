"""A supervisor's part: its heartbeat keeps its executors' leases alive; it reports their deaths, and hears
whom to kill."""

from typing import Any, Final

from nbqueue import messages as m
from nbqueue.messages import AnyMessage
from nbqueue.transports.redis import losses
from nbqueue.transports.redis.chores import Chores
from nbqueue.transports.redis.desk import Desk, Part
from nbqueue.transports.redis.losses import seat

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
        desk.subscribe(f"w:{hello.id}")
        desk.run("join", hello.id, desk.settings.worker_lease, "", desk.sealed.hello(hello))
        self._chores = Chores(desk, _LOOK)
        desk.deliver(desk.welcome())

    def say(self, message: AnyMessage) -> None:
        desk, worker = self.desk, self.hello.id
        match message:
            case m.Heartbeat(executors):
                seats = [seat(worker, executor) for executor in executors]
                desk.tell("beat", worker, desk.settings.worker_lease, *seats, then=self._on_beat)
            case m.ExecutorLost():
                losses.died(desk, worker, message)
            case m.Goodbye(unreachable=False):
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
        for order in self.desk.events(message):
            self.desk.deliver(order)

    def turn(self, now: float) -> None:
        lost, self._lost = self._lost, []
        for executor in lost:
            losses.abandoned(self.desk, self.hello.id, executor.decode(), "its process is gone", charge=False)
        self._chores.turn(now)

    def due(self) -> float:
        return self._chores.due
