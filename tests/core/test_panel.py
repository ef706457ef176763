"""Remote control, as the broker does it: asked, told, passed on, and answered in time."""

from typing import Any

import pytest

from nbqueue import messages as m
from nbqueue.core import panel
from nbqueue.core.panel import PURGED_AT_ONCE
from nbqueue.core.permissions import VIEWER, WORKER, Key
from nbqueue.states import REVOKED
from tests.core.by_hand import Hand


def asked(hand: Hand, command: str, *, topic: str = "inspect", **args: Any) -> Any:
    """The replies that the broker has at once."""
    return hand.ask(topic, command=command, args=args)


def order(hand: Hand, command: str, *, topic: str = "control", **args: Any) -> None:
    """Ask what only workers can answer, or do."""
    hand.say("client", m.Ask(1, topic, {"command": command, "args": args, "order": "once", "patience": 2.0}))


def answer(hand: Hand) -> Any:
    answers = hand.heard("client", m.Answer)
    assert len(answers) <= 1
    return answers[0].data if answers else None


class TestInspect:
    def test_tasks_that_run_and_those_that_wait_behind_them(self) -> None:
        hand = Hand()
        hand.worker()
        hand.submit("first")
        hand.finish("first", runtime=0.001)
        hand.submit("a", "b", priority=3)
        (running,) = asked(hand, "active")["w"]
        assert (running["id"], running["hostname"], running["delivery_info"]["priority"]) == ("a", "w", 3)
        assert [task["id"] for task in asked(hand, "reserved")["w"]] == ["b"]

    def test_scheduled_tasks_are_shown_once_by_a_worker_that_can_run_them(self) -> None:
        hand = Hand()
        hand.worker("v")
        hand.worker("w", queues=["other"])
        hand.submit("a", countdown=60.0)
        hand.submit("b", countdown=60.0, queue="other")
        hand.submit("c", countdown=60.0, queue="nobody's")
        found = {
            node: [task["request"]["id"] for task in tasks]
            for node, tasks in asked(hand, "scheduled").items()
        }
        assert found == {"v": ["a"], "w": ["b"], "broker@": ["c"]}

    def test_where_tasks_are(self) -> None:
        hand = Hand()
        hand.worker()
        hand.submit("a", "b")
        hand.submit("c", countdown=9.0)
        hand.submit("d", queue="other")
        found = asked(hand, "query_task", ids=["a", "b", "c", "d", "unknown"])
        assert {id: state for id, (state, _) in found["w"].items()} == {
            "a": "active", "b": "waiting", "c": "scheduled",
        }  # fmt: skip
        assert found["broker@"]["d"][0] == "waiting"

    def test_names_queues_and_revoked_ids(self) -> None:
        hand = Hand()
        hand.worker(registered=["t.add"], queues=["a", "b"])
        hand.submit("x")
        hand.say("client", m.Cancel(["x"]))
        assert asked(hand, "registered") == {"w": ["t.add"]}
        assert [queue["name"] for queue in asked(hand, "active_queues")["w"]] == ["a", "b"]
        assert asked(hand, "revoked") == {"w": ["x"]}

    def test_only_the_workers_that_are_named(self) -> None:
        hand = Hand()
        hand.worker("v")
        hand.worker("w")
        assert hand.ask("inspect", command="active", destination=["w"]).keys() == {"w"}
        assert hand.ask("inspect", command="active", destination="nobody") == {}

    def test_workers_of_the_same_name_have_their_pids_behind_it(self) -> None:
        hand = Hand()
        for pid in (1, 2):
            hand.say(f"w{pid}", m.Hello(m.WORKER, f"w{pid}", name="w", pid=pid))
        assert asked(hand, "active").keys() == {"w#1", "w#2"}

    def test_large_arguments_are_left_out(self) -> None:
        hand = Hand()
        hand.worker()
        hand.submit("a", payload=bytes(10_000))
        assert asked(hand, "active")["w"][0]["payload"] is None


class TestOrders:
    def test_are_passed_on_and_answered_when_all_have_replied(self) -> None:
        hand = Hand()
        hand.worker("v")
        hand.worker("w")
        order(hand, "pool_grow", n=2)
        (to_v,), (to_w,) = hand.heard("v", m.Order), hand.heard("w", m.Order)
        assert (to_v.command, to_v.args) == ("pool_grow", {"n": 2})
        hand.say("v", m.Reply(to_v.number, {"ok": "grown"}))
        assert answer(hand) is None
        hand.say("w", m.Reply(to_w.number, error="no"))
        assert answer(hand) == {"v": {"ok": "grown"}, "w": {"error": "no"}}

    def test_are_answered_without_those_that_do_not_reply_in_time(self) -> None:
        hand = Hand()
        hand.worker("v")
        hand.worker("w")
        order(hand, "ping", topic="inspect")
        (to_v,) = hand.heard("v", m.Order)
        hand.say("v", m.Reply(to_v.number, {"ok": "pong"}))
        hand.wait(1.9)
        assert answer(hand) is None
        hand.wait(0.2)
        assert answer(hand) == {"v": {"ok": "pong"}}
        hand.say("w", m.Reply(to_v.number, {"ok": "pong"}))  # too late, and harmless
        assert answer(hand) is None

    def test_do_not_wait_for_a_worker_that_leaves(self) -> None:
        hand = Hand()
        hand.worker("w")
        order(hand, "shutdown")
        hand.say("w", m.Goodbye())
        assert answer(hand) == {}

    def test_are_carried_out_once_though_they_are_asked_again(self) -> None:
        hand = Hand()
        hand.worker("w")
        order(hand, "pool_grow")
        order(hand, "pool_grow")
        (only,) = hand.heard("w", m.Order)
        hand.say("w", m.Reply(only.number, {"ok": "grown"}))
        assert answer(hand) == {"w": {"ok": "grown"}}
        order(hand, "pool_grow")
        assert hand.heard("w", m.Order) == []
        assert answer(hand) == {"w": {"ok": "grown"}}

    def test_there_are_not_more_of_them_than_can_be_kept(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(panel, "UNDER_WAY", 2)
        hand = Hand()
        hand.worker("w")
        for number in range(3):
            hand.say("client", m.Ask(number, "inspect", {"command": "ping"}))
        (refused,) = hand.heard("client", m.Answer)
        assert "too many" in refused.error
        hand.wait(2.0)
        assert len(hand.heard("client", m.Answer)) == 2

    def test_a_worker_cannot_reply_for_another(self) -> None:
        hand = Hand()
        hand.worker("v")
        hand.worker("w")
        hand.say("client", m.Ask(1, "control", {"command": "ping", "destination": ["v"]}))
        hand.say("w", m.Reply(1, {"ok": "pong"}))
        assert answer(hand) is None

    def test_stats_have_how_many_tasks_ended_by_name(self) -> None:
        hand = Hand()
        hand.worker("w")
        hand.submit("a", "b")
        hand.finish("a")
        hand.finish("b")
        order(hand, "stats", topic="inspect")
        (asked_for,) = hand.heard("w", m.Order)
        hand.say("w", m.Reply(asked_for.number, {"pid": 7}))
        assert answer(hand) == {"w": {"pid": 7, "total": {"f": 2}}}

    @pytest.mark.parametrize("command", ["format_disk", "pool_grow", "revoke"])
    def test_inspect_changes_nothing(self, command: str) -> None:
        hand = Hand()
        hand.say("client", m.Ask(1, "inspect", {"command": command}))
        (refused,) = hand.heard("client", m.Answer)
        assert "no command is called" in refused.error


class TestControl:
    def test_a_rate_is_set_and_told_by_each_worker(self) -> None:
        hand = Hand()
        hand.worker("v", executors=4)
        hand.worker("w")
        replies = asked(hand, "rate_limit", topic="control", task_name="f", rate_limit=1.0)
        assert list(replies) == ["v", "w"]
        assert replies["w"] == {"ok": "new rate limit set successfully"}
        hand.submit("a", "b")
        assert hand.taken() == ["a"]
        replies = asked(hand, "rate_limit", topic="control", task_name="f", rate_limit=0)
        assert replies["v"] == {"ok": "rate limit disabled successfully"}
        assert hand.taken() == ["b"]

    def test_without_workers_the_broker_says_so_itself(self) -> None:
        hand = Hand()
        replies = asked(hand, "rate_limit", topic="control", task_name="f", rate_limit=1.0)
        assert replies == {"broker@": {"ok": "new rate limit set successfully"}}

    def test_time_limits_are_set(self) -> None:
        hand = Hand()
        hand.worker("w")
        asked(hand, "time_limit", topic="control", task_name="f", soft=1.0, hard=2.0)
        hand.submit("a")
        record = hand.core.tasks.records.get("a")
        assert record is not None
        assert (record.task.soft_time_limit, record.task.time_limit) == (1.0, 2.0)

    def test_tasks_are_revoked_and_unknown_ones_named(self) -> None:
        hand = Hand()
        hand.worker("w", queues=["other"])
        hand.submit("a")
        replies = asked(hand, "revoke", topic="control", task_id=["a", "b"], terminate=True)
        assert replies == {"w": {"ok": "tasks a, b terminated; not known: b"}}
        record = hand.core.tasks.records.get("a")
        assert record is not None
        assert record.state == REVOKED
        assert "error" in asked(hand, "revoke", topic="control", task_id="b")["w"]

    def test_tasks_are_revoked_by_their_stamps_and_each_worker_says_so(self) -> None:
        hand = Hand()
        hand.worker("v", queues=["other"])
        hand.worker("w", queues=["other"])
        hand.submit(
            "a", headers={"stamps": {"order": [7], "who": ["x"]}, "stamped_headers": ["order", "who"]}
        )
        hand.submit("b", headers={"stamps": {"order": [8]}})
        hand.submit("c", headers={"stamps": {"order": 7}, "order": 7})
        hand.submit("d")
        command = "revoke_by_stamped_headers"
        replies = asked(hand, command, topic="control", headers={"order": [6, 7], "who": ["y"]})
        assert replies == {node: {"ok": "tasks a flagged as revoked"} for node in ("v", "w")}
        states = {id: hand.core.tasks.records.get(id).state for id in "abcd"}
        assert states == {"a": REVOKED, "b": "PENDING", "c": "PENDING", "d": "PENDING"}
        hand.say("client", m.Ask(2, "control", {"command": command, "args": {"headers": {"order": [7]}}}))
        (answered,) = hand.heard("client", m.Answer)
        assert "no task that has not ended is stamped so: order" in answered.error

    def test_a_task_may_be_killed_at_once(self) -> None:
        hand = Hand()
        hand.worker("w")
        hand.submit("a")
        asked(hand, "revoke", topic="control", task_id="a", terminate=True, at_once=True)
        hand.wait(0.0)
        assert len(hand.heard("w", m.Kill)) == 1

    @pytest.mark.parametrize(
        ("command", "args"),
        [
            ("rate_limit", {"task_name": "f", "rate_limit": float("nan")}),
            ("rate_limit", {"task_name": "f"}),
            ("rate_limit", {"task_name": "f", "rate_limit": "10/m"}),
            ("time_limit", {"task_name": "f", "soft": 3.0, "hard": 1.0}),
            ("time_limit", {"task_name": "f", "hard": "x"}),
            ("revoke", {}),
        ],
    )
    def test_what_makes_no_sense_is_refused(self, command: str, args: dict[str, Any]) -> None:
        hand = Hand()
        hand.say("client", m.Ask(1, "control", {"command": command, "args": args}))
        (refused,) = hand.heard("client", m.Answer)
        assert refused.error

    @pytest.mark.parametrize(("role", "topics"), [(VIEWER, {"inspect"}), (WORKER, set())])
    def test_by_a_viewers_key_one_may_look_and_by_a_workers_nothing(
        self, role: str, topics: set[str]
    ) -> None:
        hand = Hand()
        key = Key("k", role)
        hand._perform(hand.core.receive("other", m.Hello(m.CLIENT, "other"), 0.0, key))
        for topic in ("inspect", "control", "purge"):
            question = m.Ask(1, topic, {"command": "active"})
            hand._perform(hand.core.receive("other", question, 0.0, key))
            (given,) = hand.heard("other", m.Answer)
            assert bool(given.error) == (topic not in topics)


class TestPurge:
    def test_deletes_what_waits_and_counts_it(self) -> None:
        hand = Hand()
        hand.worker()
        hand.submit("runs", "waits")
        hand.submit("later", countdown=60.0)
        hand.submit("elsewhere", queue="other")
        hand.say("client", m.Ask(1, "purge", {"queues": ["default"]}))
        hand.wait(0.0)
        assert answer(hand) == 2
        states = {record.task.id: record.state for record in hand.core.tasks.records}
        assert {id for id, state in states.items() if state == REVOKED} == {"waits", "later"}

    def test_counts_tasks_that_waited_for_others(self) -> None:
        hand = Hand()
        hand.submit("a")
        hand.submit("b", step=m.Step(["a"]))
        hand.say("client", m.Ask(1, "purge", {}))
        hand.wait(0.0)
        assert answer(hand) == 2

    def test_goes_on_for_as_many_turns_as_it_takes(self) -> None:
        hand = Hand()
        hand.submit(*map(str, range(PURGED_AT_ONCE + 1)))
        hand.say("client", m.Ask(1, "purge", {}))
        hand._perform(hand.core.tick(hand.now))
        assert answer(hand) is None
        assert hand.core.next_deadline() == 0.0
        hand.wait(0.0)
        assert answer(hand) == PURGED_AT_ONCE + 1
        hand.restart()
        assert hand.core.tasks.records.unfinished == 0
