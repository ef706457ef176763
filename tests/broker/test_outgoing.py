"""Bounded queues for peers that do not read, on real sockets with tiny buffers."""

import time
from collections.abc import Iterator
from typing import NamedTuple

import pytest
import zmq

from nbqueue.broker.outgoing import Outgoing, Peer

FRAME = bytes(50_000)


Socket = zmq.Socket[bytes]


class Pair(NamedTuple):
    router: Socket
    dealer: Socket
    #: the DEALER, as the ROUTER knows it
    peer: Peer


@pytest.fixture
def pair() -> Iterator[Pair]:
    """A ROUTER that holds two frames, a DEALER that holds two more, and small buffers in between."""
    with zmq.Context() as context, context.socket(zmq.ROUTER) as router, context.socket(zmq.DEALER) as dealer:
        router.router_mandatory = True
        router.linger = dealer.linger = 0
        router.sndhwm = dealer.rcvhwm = 2
        router.sndbuf = dealer.rcvbuf = 4096
        port = router.bind_to_random_port("tcp://127.0.0.1")
        dealer.connect(f"tcp://127.0.0.1:{port}")
        dealer.send(b"hello")
        routing_id, _ = router.recv_multipart()
        yield Pair(router, dealer, (0, routing_id))


def numbered(count: int) -> list[bytes]:
    return [b"%d" % n + FRAME for n in range(count)]


def drain(dealer: Socket) -> list[bytes]:
    frames = []
    while dealer.poll(20):
        frames.append(dealer.recv())
    return frames


def test_frames_to_a_reader_leave_at_once(
    pair: Pair,
) -> None:
    router, dealer, peer = pair
    outgoing = Outgoing([router])
    assert outgoing.send(peer, numbered(2), 0.0)
    assert outgoing.next_retry is None
    assert [dealer.recv(), dealer.recv()] == numbered(2)


def test_frames_that_zmq_does_not_take_are_kept_in_order_and_tried_again(
    pair: Pair,
) -> None:
    router, dealer, peer = pair
    outgoing = Outgoing([router])
    assert outgoing.send(peer, numbered(100), 0.0)
    assert outgoing.send(peer, [b"last"], 0.0)
    received: list[bytes] = []
    while outgoing.next_retry is not None:
        received += drain(dealer)
        assert outgoing.retry(outgoing.next_retry) == []
    received += drain(dealer)
    assert received == [*numbered(100), b"last"]


def test_tries_become_rarer_while_nothing_leaves(
    pair: Pair,
) -> None:
    router, _, peer = pair
    outgoing = Outgoing([router])
    outgoing.send(peer, numbered(100), 0.0)
    waits = []
    now = 0.0
    for _ in range(12):
        assert outgoing.next_retry is not None
        waits.append(outgoing.next_retry - now)
        now = outgoing.next_retry
        outgoing.retry(now)
    assert waits[:4] == pytest.approx([0.002, 0.004, 0.008, 0.016])
    assert waits[-1] == pytest.approx(0.1)


def test_past_its_bound_a_peer_is_gone_and_its_frames_too(
    pair: Pair,
) -> None:
    router, _, peer = pair
    outgoing = Outgoing([router], kept_bytes=6_000_000)
    assert outgoing.send(peer, numbered(100), 0.0)
    assert not outgoing.send(peer, numbered(100), 0.0)
    assert outgoing.next_retry is None


def test_a_peer_that_is_not_there_is_gone(
    pair: Pair,
) -> None:
    router, _, _ = pair
    outgoing = Outgoing([router])
    assert not outgoing.send((0, b"nobody"), [FRAME], 0.0)


def test_a_peer_that_leaves_while_frames_are_kept_is_gone(
    pair: Pair,
) -> None:
    router, dealer, peer = pair
    outgoing = Outgoing([router])
    outgoing.send(peer, numbered(100), 0.0)
    dealer.close()
    # zmq may still take all that was kept, for a peer of whose end it has not heard: then the next send tells
    while outgoing.retry(0.0) != [peer] and (
        outgoing.next_retry is not None or outgoing.send(peer, [FRAME], 0.0)
    ):
        time.sleep(0.001)
    assert outgoing.next_retry is None
