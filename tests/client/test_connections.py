"""Which client speaks to a broker, and what becomes of it when the broker ends."""

import threading
import time
from collections.abc import Iterator

import pytest

from nbqueue import messages as m
from nbqueue.client import connections
from nbqueue.client.connections import client_for
from nbqueue.client.result import AsyncResult
from nbqueue.exceptions import AuthenticationError, ConnectionLostError
from nbqueue.settings import Settings
from tests.client.test_client import WELCOME, ScriptedLink, ScriptedTransport, polite, soon, task

URL = "scripted://"
QUICK = Settings(connect_timeout=0.3)


@pytest.fixture
def links(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[ScriptedLink]]:
    """The links that clients make, in order."""
    made: list[ScriptedLink] = []

    def transport(url: str, settings: object = None) -> ScriptedTransport:
        made.append(ScriptedLink(polite))
        return ScriptedTransport(made[-1])

    clients: dict[str, object] = {}
    monkeypatch.setattr(connections, "transport", transport)
    monkeypatch.setattr(connections, "_clients", clients)
    yield made
    for client in clients.values():
        client.close(drain=False)


def end(link: ScriptedLink) -> None:
    """The broker says that it ends, and is gone."""
    link.say(m.Shutdown("told to"))
    link.trouble = ConnectionLostError("nobody listens")


def come_back(link: ScriptedLink) -> None:
    """Another broker answers."""
    link.trouble = None
    link.say(WELCOME)


def test_there_is_one_client_for_a_broker(links: list[ScriptedLink]) -> None:
    assert client_for(URL) is client_for(URL)
    assert len(links) == 1


def test_a_client_whose_broker_ended_goes_on_with_the_next_one(links: list[ScriptedLink]) -> None:
    client = client_for(URL)
    end(links[0])
    soon(lambda: client.ended)
    threading.Timer(0.2, come_back, (links[0],)).start()
    began = time.monotonic()
    assert client_for(URL) is client
    assert time.monotonic() - began < 2
    assert client.connected
    assert len(links) == 1


def test_without_another_broker_an_unused_client_is_closed_and_the_next_use_makes_another(
    links: list[ScriptedLink],
) -> None:
    client = client_for(URL, QUICK)
    end(links[0])
    soon(lambda: client.ended)
    with pytest.raises(ConnectionLostError, match="nobody listens"):
        client_for(URL, QUICK)
    assert not client._thread.is_alive()
    assert client_for(URL, QUICK) is not client
    assert len(links) == 2


def test_nothing_gathers_for_the_next_broker_while_there_is_none(links: list[ScriptedLink]) -> None:
    client = client_for(URL)
    end(links[0])
    soon(lambda: client.ended and not client.connected)
    time.sleep(0.1)
    links[0].said.clear()
    time.sleep(5 * WELCOME.heartbeat)
    assert not links[0].said
    come_back(links[0])
    soon(lambda: m.Ping() in links[0].said)


def test_a_client_that_results_wait_for_is_kept_for_the_broker_that_may_come(
    links: list[ScriptedLink],
) -> None:
    client = client_for(URL, QUICK)
    result = AsyncResult("1", client, client.submit(task("1"), ()))
    end(links[0])
    soon(lambda: client.ended)
    with pytest.raises(ConnectionLostError, match="nobody listens"):
        client_for(URL, QUICK)
    come_back(links[0])
    soon(lambda: client.connected)
    links[0].say(m.Settle([m.Outcome("1", 1, "SUCCESS")]))
    assert result.get(5.0) is None
    assert client_for(URL, QUICK) is client


def test_a_client_whose_key_is_good_no_longer_makes_way_for_one_with_a_better(
    links: list[ScriptedLink],
) -> None:
    client = client_for(URL, QUICK)
    links[0].trouble = AuthenticationError("the broker refused the key")
    links[0].wake()
    assert client_for(URL, QUICK) is not client
    assert not client._thread.is_alive()


def test_a_callback_that_hears_of_the_end_may_submit_the_next_task(links: list[ScriptedLink]) -> None:
    client = client_for(URL)
    future = AsyncResult("1", client, client.submit(task("1"), ())).future()
    took: list[float] = []

    def submit_another(_: object) -> None:
        began = time.monotonic()
        client_for(URL).submit(task("2"), ())
        took.append(time.monotonic() - began)

    future.add_done_callback(submit_another)
    end(links[0])
    soon(lambda: took)
    assert took[0] < 1
