"""Items of one run: kept, sent as far as the reader allows, sent again, and held up for him."""

import threading

import pytest

from nbqueue.messages import Pull
from nbqueue.wire import payload
from nbqueue.worker import stream as streams
from nbqueue.worker.stream import ItemStream


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def make(clock):
    def make(keep=True, **options):
        pushed = []
        stream = ItemStream(
            "id", 7, keep=keep, what="an item", limit=0, push=lambda: pushed.append(1), clock=clock, **options
        )
        stream.pushed = pushed
        return stream

    return make


def pull(start, upto, again=False):
    return Pull("id", 7, start, upto, again)


def positions(items):
    return [item.position for item in items]


def test_nothing_is_sent_or_pushed_while_nobody_reads(make):
    stream = make()
    for item in "abc":
        stream.take(item)
    assert (stream.collect(), stream.pushed, stream.kept) == ([], [], ["a", "b", "c"])


def test_who_begins_to_read_gets_all_so_far_and_no_more_than_he_can_take(make):
    stream = make()
    for item in "abcde":
        stream.take(item)
    stream.pulled(pull(0, 3))
    items = stream.collect()
    assert positions(items) == [0, 1, 2]
    assert [payload.loads(item.value) for item in items] == ["a", "b", "c"]
    assert stream.collect() == []
    stream.pulled(pull(2, 6))
    assert positions(stream.collect()) == [3, 4]


def test_the_generator_waits_for_the_reader(make):
    stream = make()
    stream.pulled(pull(0, 1))
    done = threading.Event()

    def generate():
        stream.take("a")
        stream.take("b")
        done.set()

    thread = threading.Thread(target=generate)
    thread.start()
    while not stream.collect():
        pass
    assert not done.wait(0.1)
    stream.pulled(pull(1, 2))
    while not done.is_set():
        stream.collect()
    thread.join()


def test_it_waits_no_longer_when_the_reader_was_not_heard_of_for_a_lease_or_stops(make, clock):
    stream = make(lease=10.0)
    stream.pulled(pull(0, 0))
    clock.now += 11
    stream.take("a")
    stream.pulled(pull(0, 0))
    stream.pulled(pull(0, -1))
    stream.take("b")
    assert stream.kept == ["a", "b"]


def test_what_did_not_arrive_is_sent_again(make):
    stream = make()
    for item in "abc":
        stream.take(item)
    stream.pulled(pull(0, 3))
    assert positions(stream.collect()) == [0, 1, 2]
    stream.pulled(pull(1, 4, again=True))
    assert positions(stream.collect()) == [1, 2]


def test_a_second_reader_gets_all_from_the_beginning(make):
    stream = make()
    for item in "abc":
        stream.take(item)
    stream.pulled(pull(0, 3))
    stream.collect()
    stream.pulled(pull(3, 6))
    stream.pulled(pull(0, 3))
    assert positions(stream.collect()) == [0, 1, 2]


def test_a_repeated_run_does_not_send_what_the_reader_has(make):
    stream = make()
    stream.pulled(pull(2, 5))
    for item in "abcd":
        stream.take(item) if item in "ab" else stream._add(item)
    assert positions(stream.collect()) == [2, 3]


def test_bytes_on_the_way_are_bounded_but_for_a_single_item(make, monkeypatch):
    monkeypatch.setattr(streams, "IN_FLIGHT", 1000)
    stream = make()
    for _ in range(3):
        stream.take(bytes(2000))
    stream.pulled(pull(0, 3))
    assert positions(stream.collect()) == [0]
    stream.pulled(pull(1, 4))
    assert positions(stream.collect()) == [1]


def test_without_a_result_items_are_kept_from_when_somebody_reads_until_he_has_them(make):
    stream = make(keep=False)
    stream.take("a")
    stream.take("b")
    assert stream.kept == []
    stream.pulled(pull(0, 9))
    for item in "cde":
        stream._add(item)
    items = stream.collect()
    assert [(item.position, item.base) for item in items] == [(2, 2), (3, 2), (4, 2)]
    stream.pulled(pull(4, 9))
    assert stream.kept == ["e"]
    stream.pulled(pull(5, 9))
    assert stream.kept == []
    stream.finish()


def test_an_item_that_cannot_be_pickled_is_no_error_of_the_link(make):
    stream = make()
    stream.take(threading.Lock())
    stream.pulled(pull(0, 3))
    assert [item.value for item in stream.collect()] == [b""]
