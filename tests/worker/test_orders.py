"""What a worker does and says when it is told to by remote control."""

import pytest

from nbqueue.exceptions import ConfigurationError
from nbqueue.messages import Order
from nbqueue.worker.options import WorkerOptions
from nbqueue.worker.orders import Orders


class Supervisor:
    """Notes what is asked of it."""

    def __init__(self):
        self.executors = []
        self.done = []

    def __getattr__(self, name):
        return lambda *args: self.done.append((name, *args))


class Fixed(Supervisor):
    def grow(self, count):
        raise ConfigurationError("a pool of threads has its size from the start")


@pytest.fixture
def supervisor():
    return Supervisor()


@pytest.fixture
def tell(supervisor):
    orders = Orders(supervisor, WorkerOptions(url="zmq://me:secret@host:1", connection="the key"))
    numbers = iter(range(100))
    return lambda command, **args: orders.obey(Order(next(numbers), command, args))


def test_it_is_alive(tell):
    assert tell("ping").data == {"ok": "pong"}


@pytest.mark.parametrize(
    ("command", "args", "done"),
    [
        ("pool_grow", {"n": 2}, ("grow", 2)),
        ("pool_shrink", {}, ("shrink", 1)),
        ("pool_restart", {}, ("restart",)),
        ("autoscale", {"max": 4, "min": 1}, ("autoscale", 4, 1)),
        ("add_consumer", {"queue": "q"}, ("add_consumer", "q")),
        ("cancel_consumer", {"queue": "q"}, ("cancel_consumer", "q")),
        ("shutdown", {}, ("shutdown", "told to by remote control")),
    ],
)
def test_orders_are_carried_out(tell, supervisor, command, args, done):
    assert "ok" in tell(command, **args).data
    assert supervisor.done == [done]


@pytest.mark.parametrize(
    ("command", "args"),
    [
        ("pool_grow", {"n": 0}),
        ("pool_grow", {"n": "x"}),
        ("autoscale", {}),
        ("add_consumer", {}),
        ("dance", {}),
    ],
)
def test_orders_that_make_no_sense_are_answered_with_an_error(tell, supervisor, command, args):
    assert tell(command, **args).error
    assert supervisor.done == []


def test_what_cannot_be_done_is_said():
    reply = Orders(Fixed(), WorkerOptions(url="")).obey(Order(1, "pool_grow"))
    assert reply.error == "a pool of threads has its size from the start"


def test_an_order_that_comes_twice_is_carried_out_once(supervisor):
    orders = Orders(supervisor, WorkerOptions(url=""))
    first, second = (orders.obey(Order(1, "pool_grow")) for _ in range(2))
    assert (first, len(supervisor.done)) == (second, 1)
    orders.forget()  # another broker, which counts from 1
    orders.obey(Order(1, "pool_grow"))
    assert len(supervisor.done) == 2


def test_it_tells_of_itself_without_its_secrets(tell, monkeypatch):
    monkeypatch.setenv("NBQUEUE_BROKER", "zmq://me:secret@host:1")
    stats, conf, report = (tell(command).data for command in ("stats", "conf", "report"))
    assert stats["pool"]["processes"] == []
    assert stats["rusage"]["maxrss"] > 0
    assert conf["worker_lease"] == 10.0
    assert "py:" in report["ok"]
    assert "secret" not in repr((stats, conf, report))
    assert "the key" not in repr((stats, conf, report))
