"""The levels at which a broker is fuzzed, from its decoder to its port.

Each takes so many inputs and a seed, and raises at the first thing that must not be.  Those that need a
broker take its connection, and use a bystander of their own to see that it serves the others.
"""

import contextlib
import random
import socket
from collections.abc import Iterator

import msgspec
import zmq

from nbqueue import messages as m
from nbqueue.exceptions import ProtocolError
from nbqueue.transports.base import Link
from nbqueue.wire import codec
from nbqueue.wire.keys import Connection
from tests.broker.running import linked, over_tcp, receive_one
from tests.fuzz.house import House
from tests.fuzz.sources import Seeded, mutated
from tests.fuzz.words import Words

#: steps after which a core has had enough
LIFE = 300
#: messages that share a frame at most
_BATCH = 3

_GREETING = b"\xff\0\0\0\0\0\0\0\x01\x7f\x03\x00CURVE" + bytes(15) + b"\0" + bytes(31)


def decode(count: int, seed: int) -> None:
    """Bytes ─▶ codec.decode: messages or a ProtocolError, and what was read can be written."""
    source = Seeded(seed)
    words, dice = Words(source), source.random
    for number in range(count):
        if number % 10 == 0:
            frame = _frame(words)
        for message in _decoded(mutated(dice, frame)):
            codec.encode([message])


def understand(count: int, seed: int) -> None:
    """Bytes ─▶ codec.decode ─▶ core.receive, by peers of every role."""
    source = Seeded(seed)
    house, heard = House(source), 0
    for number in range(count):
        if heard > LIFE:
            house, heard = House(source), 0
        if number % 10 == 0:
            frame = _frame(house.words)
        for message in _decoded(mutated(source.random, frame)):
            house.step(message)
            heard += 1


def obey(count: int, seed: int) -> None:
    """Messages of the right types that say anything ─▶ core.receive, by peers of every role."""
    for start in range(0, count, LIFE):
        house = House(Seeded(seed + start))
        try:
            for _ in range(min(LIFE, count - start)):
                house.step()
        except Exception as error:
            error.add_note(f"replay it by obey({LIFE}, seed={seed + start})")
            raise


def _frame(words: Words) -> bytes:
    return codec.encode([words.message() for _ in range(_BATCH)])[0]


def _decoded(frame: bytes) -> list[m.AnyMessage]:
    try:
        return codec.decode([frame])
    except ProtocolError:
        return []


# ── a broker that listens ────────────────────────────────────────────────────────────────────────


@contextlib.contextmanager
def bystander(connection: Connection) -> Iterator[Link]:
    """A client that has to be served before, meanwhile and after."""
    with linked(over_tcp(connection), id="bystander") as link:
        yield link
        is_served(link)


def is_served(link: Link) -> None:
    """Raise AssertionError unless the broker answers soon."""
    link.send([m.Hello(m.CLIENT, "bystander"), m.Ping()])
    receive_one(link, m.Pong, timeout=10.0)


def knock(count: int, seed: int, connection: Connection) -> None:
    """Bytes on the port: noise, greetings with noise behind them, handshakes that break off or go wrong."""
    dice = random.Random(seed)
    spoken = _handshake(connection)
    with bystander(connection) as link:
        for number in range(count):
            kind = number % 4
            if kind == 0:
                said = dice.randbytes(dice.randrange(400))
            elif kind == 1:
                said = _GREETING + dice.randbytes(dice.randrange(400))
            elif kind == 2:
                said = spoken[: dice.randrange(len(spoken))]
            else:
                said = mutated(dice, spoken)
            with contextlib.suppress(OSError), _call(connection) as stranger:
                stranger.sendall(said)
                if dice.random() < 0.5:
                    stranger.settimeout(0.002)
                    stranger.recv(1000)
            if number % 100 == 0:
                is_served(link)


def _call(connection: Connection) -> socket.socket:
    return socket.create_connection(("127.0.0.1", connection.port), timeout=10)


def _handshake(connection: Connection) -> bytes:
    """What a client with a key says until it is let in, and its first words."""
    said = bytearray()
    with socket.create_server(("127.0.0.1", 0)) as server:
        there = msgspec.structs.replace(over_tcp(connection), port=server.getsockname()[1])
        with _dealer(there) as dealer:
            dealer.send(codec.encode([m.Hello(m.CLIENT, "overheard")])[0])
            caller, _ = server.accept()
            with caller, _call(connection) as broker:
                caller.settimeout(0.3)
                broker.settimeout(0.3)
                with contextlib.suppress(TimeoutError):
                    while True:
                        if data := caller.recv(10_000):
                            said += data
                            broker.sendall(data)
                        with contextlib.suppress(TimeoutError):
                            caller.sendall(broker.recv(10_000))
    assert len(said) > 400
    return bytes(said)


@contextlib.contextmanager
def _dealer(connection: Connection) -> "Iterator[zmq.Socket[bytes]]":
    with zmq.Context() as context, context.socket(zmq.DEALER) as dealer:
        dealer.linger = 0
        dealer.rcvhwm = dealer.sndhwm = 1000
        dealer.curve_serverkey = connection.server_public.encode()
        dealer.curve_secretkey = connection.client_secret.encode()
        dealer.curve_publickey = connection.client_public.encode()
        dealer.connect(f"tcp://127.0.0.1:{connection.port}")
        yield dealer


def talk(count: int, seed: int, connection: Connection, keys: list[Connection]) -> None:
    """Frames of peers with good keys: noise, nearly messages, and messages that say anything."""
    source = Seeded(seed)
    words, dice = Words(source), source.random
    with bystander(connection) as link, contextlib.ExitStack() as stack:
        dealers = [stack.enter_context(_dealer(key)) for key in keys for _ in range(2)]
        for number in range(count):
            dealer = dealers[number % len(dealers)]
            nearly = number % 3 == 0
            frame = mutated(dice, _frame(words)) if nearly else codec.encode([words.message()])[0]
            if not any(map(_is_stop, _decoded(frame))):
                dealer.send(frame)
            if number % 50 == 0:
                _drain(dealers)
                is_served(link)


def _is_stop(message: m.AnyMessage) -> bool:
    """Whether the broker would rightly end, if who may do so says it."""
    return isinstance(message, m.Ask) and message.topic == "stop"


def _drain(dealers: "list[zmq.Socket[bytes]]") -> None:
    for dealer in dealers:
        with contextlib.suppress(zmq.Again):
            while True:
                dealer.recv(zmq.NOBLOCK)
