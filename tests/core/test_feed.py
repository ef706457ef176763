"""Events, as the broker makes them for those who listen."""

from typing import Any

import pytest

from nbqueue import messages as m
from nbqueue.core import feed
from nbqueue.core.permissions import VIEWER, WORKER, Key
from tests.core.by_hand import Hand


def events(hand: Hand, peer: str = "client") -> list[dict[str, Any]]:
    return [event for message in hand.heard(peer, m.Events) for event in message.events]


def types(hand: Hand) -> list[str]:
    return [event["type"] for event in events(hand)]


@pytest.fixture
def hand() -> Hand:
    hand = Hand()
    hand.worker()
    hand.say("client", m.Listen())
    return hand


def test_nothing_is_made_while_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    hand = Hand()
    monkeypatch.setattr(feed.Feed, "_tell", lambda *_, **__: pytest.fail("an event was made"))
    hand.worker()
    hand.submit("a")
    hand.finish("a")
    hand.say("w", m.Heartbeat(["w.0"]))
    hand.say("w", m.Goodbye())


def test_the_life_of_a_task(hand: Hand) -> None:
    hand.submit("a")
    hand.finish("a", runtime=0.5)
    told = events(hand)
    assert [e["type"] for e in told] == ["task-sent", "task-received", "task-started", "task-succeeded"]
    assert {e["uuid"] for e in told} == {"a"}
    assert told[2]["timestamp"] == told[3]["timestamp"] - 0.5
    assert (told[3]["hostname"], told[3]["runtime"]) == ("w", 0.5)


def test_a_start_is_told_once(hand: Hand) -> None:
    hand.submit("a")
    record = hand.core.tasks.records.get("a")
    assert record is not None
    hand.say("w.0", m.Started("a", record.token))
    hand.finish("a")
    assert types(hand).count("task-started") == 1


def test_failures_retries_and_rejections_say_why(hand: Hand) -> None:
    hand.submit("a")
    record = hand.core.tasks.records.get("a")
    assert record is not None
    failure = m.Failure("ValueError", "builtins", "no", "the traceback")
    hand.say("w.0", m.Retry("a", record.token, 0.0, failure))
    hand.wait(0.0)
    hand.say("w.0", m.Returned([record.token], rejected=True))
    hand.say("w.0", m.Settle([m.Outcome("a", record.token, "FAILURE", failure=failure)]))
    told = {e["type"]: e for e in events(hand)}
    assert told["task-retried"]["exception"] == told["task-failed"]["exception"] == "ValueError('no')"
    assert told["task-failed"]["traceback"] == "the traceback"
    assert told["task-rejected"]["requeue"] is True


def test_revoked_and_expired_tasks(hand: Hand) -> None:
    hand.submit("a", queue="other")
    hand.submit("b", queue="other", expires=1.0)
    hand.say("client", m.Cancel(["a"]))
    hand.wait(2.0)
    told = {e["uuid"]: e for e in events(hand) if e["type"] == "task-revoked"}
    assert (told["a"]["expired"], told["b"]["expired"]) == (False, True)


def test_workers_come_live_and_go(hand: Hand) -> None:
    hand.worker("v")
    hand.say("v", m.Heartbeat(["v.0"], [1.0, 2.0, 3.0]))
    hand.say("v", m.Goodbye())
    told = events(hand)
    assert [(e["type"], e["hostname"]) for e in told] == [
        ("worker-online", "v"), ("worker-heartbeat", "v"), ("worker-offline", "v"),
    ]  # fmt: skip
    assert told[1]["loadavg"] == [1.0, 2.0, 3.0]


def test_only_the_types_that_are_wanted_until_none_are(hand: Hand) -> None:
    hand.say("client", m.Listen(["task-sent"]))
    hand.submit("a")
    assert types(hand) == ["task-sent"]
    hand.say("client", m.Listen([]))
    hand.submit("b")
    assert types(hand) == []
    assert not hand.core.feed.on


def test_a_slow_listener_keeps_the_newest_and_is_told_how_many_it_lost(
    hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "KEPT", 5)
    hand.say("client", m.Listen(["task-sent"]))
    behind = {"client"}
    hand.core.behind(behind)
    listener = hand.core.feed._listeners["client"]
    listener.waiting = type(listener.waiting)(maxlen=5)
    hand.submit(*"abcdefgh")
    assert events(hand) == []
    behind.clear()
    assert hand.core.next_deadline() == 0.0
    hand.wait(0.0)
    (message,) = hand.heard("client", m.Events)
    assert (message.lost, [e["uuid"] for e in message.events]) == (3, [*"defgh"])


def test_a_worker_whose_events_are_disabled_tells_of_no_tasks(hand: Hand) -> None:
    hand.ask("control", command="disable_events")
    hand.submit("a")
    hand.finish("a")
    assert types(hand) == ["task-sent"]
    replies = hand.ask("control", command="enable_events")
    assert replies == {"w": {"ok": "task events enabled"}}
    hand.submit("b")
    assert "task-received" in types(hand)


def test_who_leaves_is_told_no_more(hand: Hand) -> None:
    hand.say("client", m.Goodbye())
    assert not hand.core.feed.on


@pytest.mark.parametrize(("role", "allowed"), [(VIEWER, True), (WORKER, False)])
def test_a_viewer_may_listen_and_a_worker_not(role: str, allowed: bool) -> None:
    hand = Hand()
    key = Key("k", role)
    hand._perform(hand.core.receive("other", m.Hello(m.CLIENT, "other"), 0.0, key))
    hand._perform(hand.core.receive("other", m.Listen(), 0.0, key))
    assert hand.core.feed.on == allowed
