"""What a peer may say by its key's role, and that what it may not has no effect."""

from typing import Any

import pytest

from nbqueue import messages as m
from nbqueue.core.actions import Keep, Send
from nbqueue.core.blobs import name_of
from nbqueue.core.broker import BrokerCore, BrokerSettings
from nbqueue.core.entries import AnyEntry, decode, encode
from nbqueue.core.permissions import CLIENT, ROLES, VIEWER, WORKER, Key
from nbqueue.core.records import DONE, LEASED, READY, SCHEDULED
from nbqueue.testing.invariants import check

PERSON = Key("default", CLIENT)
MACHINE = Key("gpu", WORKER)
SCREEN = Key("wall", VIEWER)
OTHER_MACHINE = Key("cpu", WORKER)

BLOB = b"a function"
NAME = name_of(BLOB)
SECRET = b"a function of another"


class House:
    """A broker with a person, a machine that runs a task of theirs, and a screen."""

    def __init__(self, **settings: Any) -> None:
        self.core = BrokerCore(BrokerSettings(**settings), boot=1)
        self.keys: dict[str, Key] = {}
        #: what is written down
        self.kept: list[list[AnyEntry]] = []
        self.hello("ann", PERSON)
        self.say("ann", m.Define("d", BLOB))
        self.say("ann", m.Define("secret", SECRET))
        self.hello("supervisor", MACHINE, m.WORKER)
        self.hello("executor", MACHINE, m.EXECUTOR, worker="supervisor", queues=["default"])
        self.hello("task", MACHINE)
        self.hello("wall", SCREEN)
        self.lease = self.assigned(self.say("ann", m.Submit([task("parent"), task("waiting")])))

    def hello(self, peer: str, key: Key, role: str = m.CLIENT, **fields: Any) -> list[m.AnyMessage]:
        self.keys[peer] = key
        return self.say(peer, m.Hello(role=role, id=peer, **fields))

    def say(self, peer: str, message: m.AnyMessage) -> list[m.AnyMessage]:
        """Say it; returns what the sender is told, and remembers what others are."""
        actions = self.core.receive(peer, message, 0.0, self.keys[peer])
        check(self.core)
        self.kept += [a.entries for a in actions if isinstance(a, Keep)]
        self.told = [(a.peer, a.message) for a in actions if isinstance(a, Send)]
        return [message for to, message in self.told if to == peer]

    def assigned(self, _: object) -> m.Assignment:
        (lease,) = (
            a for _, message in self.told if isinstance(message, m.Assign) for a in message.assignments
        )
        return lease

    def place(self, id: str) -> str:
        record = self.core.tasks.records.get(id)
        return record.place if record is not None else "nowhere"


def task(id: str, **fields: Any) -> m.Task:
    return m.Task(id, **{"name": "f", "definition": "d", "payload": b"", **fields})


@pytest.fixture
def house() -> House:
    return House()


def refused(answers: list[m.AnyMessage]) -> bool:
    return any(isinstance(a, m.Refused) for a in answers)


def denied(answers: list[m.AnyMessage]) -> bool:
    return any(isinstance(a, m.Denied) for a in answers)


# ── viewers ──────────────────────────────────────────────────────────────────────────────────────


def test_a_viewer_reads_status_tasks_reasons_and_results(house: House) -> None:
    for number, topic in enumerate(("status", "tasks", "why")):
        (answer,) = house.say("wall", m.Ask(number, topic, {"id": "parent"}))
        assert isinstance(answer, m.Answer)
        assert answer.error == ""
    (known,) = house.say("wall", m.Watch(["parent"]))
    assert isinstance(known, m.Known)
    house.say("executor", m.Progress("parent", house.lease.token, 1.0))
    assert ("wall", m.Progress("parent", house.lease.token, 1.0)) in house.told


def test_what_a_viewer_submits_is_rejected_task_by_task_and_not_kept(house: House) -> None:
    answers = house.say("wall", m.Submit([task("a"), task("b")]))
    assert [a.id for a in answers if isinstance(a, m.Rejected)] == ["a", "b"]
    assert "'wall' is a viewer's key, which may read, and nothing else" in str(answers)
    assert house.place("a") == "nowhere"


@pytest.mark.parametrize(
    "message",
    [m.Cancel(["waiting"]), m.Forget(["waiting"]), m.Define("new", b"x")],
    ids=["cancel", "forget", "define"],
)
def test_what_else_a_viewer_may_not_is_denied_and_does_nothing(house: House, message: m.AnyMessage) -> None:
    reason = "'wall' is a viewer's key, which may read, and nothing else"
    assert house.say("wall", message) == [m.Denied(type(message).__name__, reason)]
    assert house.place("waiting") == READY
    assert "new" not in house.core.tasks.blobs


def test_a_viewer_that_reads_slowly_does_not_keep_tasks_from_running() -> None:
    house = House(max_results=1)
    house.say("wall", m.Watch(["parent", "waiting"]))
    house.core.behind({"wall"})
    for id in ("parent", "waiting"):
        house.say("executor", m.Settle([m.Outcome(id, house.lease.token, "SUCCESS")]))
        if id == "parent":
            house.lease = house.assigned(None)
    assert set(house.core.audience.clients["wall"].owed) == {"waiting", "parent"}
    house.say("ann", m.Submit([task("next")]))
    assert house.assigned(None).task.id == "next"
    assert not house.core.dispatch.paused


def test_a_viewer_cannot_stop_the_broker(house: House) -> None:
    (answer,) = house.say("wall", m.Ask(1, "stop"))
    assert isinstance(answer, m.Answer)
    assert "viewer" in answer.error
    assert not house.core.stopped


@pytest.mark.parametrize("part", [m.WORKER, m.EXECUTOR, m.CONTROL])
def test_a_viewer_cannot_come_as_a_worker(house: House, part: str) -> None:
    assert refused(house.hello("spy", SCREEN, part, worker="supervisor", queues=["default"]))
    assert "spy" not in house.core.dispatch.workers
    assert "spy" not in house.core.dispatch.executors


# ── workers ──────────────────────────────────────────────────────────────────────────────────────


def test_a_task_submits_children_and_deals_with_them(house: House) -> None:
    assert house.say("task", m.Define(NAME, BLOB)) == []
    child = task("child", definition=NAME, parent_id="parent")
    assert m.Accepted(["child"]) in house.say("task", m.Submit([child]))
    assert m.Accepted(["child"]) in house.say("task", m.Submit([child]))  # said again after a broken link
    assert any(isinstance(a, m.Known) for a in house.say("task", m.Watch(["child"])))
    (why,) = house.say("task", m.Ask(1, "why", {"id": "child"}))
    assert isinstance(why, m.Answer)
    assert "waiting" in why.data["text"]
    assert not denied(house.say("task", m.Cancel(["child"])))
    assert house.place("child") == DONE
    assert not denied(house.say("task", m.Forget(["child"])))
    assert house.place("child") == "nowhere"


@pytest.mark.parametrize("parent", ["", "waiting", "unheard of"])
def test_a_task_of_no_lease_of_that_key_is_rejected(house: House, parent: str) -> None:
    (answer,) = house.say("task", m.Submit([task("child", parent_id=parent)]))
    assert isinstance(answer, m.Rejected)
    assert "'gpu' is a worker's key" in answer.reason
    assert house.place("child") == "nowhere"


def test_when_the_parent_is_done_or_runs_elsewhere_its_children_are_rejected(house: House) -> None:
    house.hello("stranger", OTHER_MACHINE)
    child = task("child", parent_id="parent")
    assert isinstance(house.say("stranger", m.Submit([child]))[0], m.Rejected)
    house.say("executor", m.Settle([m.Outcome("parent", house.lease.token, "SUCCESS")]))
    assert isinstance(house.say("task", m.Submit([child]))[0], m.Rejected)


@pytest.mark.parametrize("message", [m.Cancel(["waiting"]), m.Forget(["waiting"])], ids=["cancel", "forget"])
def test_tasks_of_others_a_worker_does_not_change(house: House, message: m.AnyMessage) -> None:
    (answer,) = house.say("task", message)
    assert isinstance(answer, m.Denied)
    assert answer.word == type(message).__name__
    assert "'gpu' is a worker's key" in answer.reason
    assert house.place("waiting") == READY


def test_tasks_of_others_are_to_a_worker_as_if_there_were_none(house: House) -> None:
    house.say("task", m.Submit([task("child", parent_id="parent")]))
    answers = house.say("task", m.Watch(["waiting", "child", "parent", "unheard of"]))
    (known,) = (a for a in answers if isinstance(a, m.Known))
    assert known.id == "child"
    assert m.NotFound(["waiting", "parent", "unheard of"]) in answers
    assert len(answers) == 2
    record = house.core.tasks.records.get("parent")
    assert record is not None
    assert record.watchers == ("ann",)


@pytest.mark.parametrize("topic", ["why", "status", "tasks", "stop"])
def test_a_worker_is_not_answered_about_others(house: House, topic: str) -> None:
    (answer,) = house.say("task", m.Ask(1, topic, {"id": "parent"}))
    assert isinstance(answer, m.Answer)
    assert answer.data is None
    assert "worker's key" in answer.error
    assert not house.core.stopped


def test_the_question_that_proves_order_is_answered_to_workers_too(house: House) -> None:
    (answer,) = house.say("task", m.Ask(1, "why", {"id": ""}))
    assert isinstance(answer, m.Answer)
    assert answer.error == ""


def test_submitting_the_id_of_anothers_task_does_not_open_it(house: House) -> None:
    (answer,) = house.say("task", m.Submit([task("waiting", parent_id="parent")]))
    assert isinstance(answer, m.Rejected)


def test_a_worker_cannot_put_a_blob_under_a_name_that_is_not_its_own(house: House) -> None:
    assert refused(house.say("task", m.Define(NAME, b"something else")))
    assert NAME not in house.core.tasks.blobs


def test_a_worker_that_runs_nothing_defines_nothing(house: House) -> None:
    house.hello("stranger", OTHER_MACHINE)
    house.say("stranger", m.Define(NAME, BLOB))
    assert NAME not in house.core.tasks.blobs


def test_an_executor_gets_the_blobs_of_its_leases_only(house: House) -> None:
    assert house.say("executor", m.Need("d")) == [m.Define("d", BLOB)]
    assert house.say("executor", m.Need("secret")) == [m.Define("secret", b"")]


def test_an_executor_cannot_report_on_leases_of_others(house: House) -> None:
    house.hello("supervisor 2", OTHER_MACHINE, m.WORKER)
    house.hello("thief", OTHER_MACHINE, m.EXECUTOR, worker="supervisor 2", queues=["none"])
    token = house.lease.token
    for report in (
        m.Started("parent", token),
        m.Progress("parent", token, 1.0),
        m.Update("parent", token, "DONE", b""),
        m.Output("parent", token, 0, "stdout", "forged"),
        m.Settle([m.Outcome("parent", token, "SUCCESS")]),
        m.Retry("parent", token, 0.0),
        m.Returned([token]),
    ):
        house.say("thief", report)
        assert [to for to, _ in house.told if to == "ann"] == []
    house.say("supervisor 2", m.ExecutorLost("executor", token, -9))
    record = house.core.tasks.records.get("parent")
    assert record is not None
    assert (record.place, record.state, record.output, record.deaths) == (LEASED, "PENDING", None, 0)


def test_an_outcome_is_that_of_its_lease_whatever_id_it_says(house: House) -> None:
    house.say("executor", m.Settle([m.Outcome("waiting", house.lease.token, "SUCCESS", b"forged")]))
    assert house.place("parent") == DONE
    outcomes = [o for to, a in house.told if to == "ann" and isinstance(a, m.Settle) for o in a.outcomes]
    assert [outcome.id for outcome in outcomes] == ["parent"]


# ── taking the place of others ───────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("key", [SCREEN, MACHINE, OTHER_MACHINE])
def test_nobody_takes_the_place_of_a_client_by_its_id(house: House, key: Key) -> None:
    house.keys["thief"] = key
    answers = house.say("thief", m.Hello(m.CLIENT, "ann"))
    assert "'ann' is the id of a peer that came by another key" in str(answers)
    assert house.core.audience.clients["ann"].peer == "ann"


@pytest.mark.parametrize(
    "hello",
    [
        m.Hello(m.WORKER, "supervisor"),
        m.Hello(m.EXECUTOR, "executor", worker="supervisor"),
        m.Hello(m.CONTROL, "executor", worker="supervisor"),
        m.Hello(m.EXECUTOR, "fifth column", worker="supervisor", queues=["default"]),
    ],
    ids=["worker", "executor", "control", "new executor"],
)
def test_a_worker_does_not_take_the_place_of_another(house: House, hello: m.Hello) -> None:
    house.keys["thief"] = OTHER_MACHINE
    assert refused(house.say("thief", hello))
    assert house.core.dispatch.workers["supervisor"].peer == "supervisor"
    assert house.core.dispatch.executors["executor"].peer == "executor"


def test_a_connection_that_is_used_by_another_key_has_to_say_hello(house: House) -> None:
    house.keys["ann"] = SCREEN  # its routing id was free again
    assert house.say("ann", m.Cancel(["waiting"])) == [m.Unknown()]
    assert house.place("waiting") == READY


def test_a_connection_is_one_peer_however_often_it_says_hello(house: House) -> None:
    house.keys["many"] = PERSON
    for n in range(100):
        house.say("many", m.Hello(m.CLIENT, f"client {n}"))
        house.say("many", m.Hello(m.EXECUTOR, f"executor {n}", worker="its own"))
    assert len(house.core.audience.clients) == 3
    assert len(house.core.dispatch.executors) == 2


def test_past_max_connections_newcomers_are_refused_and_the_others_served() -> None:
    house = House(max_connections=5)
    answers = house.hello("late", PERSON)
    assert "5 connections already, which is its setting max_connections" in str(answers)
    assert house.say("ann", m.Ping()) == [m.Pong(1)]
    house.keys["ann again"] = PERSON
    assert not refused(house.say("ann again", m.Hello(m.CLIENT, "ann")))
    house.say("wall", m.Goodbye())
    assert not refused(house.hello("late", PERSON))


# ── revoked keys ─────────────────────────────────────────────────────────────────────────────────


def told_by(house: House, name: str) -> set[object]:
    actions = house.core.revoke(name, "key 'gpu' was revoked", 0.0)
    check(house.core)
    return {a.peer for a in actions if isinstance(a, Send) and isinstance(a.message, m.Refused)}


def test_a_revoked_key_ends_the_sessions_of_all_who_came_by_it(house: House) -> None:
    house.hello("control", MACHINE, m.CONTROL, worker="supervisor")
    assert told_by(house, "gpu") == {"supervisor", "executor", "control", "task"}
    for peer in ("supervisor", "executor", "control", "task"):
        assert house.say(peer, m.Ping()) == [m.Unknown()]
    assert house.say("ann", m.Ping()) == [m.Pong(1)]


def test_what_ran_by_a_revoked_key_goes_back_to_the_queue_free_of_charge(house: House) -> None:
    told_by(house, "gpu")
    record = house.core.tasks.records.get("parent")
    assert record is not None
    assert (record.place, record.deaths, record.losses) == (READY, 0, 0)
    house.hello("rescue", PERSON, m.EXECUTOR, worker="another", queues=["default"])
    lease = house.assigned(None)
    assert lease.task.id == "parent"
    assert lease.token > house.lease.token


def test_another_keys_sessions_stay(house: House) -> None:
    assert told_by(house, "cpu") == set()
    assert house.say("executor", m.Ping()) == [m.Pong(1)]


# ── the next broker ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("source", ["journal", "snapshot"])
def test_who_may_do_what_outlives_the_broker(house: House, source: str) -> None:
    house.say("task", m.Submit([task("child", parent_id="parent")]))
    kept = [[house.core.began], *house.kept] if source == "journal" else list(house.core.standing())
    house.core = BrokerCore(BrokerSettings(), boot=2)
    recovery = house.core.recovery()
    for entries in kept:
        recovery.read(decode(encode(entries)))
    recovery.finish(0.0)
    check(house.core)
    house.keys["thief"] = OTHER_MACHINE
    assert refused(house.say("thief", m.Hello(m.EXECUTOR, "executor", worker="supervisor")))
    house.hello("task", MACHINE)
    assert any(isinstance(a, m.Known) for a in house.say("task", m.Watch(["child"])))
    assert house.say("task", m.Watch(["waiting"])) == [m.NotFound(["waiting"])]
    held = [("parent", house.lease.token)]
    house.hello("executor", MACHINE, m.EXECUTOR, worker="supervisor", queues=["default"], held=held)
    house.say("executor", m.Settle([m.Outcome("parent", house.lease.token, "SUCCESS")]))
    assert house.place("parent") == DONE


def test_what_was_not_due_or_is_of_another_queue_was_not_given_out_by_the_last_broker(house: House) -> None:
    house.say("ann", m.Submit([task("later", countdown=60.0), task("elsewhere", queue="secret")]))
    kept = list(house.core.standing())
    house.core = BrokerCore(BrokerSettings(), boot=3)
    recovery = house.core.recovery()
    for entries in kept:
        recovery.read(entries)
    recovery.finish(0.0)
    held = [(id, (2 << 32) + n) for n, id in enumerate(("later", "elsewhere"), 1)]
    house.hello("liar", MACHINE, m.EXECUTOR, worker="supervisor", queues=["default"], held=held)
    assert (house.place("later"), house.place("elsewhere")) == (SCHEDULED, READY)


@pytest.mark.parametrize("key", [PERSON, MACHINE])
def test_a_lease_that_no_broker_gave_is_not_to_be_had(house: House, key: Key) -> None:
    future = house.lease.token + 1000
    house.hello("inventor", key, m.EXECUTOR, worker="new", held=[("waiting", future)])
    assert house.place("waiting") == READY


# ── the table ────────────────────────────────────────────────────────────────────────────────────


def test_a_client_may_do_everything(house: House) -> None:
    house.hello("bob", PERSON)
    assert any(isinstance(a, m.Known) for a in house.say("bob", m.Watch(["parent"])))
    assert m.Accepted(["free"]) in house.say("bob", m.Submit([task("free")]))
    assert not denied(house.say("bob", m.Cancel(["waiting"])))
    house.say("bob", m.Ask(1, "stop"))
    assert house.core.stopped


def test_there_are_three_roles() -> None:
    assert ROLES == ("client", "worker", "viewer")


# ── steps of workflows ───────────────────────────────────────────────────────────────────────────


def after(id: str, *before: str, parent: str = "parent") -> m.Task:
    return task(id, parent_id=parent, definition="", step=m.Step(list(before), takes=0))


def test_a_task_may_have_something_come_after_itself_and_after_its_children(house: House) -> None:
    house.say("task", m.Submit([task("child", parent_id="parent", definition="")]))
    answers = house.say("task", m.Submit([after("a", "parent"), after("b", "child")]))
    assert answers == [m.Accepted(["a", "b"])]
    assert house.place("a") == "waiting"


def test_a_task_cannot_have_something_come_after_a_task_of_others(house: House) -> None:
    house.say("ann", m.Submit([task("hers")]))
    (answer,) = house.say("task", m.Submit([after("a", "hers")]))
    assert isinstance(answer, m.Rejected)
    assert house.place("a") == "nowhere"


def test_an_executor_gets_the_inputs_of_its_leases_only(house: House) -> None:
    def outcomes(number: int) -> list[m.AnyMessage]:
        house.say("executor", m.Settle([m.Outcome(house.lease.task.id, house.lease.token, "SUCCESS", b"v")]))
        return house.say("executor", m.Need(f"inputs/{number}/0"))

    step = task("1", definition="", step=m.Step(["parent"], takes=0), name="g")
    house.say("ann", m.Submit([step]))
    (answer,) = outcomes(1)
    assert answer == m.Define("inputs/1/0", b"")


def test_children_are_told_to_those_who_may_see_the_task(house: House) -> None:
    (answer,) = house.say("task", m.Ask(1, "children", {"id": "waiting"}))
    assert isinstance(answer, m.Answer)
    assert answer.error
    (answer,) = house.say("wall", m.Ask(2, "workflow", {"id": "parent"}))
    assert isinstance(answer, m.Answer)
    assert [row["id"] for row in answer.data] == ["parent"]
