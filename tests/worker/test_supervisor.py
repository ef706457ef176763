"""The supervisor, with made-up executors and the test as broker."""

import logging
import signal
import threading
from types import SimpleNamespace

import msgspec
import pytest

from nbqueue import messages as m
from nbqueue import signals
from nbqueue.exceptions import AuthenticationError, ConfigurationError, ConnectionLostError
from nbqueue.wire import keys
from nbqueue.worker import absence, autoscale, staff, supervisor
from nbqueue.worker.lifeline import MISCONFIGURED, RETIRED
from nbqueue.worker.options import WorkerOptions
from tests.worker import processes
from tests.worker.fakes import FakeLink
from tests.worker.processes import wait_until

WELCOME = m.Welcome(boot=1, version="", heartbeat=0.05, lease=10.0, epoch=0.0)


class FakeSlot:
    token = 0

    @property
    def tokens(self):
        return [self.token] if self.token else []


class FakeChild:
    """An executor that does what the test says."""

    made: "list[FakeChild]" = []

    def __init__(self, options, worker_id, on_change, broker=None):
        self.id = f"e{len(self.made)}"
        self.pid = 1000 + len(self.made)
        self.slot = FakeSlot()
        self.ready = False
        self.exit_code = None
        self.peak_memory = 5
        self.last_words = "boom"
        self.signals = []
        self.drained = False
        self.queues = []
        self._on_change = on_change
        self.made.append(self)

    def get_ready(self):
        self.ready = True
        self._on_change()

    def end(self, code):
        self.exit_code = code
        self._on_change()

    def drain(self):
        self.drained = True

    def consume(self, queues):
        self.queues = queues

    def send_signal(self, number):
        self.signals.append(number)
        if number == signal.SIGKILL:
            self.end(-number)


class Rig:
    def __init__(self, caplog, broker=None, **options):
        FakeChild.made = []
        self.link = FakeLink()
        self.log = caplog
        log = logging.getLogger("tests.supervisor")
        log.setLevel(logging.INFO)
        options = {"concurrency": 2, "name": "w@test", **options}
        self.supervisor = supervisor.Supervisor(
            WorkerOptions(url="zmq://", **options), self.link, log, broker
        )
        self.code = None
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self):
        self.code = self.supervisor.run()

    @property
    def children(self):
        return FakeChild.made

    def said(self, text):
        return [r.message for r in self.log.records if text in r.message]

    def wait_said(self, text):
        wait_until(lambda: self.said(text), 5)

    def wait_children(self, count):
        wait_until(lambda: len(self.children) == count, 5)

    def exit_code(self):
        self.thread.join(5)
        assert not self.thread.is_alive()
        return self.code


@pytest.fixture
def start(monkeypatch, caplog):
    monkeypatch.setattr(staff, "Child", FakeChild)
    monkeypatch.setattr(staff, "KILL_GRACE", 0.05)
    monkeypatch.setattr(staff, "RESTART_DELAY", 0.02)
    monkeypatch.setattr(supervisor, "LOOK", 0.02)
    monkeypatch.setattr(absence, "REMINDER", 0.1)
    caplog.set_level(logging.INFO)
    rigs = []

    def start(**options):
        rigs.append(Rig(caplog, **options))
        return rigs[-1]

    yield start
    for rig in rigs:
        rig.supervisor.on_signal(signal.SIGQUIT)
        rig.thread.join(5)


@pytest.fixture
def rig(start):
    """A supervisor with two executors that are ready."""
    rig = start()
    rig.link.deliver(WELCOME)
    rig.wait_children(2)
    for child in rig.children:
        child.get_ready()
    rig.wait_said("w@test ready.")
    return rig


def test_it_is_ready_when_the_broker_has_welcomed_it_and_all_executors(start):
    rig = start()
    rig.wait_children(2)
    rig.children[0].get_ready()
    rig.link.deliver(WELCOME)
    rig.link.wait_sent(m.Heartbeat, 2)
    assert not rig.said("ready.")
    rig.children[1].get_ready()
    rig.wait_said("w@test ready.")


def test_it_says_hello_and_then_who_its_executors_are_with_each_heartbeat(rig):
    hello = rig.link.sent[0]
    assert (hello.role, hello.name, hello.worker) == (m.WORKER, "w@test", hello.id)
    beat = rig.link.wait_sent(m.Heartbeat, 3)
    assert beat.executors == ["e0", "e1"]
    assert len(beat.load) == 3


def test_a_broker_that_does_not_know_it_hears_hello_again(rig):
    rig.link.deliver(m.Unknown())
    assert rig.link.wait_sent(m.Hello, 2) == rig.link.sent[0]


def test_a_hello_that_was_lost_is_said_again(start, monkeypatch):
    monkeypatch.setattr(supervisor, "HEARTBEAT", 0.05)
    rig = start()
    assert rig.link.wait_sent(m.Hello, 3) == rig.link.sent[0]
    assert rig.link.of(m.Heartbeat) == []


def test_a_death_is_reported_with_its_lease_and_reason_and_the_executor_replaced(rig):
    rig.children[0].slot.token = 77
    rig.children[0].end(-signal.SIGSEGV)
    assert rig.link.wait_sent(m.ExecutorLost) == m.ExecutorLost("e0", 77, -11, 5, "boom")
    rig.wait_children(3)
    rig.wait_said("executor 1000: its process was killed by signal 11 (SIGSEGV")


def test_executors_that_keep_dying_between_tasks_are_replaced_more_and_more_slowly(start):
    rig = start(concurrency=1)
    for number in range(4):
        rig.wait_children(number + 1)
        rig.children[number].get_ready()
        rig.children[number].end(1)
    rig.wait_children(5)
    assert [text.split()[-2] for text in rig.said("the next one starts in")] == [
        "0.02",
        "0.04",
        "0.08",
        "0.16",
    ]


def test_one_that_dies_of_its_task_is_replaced_at_once(rig, monkeypatch):
    for number in range(5):
        rig.wait_children(2 + number)
        rig.children[-1].get_ready()
        rig.children[-1].slot.token = 7
        rig.children[-1].end(-signal.SIGKILL)
    rig.wait_children(7)
    assert not rig.said("the next one starts in")


def test_a_kill_is_asked_politely_first(rig):
    rig.children[1].slot.token = 7
    rig.link.deliver(m.Kill("e1", 7, "past its time limit"))
    wait_until(lambda: rig.children[1].signals == [signal.SIGTERM, signal.SIGKILL])
    assert rig.children[0].signals == []
    rig.wait_said("terminated: past its time limit")


def test_a_kill_for_a_lease_that_has_ended_hits_nobody(rig):
    rig.children[1].slot.token = 8
    rig.link.deliver(m.Kill("e1", 7, "cancelled"))
    rig.link.wait_sent(m.Heartbeat, len(rig.link.of(m.Heartbeat)) + 2)
    assert rig.children[1].signals == []


def test_an_executor_that_got_away_after_the_polite_request_is_left_alone(rig):
    rig.children[1].slot.token = 7
    rig.link.deliver(m.Kill("e1", 7, "cancelled"))
    wait_until(lambda: rig.children[1].signals)
    rig.children[1].slot.token = 0
    rig.link.wait_sent(m.Heartbeat, len(rig.link.of(m.Heartbeat)) + 3)
    assert rig.children[1].signals == [signal.SIGTERM]


def test_told_to_end_it_lets_executors_finish_and_says_goodbye(rig):
    rig.supervisor.on_signal(signal.SIGTERM)
    wait_until(lambda: all(child.drained for child in rig.children))
    rig.children[0].end(0)
    rig.children[1].end(0)
    assert rig.exit_code() == 0
    assert rig.link.sent[-1] == m.Goodbye()
    assert rig.link.of(m.ExecutorLost) == []
    assert len(rig.children) == 2


def test_an_executor_that_dies_while_it_drains_is_reported_and_not_replaced(rig):
    rig.children[0].slot.token = 9
    rig.supervisor.on_signal(signal.SIGTERM)
    rig.children[0].end(-signal.SIGKILL)
    rig.children[1].end(0)
    assert rig.exit_code() == 0
    assert [lost.token for lost in rig.link.of(m.ExecutorLost)] == [9]
    assert len(rig.children) == 2


@pytest.mark.parametrize("signals", [[signal.SIGINT, signal.SIGINT], [signal.SIGQUIT]])
def test_told_twice_it_kills_executors_and_reports_no_deaths(rig, signals):
    rig.children[0].slot.token = 9
    for number in signals:
        rig.supervisor.on_signal(number)
    assert rig.exit_code() == 0
    assert [child.signals for child in rig.children] == [[signal.SIGKILL]] * 2
    assert rig.link.of(m.ExecutorLost) == []
    assert rig.link.sent[-1] == m.Goodbye()


def test_it_ends_with_its_broker_when_told_so(rig):
    rig.link.deliver(m.Shutdown("asked to stop"))
    assert rig.exit_code() == 0
    assert rig.said("the broker ends: asked to stop")


def test_a_refusal_ends_it_with_the_reason(start):
    rig = start()
    rig.link.deliver(m.Refused("install the same version on both"))
    assert rig.exit_code() == 1
    assert rig.said("install the same version on both")


def test_a_wrong_key_ends_it_with_the_reason(start):
    rig = start()
    rig.link.trouble = AuthenticationError("the broker does not know this key")
    assert rig.exit_code() == 1
    assert rig.said("the broker does not know this key")


def test_a_broker_that_is_away_is_reported_and_so_is_its_return(rig):
    rig.link.trouble = ConnectionLostError("nobody listens at zmq://x")
    rig.wait_said("nobody listens at zmq://x; trying on")
    rig.link.wait_sent(m.Heartbeat, len(rig.link.of(m.Heartbeat)) + 3)
    assert len(rig.said("nobody listens")) == 1
    rig.link.trouble = None
    rig.wait_said("there again")


def test_a_broker_that_says_that_it_ends_is_waited_for_and_not_called_broken(rig):
    rig.link.deliver(m.Goodbye(reason="asked to stop"))
    rig.wait_said("the broker ends: asked to stop; waiting for the next one")
    assert rig.link.wait_sent(m.Goodbye).unreachable
    rig.link.trouble = ConnectionLostError("the connection to zmq://x broke")
    rig.link.wait_sent(m.Heartbeat, len(rig.link.of(m.Heartbeat)) + 3)
    assert not rig.said("broke; trying on")
    rig.link.trouble = None
    rig.wait_said("there again")
    rig.link.deliver(WELCOME)
    rig.link.wait_sent(m.Heartbeat, len(rig.link.of(m.Heartbeat)) + 3)
    rig.link.trouble = ConnectionLostError("the connection to zmq://x broke")
    rig.wait_said("broke; trying on")  # this time nobody said so
    assert not any(child.drained or child.signals for child in rig.children)


def test_a_worker_of_the_local_cluster_does_not_wait_for_ever(start, monkeypatch):
    monkeypatch.setattr(absence, "LOCAL_PATIENCE", 0.1)
    assert start(local=True).exit_code() == 1


def dead_broker(folder, *, took_leave):
    """Its process is no more; how it ended shows by its connection file."""
    with processes.broker(folder) as broker:
        connection = msgspec.structs.replace(broker.connection, pid=1, started=1.0)
    if not took_leave:
        keys.write_connection(folder / "broker.json", connection)
    return connection


def test_a_worker_of_the_local_cluster_ends_at_once_when_its_broker_took_its_leave(start, tmp_path):
    rig = start(local=True, broker=dead_broker(tmp_path, took_leave=True))
    rig.link.deliver(WELCOME)
    rig.link.trouble = ConnectionLostError("lost")
    assert rig.exit_code() == 0
    assert rig.said("the broker has ended")


@pytest.mark.parametrize(("local", "took_leave"), [(True, False), (False, True)])
def test_it_waits_for_a_broker_that_died_or_is_not_of_the_local_cluster(start, tmp_path, local, took_leave):
    rig = start(local=local, broker=dead_broker(tmp_path, took_leave=took_leave))
    rig.link.deliver(WELCOME)
    rig.link.wait_sent(m.Heartbeat)
    rig.link.trouble = ConnectionLostError("lost")
    rig.wait_said("lost; trying on")
    rig.link.wait_sent(m.Heartbeat, len(rig.link.of(m.Heartbeat)) + 3)
    assert rig.thread.is_alive()


def test_without_a_broker_for_its_patience_it_ends_when_what_runs_is_finished(start):
    rig = start(broker_patience=0.1, concurrency=1)
    rig.link.deliver(WELCOME)
    rig.wait_children(1)
    rig.children[0].get_ready()
    rig.children[0].slot.token = 7
    rig.link.trouble = ConnectionLostError("lost")
    rig.wait_said("tasks that run: 1")
    assert rig.thread.is_alive()
    rig.children[0].slot.token = 0
    assert rig.exit_code() == 1
    assert rig.said("no broker for 0 s: giving up")


def test_with_a_patience_of_0_it_waits_for_ever(start):
    rig = start(broker_patience=0.0)
    rig.wait_said("no broker for 0 s; trying on")
    assert rig.thread.is_alive()


def test_the_absence_of_a_broker_is_said_again_and_again_but_sparsely(start):
    rig = start()
    wait_until(lambda: len(rig.said("trying on")) == 3)
    times = [record.created for record in rig.log.records if "trying on" in record.message]
    assert times[2] - times[1] > 1.5 * (times[1] - times[0])


def test_executors_that_die_at_their_start_end_it_after_three_in_a_row(start):
    rig = start(concurrency=1)
    for number in range(3):
        rig.wait_children(number + 1)
        rig.children[number].end(1)
    assert rig.exit_code() == 1
    assert rig.said("executors die at their start, 3 times in a row")


def test_executors_that_die_together_count_once(start):
    rig = start(concurrency=4)
    for number in range(2):
        rig.wait_children(4 * number + 4)
        for child in rig.children[-4:]:
            child.end(1)
    rig.wait_children(12)
    rig.children[-1].end(1)
    assert rig.exit_code() == 1


def test_one_that_dies_at_its_start_does_not_end_those_that_work(rig):
    for number in range(4):
        rig.wait_children(2 + number)
        rig.children[-1].end(1)
    rig.wait_children(6)


def test_an_executor_that_got_ready_ends_the_row(start):
    rig = start(concurrency=1)
    for number in range(4):
        rig.wait_children(number + 1)
        if number == 2:
            rig.children[number].get_ready()
        rig.children[number].end(1)
    rig.wait_children(5)


def test_options_that_cannot_be_end_it_at_once(start):
    rig = start(concurrency=1)
    rig.wait_children(1)
    rig.children[0].last_words = "-A x: there is no module 'x' here"
    rig.children[0].end(MISCONFIGURED)
    assert rig.exit_code() == 1
    assert rig.said("there is no module 'x' here")


# ── changed while it runs ────────────────────────────────────────────────────────────────────


def ask(rig, call):
    """What a remote command does: in the supervisor's own thread."""
    take_in = rig.supervisor._take_in
    rig.supervisor._take_in = lambda message: call(rig.supervisor)
    rig.link.deliver(m.Pong(1))
    wait_until(lambda: not rig.link._inbox, 5)
    rig.supervisor._take_in = take_in


def test_a_pool_that_grows_starts_executors_and_one_that_shrinks_lets_idle_ones_go(rig):
    ask(rig, lambda supervisor: supervisor.grow(2))
    rig.wait_children(4)
    rig.children[0].slot.token = 7
    ask(rig, lambda supervisor: supervisor.shrink(3))
    wait_until(lambda: [c.drained for c in rig.children] == [False, True, True, True], 5)
    for child in rig.children[1:]:
        child.end(0)
    wait_until(lambda: rig.supervisor.staff.children == rig.children[:1], 5)
    assert rig.link.of(m.ExecutorLost) == []


def test_one_executor_has_to_stay(rig):
    with pytest.raises(ConfigurationError, match="one has to stay"):
        rig.supervisor.shrink(2)


def test_a_pool_of_threads_has_its_size_from_the_start(start):
    rig = start(pool="threads", concurrency=3)
    rig.wait_children(1)
    for change in (rig.supervisor.grow, rig.supervisor.shrink):
        with pytest.raises(ConfigurationError, match="run another worker beside it"):
            change(1)


def test_a_restart_replaces_executors_while_they_finish_what_they_run(rig):
    ask(rig, lambda supervisor: supervisor.restart())
    rig.wait_children(4)
    assert [c.drained for c in rig.children] == [True, True, False, False]
    rig.children[0].end(0)
    wait_until(lambda: len(rig.supervisor.staff.children) == 3, 5)
    assert not rig.said("ended with")


def test_an_executor_that_has_run_its_share_is_replaced_at_once_and_nobody_is_alarmed(rig):
    rig.children[0].end(RETIRED)
    rig.wait_children(3)
    assert rig.link.of(m.ExecutorLost) == []
    assert not rig.said("the next one starts in")


def test_other_queues_reach_the_executors_the_broker_and_executors_that_come_later(rig):
    ask(rig, lambda supervisor: supervisor.add_consumer("gpu"))
    wait_until(lambda: [c.queues for c in rig.children] == [["default", "gpu"]] * 2, 5)
    assert rig.link.of(m.Hello)[-1].queues == ["default", "gpu"]
    ask(rig, lambda supervisor: supervisor.cancel_consumer("default"))
    ask(rig, lambda supervisor: supervisor.grow())
    rig.wait_children(3)
    wait_until(lambda: rig.children[2].queues == ["gpu"], 5)
    with pytest.raises(ConfigurationError, match="the only queue"):
        rig.supervisor.cancel_consumer("gpu")


def test_an_autoscaled_pool_begins_with_the_least_and_grows_with_the_work(start, monkeypatch):
    monkeypatch.setattr(autoscale, "LOOK", 0.01)
    monkeypatch.setattr(autoscale, "RISE", 0.05)
    monkeypatch.setattr(autoscale, "FALL", 0.2)
    rig = start(autoscale=(3, 1), concurrency=0)
    rig.link.deliver(WELCOME)
    rig.wait_children(1)
    rig.children[0].slot.token = 7
    rig.wait_children(2)
    rig.children[0].slot.token = 0
    wait_until(lambda: sum(c.drained for c in rig.children) == 1, 5)
    assert rig.said("of which 1 are enough")


def test_a_process_that_runs_other_tasks_too_is_not_killed_for_one(start):
    rig = start(pool="threads", concurrency=2)
    rig.wait_children(1)
    (child,) = rig.children
    child.slot = SimpleNamespace(tokens=[7, 8])
    rig.link.deliver(m.Kill(child.id, 7, "its task is over"), m.Kill(child.id, 7, "its task is over"))
    rig.wait_said("goes when nothing else runs there")
    assert child.signals == []
    assert len(rig.said("goes when nothing else runs there")) == 1
    child.slot.tokens = [7]
    rig.link.deliver(m.Kill(child.id, 7, "its task is over"))
    wait_until(lambda: child.signals, 5)


def test_all_that_a_dead_process_ran_is_named(start):
    rig = start(pool="threads", concurrency=2)
    rig.wait_children(1)
    rig.children[0].slot = SimpleNamespace(tokens=[7, 8])
    rig.children[0].end(-11)
    lost = rig.link.wait_sent(m.ExecutorLost)
    assert (lost.token, lost.others) == (7, [8])


def test_code_that_changes_has_executors_replaced(start, monkeypatch):
    changes = iter(["", "tasks.py"])
    watch = SimpleNamespace(changed=lambda now: next(changes, ""))
    monkeypatch.setattr(supervisor, "Watch", lambda: watch)
    rig = start(autoreload=True, app="tasks")
    rig.link.deliver(WELCOME)
    rig.wait_said("tasks.py has changed")
    rig.wait_children(4)


def test_signals_of_the_worker_are_sent(start):
    heard = []

    def hear(sender=None, signal=None, **told):
        heard.append((signal.name, getattr(sender, "hostname", sender), told))

    names = ("worker_before_create_process", "worker_ready", "worker_shutting_down")
    for name in names:
        getattr(signals, name).connect(hear)
    try:
        rig = start(concurrency=1)
        rig.link.deliver(WELCOME)
        rig.wait_children(1)
        rig.children[0].get_ready()
        rig.wait_said("ready.")
        rig.supervisor.on_signal(signal.SIGTERM)
        wait_until(lambda: rig.children[0].drained, 5)
        rig.children[0].end(0)
        rig.exit_code()
    finally:
        for name in names:
            getattr(signals, name).disconnect(hear)
    assert [name for name, _, _ in heard] == list(names)
    assert heard[1][1] == "w@test"
    assert heard[2] == ("worker_shutting_down", "w@test", {"sig": "SIGTERM", "how": "Warm", "exitcode": 0})
