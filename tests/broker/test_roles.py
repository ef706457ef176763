"""Keys and their roles on a running broker, over TCP: who is let in, who is cut off, and when."""

import time
from pathlib import Path

import msgspec
import pytest
import zmq

from nbqueue import messages as m
from nbqueue.broker import daemon
from nbqueue.broker.daemon import Broker
from nbqueue.core.permissions import CLIENT, VIEWER, WORKER, Key
from nbqueue.exceptions import AuthenticationError
from nbqueue.transports.zmq import ZmqLink
from nbqueue.wire import codec, keyring, keys
from nbqueue.wire.keys import Connection
from tests.broker.running import (
    answers,
    broker_in_thread,
    linked,
    over_tcp,
    receive_one,
    receive_trouble,
    until,
)

TASK = m.Task("t", "f", "d", b"")


def by_key(broker: Broker, name: str, role: str = "") -> Connection:
    """The way in for the holder of a key, from elsewhere."""
    secret = keyring.find_or_add(broker._home.folder, name, role).secret
    made = msgspec.structs.replace(over_tcp(broker.connection), client_secret=secret)
    return keys.decode_key(keys.encode_key(made), keys.parse_url(made.url))


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemon, "_LOOK_AT_KEYS", 0.02)


def known(broker: Broker, name: str) -> bool:
    return any(key.name == name for key in broker._door._keys.values())


def let_in(broker: Broker, name: str, role: str) -> Connection:
    connection = by_key(broker, name, role)
    until(lambda: known(broker, name))
    return connection


def test_a_key_that_is_made_while_the_broker_runs_opens_it(broker: Broker) -> None:
    with linked(let_in(broker, "wall", VIEWER)) as link:
        link.send([m.Submit([TASK])])
        assert "'wall' is a viewer's key" in receive_one(link, m.Rejected).reason
        link.send([m.Ask(1, "status")])
        assert receive_one(link, m.Answer).error == ""


def test_the_core_is_told_the_key_of_each_connection(broker: Broker) -> None:
    with (
        linked(let_in(broker, "gpu", WORKER), id="tcp"),
        linked(over_tcp(broker.connection), id="default"),
        linked(broker.connection, id="ipc"),
    ):
        found = {id: client.key for id, client in broker._core.audience.clients.items()}
    assert found == {"tcp": Key("gpu", WORKER), "default": Key("default", CLIENT), "ipc": Key("", CLIENT)}


def test_a_routing_id_that_somebody_had_before_gives_no_rights(broker: Broker) -> None:
    """One who says which id it wants, as zmq allows, gets no more than its own key's rights."""
    viewer = let_in(broker, "wall", VIEWER)
    with zmq.Context() as context:

        def dealer(connection: Connection) -> zmq.Socket[bytes]:
            made: zmq.Socket[bytes] = context.socket(zmq.DEALER)
            made.linger = 0
            made.rcvtimeo = 10_000
            made.routing_id = b"chosen"
            made.curve_serverkey = connection.server_public.encode()
            made.curve_secretkey = connection.client_secret.encode()
            made.curve_publickey = connection.client_public.encode()
            made.connect(f"tcp://127.0.0.1:{connection.port}")
            return made

        def said(sock: "zmq.Socket[bytes]", *messages: m.AnyMessage) -> m.AnyMessage:
            sock.send(codec.encode(messages)[0])
            return codec.decode([sock.recv()])[-1]

        with dealer(over_tcp(broker.connection)) as person:
            assert isinstance(said(person, m.Hello(m.CLIENT, "ann")), m.Welcome)
            assert isinstance(said(person, m.Define("d", b"x"), m.Submit([TASK])), m.Accepted)
        time.sleep(0.1)  # until zmq has seen it go
        with dealer(viewer) as thief:
            assert isinstance(said(thief, m.Cancel(["t"])), m.Unknown)
    record = broker._core.tasks.records.get("t")
    assert record is not None
    assert record.outcome is None


def test_a_revoked_key_is_cut_off_at_once_and_stays_out(broker: Broker) -> None:
    connection = let_in(broker, "gpu", WORKER)
    with (
        linked(connection, m.WORKER, "supervisor") as supervisor,
        linked(connection, id="task") as inside,
        linked(over_tcp(broker.connection), id="bystander") as bystander,
    ):
        keyring.revoke(broker._home.folder, "gpu")
        for link in (supervisor, inside):
            assert "the key 'gpu' was revoked" in receive_one(link, m.Refused).reason
        assert set(broker._core.audience.clients) == {"bystander"}
        assert broker._core.dispatch.workers == {}
        inside.send([m.Hello(m.CLIENT, "task"), m.Ping()])
        assert "good no longer" in receive_one(inside, m.Refused).reason
        bystander.send([m.Ping()])
        receive_one(bystander, m.Pong)
        assert set(broker._core.audience.clients) == {"bystander"}
    link = ZmqLink(connection)
    receive_trouble(link, AuthenticationError)
    link.close()


def test_a_rotated_key_is_cut_off_and_the_new_one_let_in(broker: Broker) -> None:
    old = let_in(broker, "ann", CLIENT)
    with linked(old) as link:
        keyring.rotate(broker._home.folder, "ann")
        assert "the key 'ann' got a new secret" in receive_one(link, m.Refused).reason
    assert answers(by_key(broker, "ann"))


def test_when_the_default_key_is_rotated_the_connection_files_have_the_new_one(broker: Broker) -> None:
    old = over_tcp(broker.connection)
    fresh = keyring.rotate(broker._home.folder)
    until(lambda: broker.connection.client_secret == fresh.secret)
    for path in (keys.brokers_dir() / f"{old.port}.json", broker._home.folder / "broker.json"):
        assert keys.read_connection(path).client_secret == fresh.secret
    assert answers(over_tcp(broker.connection))
    link = ZmqLink(old)
    receive_trouble(link, AuthenticationError)
    link.close()


def test_those_on_the_unix_socket_need_no_key_and_are_not_cut_off(broker: Broker) -> None:
    with linked(broker.connection) as link:
        keyring.rotate(broker._home.folder)
        until(lambda: broker.connection.client_secret == keyring.read(broker._home.folder).default.secret)
        link.send([m.Ping()])
        receive_one(link, m.Pong)


def test_damaged_keys_leave_those_that_were_and_are_complained_of(
    broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    keyring.path(broker._home.folder).write_text("{")
    until(lambda: "keys were changed, and that cannot be followed" in caplog.text)
    keyring.path(broker._home.folder).unlink()
    assert answers(over_tcp(broker.connection))


def test_keys_are_looked_at_once_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemon, "_LOOK_AT_KEYS", 1.0)
    with broker_in_thread(tmp_path) as broker, linked(let_in(broker, "gpu", WORKER)) as link:
        began = time.monotonic()
        keyring.revoke(tmp_path, "gpu")
        receive_one(link, m.Refused)
        assert time.monotonic() - began < 2.0
