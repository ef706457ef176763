"""What is said again after a connection broke: all that is not proven to have been heard, and no more."""

from nbqueue.messages import Output, Ping
from nbqueue.worker.executor.unheard import Unheard


def piece(number, text="x"):
    return Output("id", 1, number, "stdout", text)


def numbers(unheard):
    return [piece.seq for piece in unheard.pieces]


def test_what_was_said_before_a_ping_is_heard_when_its_pong_comes():
    unheard = Unheard()
    unheard.sent([piece(0), Ping(), piece(1)])
    unheard.pinged()
    unheard.sent([piece(2)])
    unheard.pinged()
    unheard.sent([piece(3)])
    assert numbers(unheard) == [0, 1, 2, 3]
    unheard.ponged()
    assert numbers(unheard) == [2, 3]
    unheard.ponged()
    assert numbers(unheard) == [3]


def test_a_pong_that_was_not_asked_for_proves_nothing():
    unheard = Unheard()
    unheard.sent([piece(0)])
    unheard.ponged()
    assert numbers(unheard) == [0]
    unheard.pinged()
    unheard.ponged()
    assert numbers(unheard) == []


def test_a_ping_of_an_earlier_connection_is_not_answered_by_the_next_ones_pong():
    unheard = Unheard()
    unheard.sent([piece(0)])
    unheard.pinged()
    unheard.start_over()
    unheard.sent([piece(1)])
    unheard.ponged()
    assert numbers(unheard) == [0, 1]
    unheard.pinged()
    unheard.sent([piece(2)])
    unheard.ponged()
    assert numbers(unheard) == [2]


def test_past_the_limit_the_oldest_go():
    unheard = Unheard(limit=10)
    unheard.sent([piece(number, "four") for number in range(4)])
    assert numbers(unheard) == [2, 3]
