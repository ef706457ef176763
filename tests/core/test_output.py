"""Output that is put together from pieces."""

import random
import time

from nbqueue.core.output import OutputLog
from nbqueue.messages import Output


def piece(seq: int, text: str, token: int = 1) -> Output:
    return Output("id", token, seq, "stdout", text)


def test_pieces_are_put_in_order_and_counted_once() -> None:
    log = OutputLog(10_000)
    pieces = [piece(n, str(n)) for n in range(10)] * 2
    random.Random(1).shuffle(pieces)
    for p in pieces:
        log.add(p)
    assert log.text == "0123456789"


def test_a_second_run_comes_after_the_first() -> None:
    log = OutputLog(10_000)
    log.add(piece(0, "second", token=2))
    log.add(piece(0, "first ", token=1))
    assert log.text == "first second"


def test_past_the_limit_the_middle_is_dropped_and_that_is_said() -> None:
    log = OutputLog(2000)
    for n in range(1000):
        log.add(piece(n, f"line {n}\n"))
    assert log.text.startswith("line 0\nline 1\n")
    assert log.text.endswith("line 998\nline 999\n")
    assert "characters of output dropped" in log.text
    assert log.size <= 2000


def test_a_talkative_task_costs_no_more_than_it_says() -> None:
    """A piece past the limit takes as little time as one before it."""
    log = OutputLog(2**20)
    began = time.process_time()
    for n in range(100_000):
        log.add(piece(n, "x" * 10))
    assert time.process_time() - began < 2.0
    assert log.size <= 2**20
