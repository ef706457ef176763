"""Who is woken for what, and who gets it."""

from nbqueue import messages as m
from tests.redis.stage import Hand, Stage
from tests.worker.cluster import PYTHON


def assigned(hand: Hand) -> int:
    """How many tasks it is given within 20 ms, while its other links are silent."""
    found = [
        a for message in hand.main.receive(0.02) if isinstance(message, m.Assign) for a in message.assignments
    ]
    hand.held.update({assignment.task.id: assignment for assignment in found})
    return len(found)


def test_idle_executors_are_woken_for_all_that_comes_at_once(url: str) -> None:
    """Each task waits in a line of its own, and the one that has been idle longest is the first in both."""
    stage = Stage(url, hands=2, slots=1)
    lines = {"a": "", "b": PYTHON}
    for name, python in lines.items():  # executors are told of a line that is new
        for key in (f"known {name}", f"new {name}"):
            stage.blobs[key] = key.encode()
            stage.client.send([m.Define(key, stage.blobs[key])])
        stage.settle(stage.task(definition=f"known {name}", python=python))
    stage.turn_for(0.1)
    both = [
        # nobody knows how long they take, so that nobody is given two of them
        stage.task(held=True, send=False, definition=f"new {name}", python=python)
        for name, python in lines.items()
    ]
    stage.client.send([m.Submit([stage.tasks[id] for id in both])])
    given = [assigned(hand) for hand in stage.hands * 12]  # each looks by itself once a second
    assert sum(given[::2]) == sum(given[1::2]) == 1
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
