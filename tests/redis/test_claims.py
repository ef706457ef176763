"""Who is woken for what, and who gets it."""

from nbqueue import messages as m
from tests.redis.stage import Stage
from tests.worker.cluster import PYTHON


def test_idle_executors_are_woken_for_all_that_comes_at_once(url: str) -> None:
    """Each task waits in a line of its own, and the one that has been idle longest is the first in both."""
    stage = Stage(url, hands=2, slots=1)
    stage.blobs["d"] = b"what it does"
    stage.client.send([m.Define("d", stage.blobs["d"])])
    lines = {"": {}, "by value": {"definition": "d", "python": PYTHON}}
    for fields in lines.values():  # executors are told of a line that is new
        stage.settle(stage.task(**fields))
    both = [stage.task(held=True, send=False, **fields) for fields in lines.values()]
    stage.client.send([m.Submit([stage.tasks[id] for id in both])])
    stage.turn_for(0.1)  # idle ones look about once a second, woken or not
    assert [stage.holds(id) for id in both] == [True, True]
    stage.release(*both)
    stage.settle(*both)
    stage.close()


def test_a_hello_that_is_said_again_loses_nothing_that_was_given_meanwhile(url: str) -> None:
    """It was written before the tasks that come with the answer to the first were read."""
    stage = Stage(url)
    (hand,) = stage.hands
    task = stage.task(held=True)
    stage.until(lambda: stage.holds(task))
    hand.main.send([hand.hellos[m.EXECUTOR]])
    stage.turn_for(0.1)
    stage.release(task)
    stage.settle(task)
    stage.turn_for(0.1)
    assert [assignment.attempt for assignment in stage.given] == [1]
    assert stage.runs == [task]
    stage.close()
