"""The loop between sockets and core, with real links on the other side."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import zmq

from nbqueue.broker import daemon
from nbqueue.broker.daemon import Broker
from nbqueue.broker.options import BrokerOptions
from nbqueue.core.actions import Action, Send
from nbqueue.core.broker import BrokerSettings
from nbqueue.exceptions import ConfigurationError
from nbqueue.messages import (
    CONTROL,
    EXECUTOR,
    WORKER,
    Accepted,
    Answer,
    Ask,
    Assign,
    Goodbye,
    Hello,
    Outcome,
    Ping,
    Pong,
    Settle,
    Shutdown,
    Submit,
    Task,
    Unknown,
    Welcome,
)
from nbqueue.transports.zmq import ZmqLink
from nbqueue.wire import codec, keys
from tests.broker.running import (
    answers,
    broker_in_thread,
    broker_process,
    linked,
    over_tcp,
    receive_one,
    until,
)


def task(id: str) -> Task:
    return Task(id, "add", "", b"payload")


def test_a_task_goes_from_a_client_over_tcp_to_an_executor_over_ipc_and_its_outcome_back(
    broker: Broker,
) -> None:
    here = broker.connection
    with (
        linked(here, WORKER, "w") as worker,
        linked(over_tcp(here), id="client") as client,
    ):
        executor, control = ZmqLink(here), ZmqLink(here)
        executor.send([Hello(EXECUTOR, "e", worker="w", queues=["default"], registered=["add"])])
        control.send([Hello(CONTROL, "e", worker="w")])
        receive_one(executor, Welcome)
        receive_one(control, Welcome)
        worker.send([])
        client.send([Submit([task("one")])])
        assert receive_one(client, Accepted).ids == ["one"]
        (assignment,) = receive_one(executor, Assign).assignments
        assert assignment.task == task("one")
        executor.send([Settle([Outcome("one", assignment.token, "SUCCESS", b"value")])])
        (outcome,) = receive_one(client, Settle).outcomes
        assert (outcome.id, outcome.state, outcome.value) == ("one", "SUCCESS", b"value")
        executor.close()
        control.close()


def test_a_peer_that_did_not_say_hello_is_told_so(broker: Broker) -> None:
    link = ZmqLink(broker.connection)
    link.send([Ping()])
    receive_one(link, Unknown)
    link.close()


def test_what_a_peer_is_told_in_one_turn_is_one_frame(broker: Broker) -> None:
    with linked(broker.connection) as link:
        link.send([Ping()] * 100)
        until(lambda: link._dealer.poll(10))
        assert link.receive(1.0) == [Pong(broker._home.boot)] * 100


def test_the_core_hears_that_a_peer_is_gone_when_it_is_spoken_to(broker: Broker) -> None:
    with linked(broker.connection, id="watching"):
        with linked(broker.connection, id="gone") as gone:
            gone.send([Submit([task("one")])])
            receive_one(gone, Accepted)
        assert "gone" in broker._core.audience.clients
        with linked(broker.connection, WORKER, "w"), linked(broker.connection, EXECUTOR, "e"):
            pass
        broker.stop("said to all clients")
        until(lambda: "gone" not in broker._core.audience.clients)


def test_a_message_that_the_core_cannot_deal_with_is_logged_and_the_rest_goes_on(
    broker: Broker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with linked(broker.connection) as link:

        def fail(*_: Any) -> list[Action]:
            raise RuntimeError("a bug of ours")

        with monkeypatch.context() as patched:
            patched.setattr(broker._core, "receive", fail)
            link.send([Ping()])
            until(lambda: "cannot deal with a Ping" in caplog.text)
        link.send([Ping()])
        receive_one(link, Pong)


def test_an_error_in_what_is_due_is_logged_and_the_broker_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with broker_in_thread(tmp_path) as broker:
        calls: list[float] = []

        def fail(now: float) -> list[Action]:
            calls.append(now)
            raise RuntimeError("a mistake of ours")

        with monkeypatch.context() as patch:
            patch.setattr(broker._core, "tick", fail)
            patch.setattr(broker._core, "next_deadline", lambda: 0.0)
            until(lambda: len(calls) > 0)
            for _ in range(3):
                assert answers(broker.connection)
        assert len(calls) <= 2
        assert "a mistake of ours" in caplog.text


def test_a_pause_of_the_broker_itself_is_told_to_the_core(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    paused: list[float] = []
    done = threading.Event()

    def note(duration: float) -> None:
        paused.append(duration)
        done.set()

    monkeypatch.setattr(broker._core, "paused", note)
    monkeypatch.setattr(daemon, "_PAUSE", 0.1)
    began = broker._turned_at
    until(lambda: broker._turned_at != began)
    real = time.monotonic
    monkeypatch.setattr(daemon.time, "monotonic", lambda: real() + 60.0)
    broker._waker.wake()
    assert done.wait(10)
    assert 58.0 < paused[0] < 62.0


def test_a_broker_that_was_stopped_keeps_its_workers(tmp_path: Path) -> None:
    with (
        broker_process(tmp_path, worker_heartbeat=0.1, worker_lease=0.5) as (process, connection),
        linked(connection, WORKER, "w") as worker,
    ):
        process.send_signal(signal.SIGSTOP)
        time.sleep(2.5)  # what is tested is the passing of time while the process cannot see it
        process.send_signal(signal.SIGCONT)
        worker.send([Ping()])
        assert receive_one(worker, Pong)  # and not Unknown: its session was kept


def test_a_slow_reader_does_not_stop_the_others_and_is_dropped_past_its_bound(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker._outgoing, "_limit", 20_000)
    with (
        linked(over_tcp(broker.connection), id="asleep") as asleep,
        linked(broker.connection, id="awake") as awake,
    ):
        asleep_peer = broker._core.audience.clients["asleep"].peer
        big = "x" * 900_000

        def shower(peer: Any, message: Any, *others: Any) -> list[Action]:
            return (
                [Send(asleep_peer, Answer(1, big))]
                if isinstance(message, Ask)
                else receive(peer, message, *others)
            )

        receive = broker._core.receive
        monkeypatch.setattr(broker._core, "receive", shower)
        for _ in range(400):
            awake.send([Ask(1, "shower"), Ping()])
            receive_one(awake, Pong)
            if "asleep" not in broker._core.audience.clients:
                break
        assert "asleep" not in broker._core.audience.clients
        assert not broker._outgoing._kept
        asleep.send([Ping()])
        receive_one(asleep, Unknown)


def test_a_reader_that_was_late_gets_all_in_order(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        linked(over_tcp(broker.connection), id="late") as late,
        linked(broker.connection, id="awake") as awake,
    ):
        late_peer = broker._core.audience.clients["late"].peer
        receive = broker._core.receive

        def count(peer: Any, message: Any, *others: Any) -> list[Action]:
            if isinstance(message, Ask):
                return [Send(late_peer, Answer(message.number, "x" * 900_000))]
            return receive(peer, message, *others)

        monkeypatch.setattr(broker._core, "receive", count)
        for number in range(200):
            awake.send([Ask(number, "")])
        awake.send([Ping()])
        receive_one(awake, Pong)
        until(lambda: broker._outgoing._kept)
        numbers: list[int] = []
        while len(numbers) < 200:
            numbers += [message.number for message in late.receive(5.0) if isinstance(message, Answer)]
        assert numbers == list(range(200))
        until(lambda: not broker._outgoing._kept)


def test_one_who_sends_more_than_a_message_may_have_is_hung_up_on_and_the_others_are_not(
    tmp_path: Path,
) -> None:
    with (
        broker_in_thread(tmp_path, max_message_bytes=2**21) as broker,
        linked(over_tcp(broker.connection), id="large") as large,
        linked(broker.connection, id="other") as other,
    ):
        large.send([Submit([Task("one", "add", "", bytes(2**20))])])
        assert receive_one(large, Accepted).ids == ["one"]
        large.send([Submit([Task("two", "add", "", bytes(2**22))])])

        def is_unknown() -> bool:  # by another connection
            large.send([Ping()])
            return any(isinstance(message, Unknown) for message in large.receive(0.1))

        until(is_unknown)
        assert broker._core.tasks.records.get("two") is None
        other.send([Ping()])
        receive_one(other, Pong)


@pytest.mark.parametrize("size", [2**20, 2**31])
def test_a_size_of_messages_that_cannot_be_is_refused_at_the_start(tmp_path: Path, size: int) -> None:
    with pytest.raises(ConfigurationError, match="max_message_bytes is 2,097,152 to 1,073,741,824"):
        Broker(BrokerOptions(data_dir=str(tmp_path), settings=BrokerSettings(max_message_bytes=size)))


def test_little_is_kept_for_one_who_does_not_read_its_results_and_then_it_gets_them_all(
    tmp_path: Path,
) -> None:
    count, size = 200, 900_000
    with (
        # its executor has no supervisor that would be heard of
        broker_in_thread(tmp_path, worker_lease=300.0) as broker,
        linked(over_tcp(broker.connection), id="asleep") as asleep,
        contextlib.closing(ZmqLink(broker.connection)) as executor,
    ):
        executor.send([Hello(EXECUTOR, "e", worker="w", queues=["default"], registered=["add"])])
        asleep.send([Submit([task(str(n)) for n in range(count)])])
        done = 0
        while done < count:
            for message in executor.receive(5.0):
                for a in message.assignments if isinstance(message, Assign) else []:
                    executor.send([Settle([Outcome(a.task.id, a.token, "SUCCESS", bytes(size))])])
                    done += 1
        while broker._core.tasks.records.unfinished:
            executor.receive(0.05)  # sends on what the broker did not take at once
        kept = sum(kept.bytes for kept in broker._outgoing._kept.values())
        assert kept < 40e6, f"{kept:,} bytes of {count * size:,}"
        got: set[str] = set()
        while len(got) < count:
            for message in asleep.receive(5.0):
                if isinstance(message, Settle):
                    got |= {outcome.id for outcome in message.outcomes}
        until(lambda: not broker._outgoing._kept)
        assert not broker._outgoing.behind


def test_nobody_gets_the_messages_of_another_by_taking_his_routing_id(broker: Broker) -> None:
    with zmq.Context() as context, context.socket(zmq.DEALER) as victim, context.socket(zmq.DEALER) as thief:
        for peer in (victim, thief):
            peer.linger = 0
            peer.routing_id = b"the same"
        endpoint = f"ipc://{broker.connection.ipc}"
        victim.connect(endpoint)
        victim.send(codec.encode([Hello("client", "victim")])[0])
        assert victim.poll(5000)
        victim.recv()
        thief.connect(endpoint)
        thief.send(codec.encode([Ping()])[0])
        assert not thief.poll(200)
        victim.send(codec.encode([Ping()])[0])
        assert victim.poll(5000)
        assert codec.decode([victim.recv()]) == [Pong(1)]


def test_clients_and_local_workers_are_told_of_the_end(tmp_path: Path) -> None:
    with broker_in_thread(tmp_path) as broker:
        client, worker = ZmqLink(broker.connection), ZmqLink(over_tcp(broker.connection))
        client.send([Hello("client", "c")])
        worker.send([Hello(WORKER, "w", local=True)])
        receive_one(client, Welcome)
        receive_one(worker, Welcome)
        broker.stop("enough")
        assert receive_one(client, Shutdown).reason == "enough"
        assert receive_one(worker, Shutdown).reason == "enough"
    client.close()
    worker.close()


def test_a_worker_from_elsewhere_is_told_of_the_end_and_not_to_end(tmp_path: Path) -> None:
    with broker_in_thread(tmp_path) as broker, linked(over_tcp(broker.connection), WORKER) as worker:
        broker.stop("enough")
        until(lambda: broker._ended)
        time.sleep(0.05)  # a thread that is late
        assert receive_one(worker, Goodbye).reason == "enough"
        began = time.monotonic()
        worker.send([Goodbye(unreachable=True)])
        until(lambda: not broker._told)
        assert time.monotonic() - began < 0.25, "the broker did not hear that it was heard"


def test_the_end_is_told_to_a_peer_that_is_slow_to_listen(tmp_path: Path) -> None:
    # zmq drops what was not read yet when a connection closes
    with broker_in_thread(tmp_path) as broker:
        client = ZmqLink(over_tcp(broker.connection))
        client.send([Hello("client", "c")])
        receive_one(client, Welcome)
        broker.stop("enough")
        until(lambda: broker._ended)
        time.sleep(0.05)  # a thread that is late
        receive_one(client, Shutdown)
    client.close()


def test_a_broker_that_ends_is_not_found_any_more_and_its_place_is_free_soon(tmp_path: Path) -> None:
    with broker_process(tmp_path) as (process, connection), linked(connection) as link:
        link.send([Ask(1, "stop")])
        receive_one(link, Shutdown)
        until(lambda: keys.running(tmp_path) is None)
        with broker_process(tmp_path) as (_, successor):
            assert successor.pid != connection.pid
        assert process.wait(20) == 0


def test_a_client_can_end_it(tmp_path: Path) -> None:
    with broker_in_thread(tmp_path) as broker, linked(broker.connection) as link:
        link.send([Ask(1, "stop")])
        receive_one(link, Shutdown)
        until(lambda: broker._ended)


def test_an_idle_broker_ends_itself(tmp_path: Path) -> None:
    with broker_process(tmp_path, idle_timeout=0.2) as (process, _):
        assert process.wait(20) == 0


def test_many_peers_at_once(broker: Broker) -> None:
    links = [ZmqLink(over_tcp(broker.connection)) for _ in range(50)]
    for number, link in enumerate(links):
        link.send([Hello("client", str(number))])
    for link in links:
        receive_one(link, Welcome)
        link.send([Goodbye()])
        link.close()
    assert answers(broker.connection)


def test_the_process_loads_little_and_reads_no_pickles() -> None:
    unwanted = ["asyncio", "tornado", "click", "rich", "cloudpickle", "redis", "psutil", "IPython"]
    unwanted += [f"nbqueue.{name}" for name in ("client", "worker", "wire.payload", "wire.failure")]
    code = f"import sys, nbqueue.broker.main; print([n for n in {unwanted} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert done.stdout.strip() == "[]"


def test_the_source_of_broker_core_and_codec_mentions_no_pickle() -> None:
    package = Path(daemon.__file__).parents[1]
    files = [*package.joinpath("broker").glob("*.py"), *package.joinpath("core").glob("*.py")]
    for path in [*files, package / "wire" / "codec.py"]:
        lines = path.read_text().splitlines()
        assert not [line for line in lines if "import" in line and ("pickle" in line or "marshal" in line)], (
            path
        )


def test_its_connection_file_says_all_that_is_needed(broker: Broker) -> None:
    found = keys.running(Path(broker.connection.data_dir))
    assert found == broker.connection
    assert keys.find(found.url) == found
    assert (found.pid, found.is_alive) == (os.getpid(), True)
    assert Path(found.ipc).stat().st_mode & 0o777
    assert Path(found.ipc).parent.stat().st_mode & 0o777 == 0o700
