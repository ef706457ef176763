"""What `nbqueue top` asks for."""

from nbqueue import messages as m
from tests.core.by_hand import Hand


def test_queues_are_counted_without_a_look_at_their_tasks() -> None:
    hand = Hand()
    hand.worker(queues=["default", "idle"])
    hand.submit("a", "b", "c")
    hand.submit("later", countdown=60.0)
    hand.submit("stray", queue="nobody's")
    queues = hand.ask("overview")["queues"]
    assert queues == {
        "default": {"ready": 2, "later": 1, "running": 1, "workers": 1},
        "idle": {"ready": 0, "later": 0, "running": 0, "workers": 1},
        "nobody's": {"ready": 1, "later": 0, "running": 0, "workers": 0},
    }


def test_workers_show_what_they_run_and_what_is_occupied() -> None:
    hand = Hand()
    hand.worker(executors=2, tags=["fast"], resources={"gpu": 2.0}, pid=7)
    hand.say("w", m.Heartbeat(["w.0", "w.1"], [0.5]))
    hand.submit("a", demand=m.Demand(resources={"gpu": 1.0}))
    record = hand.core.tasks.records.get("a")
    assert record is not None
    hand.say(record.executor, m.Progress("a", record.token, 3, 10, "x"))
    hand.submit("b")
    hand.finish("b")
    (worker,) = hand.ask("overview")["workers"]
    assert (worker["name"], worker["load"], worker["tags"]) == ("w", [0.5], ["fast"])
    assert (worker["resources"], worker["total"]) == ({"gpu": [1.0, 2.0]}, {"f": 1})
    (task,) = [task for executor in worker["executors"] for task in executor["tasks"]]
    assert (task["id"], task["progress"]) == ("a", [3, 10, "x"])


def test_cancelled_runs_that_have_not_ended_count_no_more() -> None:
    hand = Hand()
    hand.worker()
    hand.submit("a")
    hand.say("client", m.Cancel(["a"]))
    overview = hand.ask("overview")
    assert overview["queues"] == {"default": {"ready": 0, "later": 0, "running": 0, "workers": 1}}
    assert overview["workers"][0]["executors"][0]["tasks"] == []
