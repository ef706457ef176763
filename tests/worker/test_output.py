"""What a task prints, bounded."""

import io
import subprocess
import sys
import threading

import pytest

from nbqueue.worker import output
from nbqueue.worker.output import (
    PENDING,
    TAIL_LIMIT,
    TAIL_PERIOD,
    TOTAL,
    OutputBuffer,
    Piece,
    TaskStream,
)

#: characters that the broker keeps
KEPT = 100_000
PENDING_LIMIT, TOTAL_LIMIT = PENDING * KEPT, TOTAL * KEPT


def test_pieces_of_one_stream_are_joined_and_the_order_is_kept():
    buffer = OutputBuffer()
    for stream, text in [("stdout", "a"), ("stdout", "b"), ("stderr", "c"), ("stdout", "d")]:
        buffer.write(stream, text)
    assert buffer.take() == [Piece("stdout", "ab"), Piece("stderr", "c"), Piece("stdout", "d")]
    assert buffer.take() == []


def test_a_task_that_prints_too_fast_loses_the_oldest_part_and_a_mark_says_how_much():
    buffer = OutputBuffer(KEPT)
    for _ in range(PENDING_LIMIT // 1000 + 100):
        buffer.write("stdout", "x" * 1000)
    buffer.write("stdout", "the end")
    (piece,) = buffer.take()
    assert piece.text.startswith("\n… ")
    assert piece.text.endswith("the end")
    assert len(piece.text) < PENDING_LIMIT + 100
    dropped = int(piece.text.split()[1])
    assert dropped + len(piece.text.split("…\n", 1)[1]) == (PENDING_LIMIT // 1000 + 100) * 1000 + 7


def test_one_huge_piece_is_cut_to_its_end():
    buffer = OutputBuffer(KEPT)
    buffer.write("stderr", "y" * 10 + "z" * PENDING_LIMIT)
    (piece,) = buffer.take()
    assert piece == Piece("stderr", f"\n… 10 characters of output dropped …\n{'z' * PENDING_LIMIT}")


@pytest.fixture
def talkative():
    """A buffer past its total, and the list that holds its time."""
    clock = [0.0]
    buffer = OutputBuffer(KEPT, lambda: clock[0])
    for _ in range(TOTAL):
        buffer.write("stdout", "x" * KEPT)
        buffer.take()
    return buffer, clock


def test_past_the_total_only_the_tail_is_sent_once_in_a_while_and_at_the_end(talkative):
    buffer, clock = talkative
    sent = []
    for i in range(10_000):
        clock[0] += 0.01 * TAIL_PERIOD
        buffer.write("stdout", f"line {i}: {'y' * 1000}\n")
        sent += buffer.take()
    assert len(sent) == 100
    assert all(len(piece.text) <= TAIL_LIMIT + 100 for piece in sent)
    assert sent[-1].text.count("line 99") >= 7


def test_the_last_words_of_a_talkative_task_are_sent(talkative):
    buffer, _ = talkative
    buffer.write("stdout", "now and then\n")
    assert buffer.take() == [Piece("stdout", "now and then\n")]
    for i in range(TAIL_LIMIT):
        buffer.write("stdout", f"{i}\n")
    assert buffer.take() == []
    (piece,) = buffer.take(last=True)
    assert piece.text.endswith(f"{TAIL_LIMIT - 1}\n")
    assert len(piece.text) <= TAIL_LIMIT + 100


def test_a_broker_that_keeps_no_output_is_sent_none_but_the_last_words():
    buffer = OutputBuffer(0, lambda: 0.0)
    for _ in range(1000):
        buffer.write("stdout", "x" * 10_000)
        buffer.take()
    (piece,) = buffer.take(last=True)
    assert len(piece.text) <= TAIL_LIMIT + 100


def test_many_threads_may_write_at_once():
    buffer = OutputBuffer()

    def write(letter):
        for _ in range(1000):
            buffer.write("stdout", letter)

    threads = [threading.Thread(target=write, args=(letter,)) for letter in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    text = "".join(piece.text for piece in buffer.take())
    assert {letter: text.count(letter) for letter in "abcd"} == dict.fromkeys("abcd", 1000)


@pytest.fixture
def current():
    """A list that holds the buffer of the running task, or nothing."""
    return []


@pytest.fixture
def stream(current):
    return TaskStream(io.StringIO(), "stdout", lambda: current[0] if current else None)


def test_a_stream_writes_to_the_task_inside_of_one_and_to_the_real_stream_outside(stream, current):
    print("outside", file=stream)
    current.append(OutputBuffer())
    print("inside", file=stream)
    assert stream.real.getvalue() == "outside\n"
    assert current[0].take() == [Piece("stdout", "inside\n")]


def test_a_stream_looks_like_a_standard_stream(stream, current):
    current.append(OutputBuffer())
    stream.buffer.write("é".encode())
    stream.buffer.flush()
    stream.writelines(["a", "b"])
    stream.flush()
    stream.close()
    assert not stream.isatty()
    assert not stream.closed
    assert stream.writable()
    assert stream.encoding == "utf-8"
    assert current[0].take() == [Piece("stdout", "éab")]
    with pytest.raises(TypeError, match="must be str, not bytes"):
        stream.write(b"x")


def test_its_file_descriptor_is_the_real_one(current):
    with open("/dev/null", "w") as real:
        assert TaskStream(real, "stdout", lambda: None).fileno() == real.fileno()


def test_capturing_twice_wraps_once_and_the_last_to_end_puts_the_real_streams_back(monkeypatch):
    out, err = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    with output.captured_streams():
        with output.captured_streams():
            output.capture(lambda: None)
            captured = sys.stdout
            output.capture(lambda: None)
        assert sys.stdout is captured
    assert (sys.stdout, sys.stderr) == (out, err)


def run(code):
    """In a process of its own: pytest configures logging here."""
    setup = "import logging, sys\nfrom nbqueue.worker import output\noutput.show_logging()\n"
    done = subprocess.run([sys.executable, "-c", setup + code], capture_output=True, text=True, check=True)
    return done.stderr


def test_log_records_show_from_info_up_on_whatever_stderr_is_now():
    code = """
sys.stderr = sys.stdout
sys.stderr = sys.__stderr__
logging.getLogger("model").info("epoch %d", 3)
logging.getLogger("model").debug("not this")
"""
    assert run(code) == "INFO:model:epoch 3\n"


def test_logging_that_a_task_configures_is_its_own():
    code = """
logging.basicConfig(format="mine: %(message)s", level=logging.DEBUG)
logging.getLogger("model").debug("x")
"""
    assert run(code) == "mine: x\n"
