"""Redis behind TLS and passwords, as a replica, watched by Sentinels, as a Cluster: it works, or the error is
clear."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import nbqueue
from nbqueue import App
from nbqueue.exceptions import AuthenticationError, ConfigurationError, ConnectionLostError
from nbqueue.results.base import StoredValue
from nbqueue.results.redis import RedisBackend
from nbqueue.transports.redis.pieces import PIECE
from tests.redis.deployments import Certificates, Cluster, SentinelSet, TlsServer
from tests.redis.server import RedisServer, free_port
from tests.redis.threads import executor

LIMIT = 30.0


@pytest.fixture
def make_app() -> Iterator[Callable[[str], App]]:
    made: list[App] = []

    def make(url: str) -> App:
        made.append(App(broker=url, connect_timeout=10.0))
        return made[-1]

    yield make
    for app in made:
        app.close()


def works(app: App, url: str) -> None:
    """Small and large things go there and back."""
    echo = app.task(lambda x: x, name="echo")
    with executor(url):
        assert echo.map(range(20)).get(LIMIT) == list(range(20))
        assert echo.delay(bytes(3 * PIECE)).get(LIMIT) == bytes(3 * PIECE)
    backend = RedisBackend(url)
    backend.store([StoredValue("a", 1, b"value")], 60.0)
    assert backend.load("a", 1) == b"value"
    backend.close()


def refused(url: str, error: type[Exception], text: str, within: float = 4.0) -> None:
    """Whoever uses it is told so, and does not wait for long."""
    began = time.monotonic()
    with pytest.raises(error, match=text):
        App(broker=url, connect_timeout=2.0).task(lambda: 1, name="f").delay()
    assert time.monotonic() - began < within


# ── TLS ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def tls(certificates: Certificates, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsServer]:
    made = TlsServer(tmp_path_factory.mktemp("tls"), certificates)
    yield made
    made.stop()


def test_it_works_behind_tls(tls: TlsServer, make_app: Callable[[str], App]) -> None:
    works(make_app(tls.url), tls.url)


def test_a_certificate_of_nobody_we_know_is_refused(tls: TlsServer) -> None:
    refused(tls.url.partition("?")[0], ConnectionLostError, "(?i)certificate verify failed")


def test_without_tls_a_port_that_speaks_it_is_an_error(tls: TlsServer) -> None:
    refused(f"redis://127.0.0.1:{tls.tls_port}/0", ConnectionLostError, "no Redis answers", within=8.0)


def test_a_client_may_have_to_show_a_certificate(
    certificates: Certificates, tmp_path: Path, make_app: Callable[[str], App]
) -> None:
    server = TlsServer(tmp_path / "tls", certificates, clients=True)
    url = f"{server.url}&ssl_certfile={certificates.client_certificate}&ssl_keyfile={certificates.client_key}"
    works(make_app(url), url)
    refused(server.url, ConnectionLostError, "(?i)certificate required|no Redis answers", within=8.0)
    server.stop()


# ── who is let in ────────────────────────────────────────────────────────────────────────────────


def test_a_password_comes_from_the_url_or_the_environment(
    tmp_path: Path, make_app: Callable[[str], App], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = RedisServer(tmp_path / "redis", "requirepass right")
    refused(server.url, AuthenticationError, "a password is needed")
    wrong, right = (server.url.replace("://", f"://:{word}@") for word in ("wrong", "right"))
    refused(wrong, AuthenticationError, "(?i)invalid username-password|WRONGPASS")
    works(make_app(right), right)
    monkeypatch.setenv("NBQUEUE_REDIS_PASSWORD", "right")
    works(make_app(server.url), server.url)
    server.stop()


def test_a_read_only_replica_is_said(server: RedisServer, tmp_path: Path) -> None:
    replica = RedisServer(tmp_path / "replica", f"replicaof 127.0.0.1 {server.port}")
    refused(replica.url, ConnectionLostError, "read only replica", within=6.0)
    replica.stop()


# ── Sentinel ─────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def sentinels(tmp_path: Path) -> Iterator[SentinelSet]:
    made = SentinelSet(tmp_path)
    yield made
    made.stop()


def test_tasks_survive_a_failover(sentinels: SentinelSet, make_app: Callable[[str], App]) -> None:
    app = make_app(sentinels.url)
    works(make_app(sentinels.celery_url), sentinels.celery_url)
    add = app.task(lambda x: x + 1, name="add")
    with executor(sentinels.url):
        assert add.delay(0).get(LIMIT) == 1
        waiting = add.map(range(50), queue="nobody")
        waiting.children[-1].wait_accepted(LIMIT)
        sentinels.master.client().execute_command("WAIT", 1, 5000)
        killer = threading.Timer(0.3, sentinels.master.kill)
        killer.start()
        results = []
        for number in range(100):
            results.append(add.delay(number))
            time.sleep(0.01)
        killer.join()
        assert [result.get(LIMIT) for result in results] == [number + 1 for number in range(100)]
        assert add.delay(1).get(LIMIT) == 2
    with sentinels.replica.client() as redis:
        assert redis.info("replication")["role"] == "master"
        assert redis.hget("nbq:{default}:queued", "nobody") == b"50"
    for child in waiting.children:
        child.revoke()


def test_a_value_is_stored_through_a_failover(sentinels: SentinelSet) -> None:
    backend = RedisBackend(sentinels.url)
    backend.store([StoredValue("a", 1, b"before")], 60.0)
    sentinels.master.client().execute_command("WAIT", 1, 5000)
    sentinels.master.kill()
    backend.store([StoredValue("b", 1, bytes(2 * PIECE))], 60.0)
    assert backend.load("a", 1) == b"before"
    assert backend.load("b", 1) == bytes(2 * PIECE)


def test_a_set_that_no_sentinel_knows_and_one_without_a_name(sentinels: SentinelSet) -> None:
    refused(
        sentinels.url.replace("mymaster", "other"),
        ConnectionLostError,
        "no master called 'other'",
        within=5.0,
    )
    refused(sentinels.url.partition("?")[0], ConfigurationError, "master_name=NAME")
    port = free_port()
    refused(
        f"sentinel://127.0.0.1:{port}/0?master_name=m", ConnectionLostError, f"Sentinel at 127.0.0.1:{port}"
    )


# ── Cluster ──────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(tmp_path)
    yield made
    made.stop()


def test_any_node_of_a_cluster_leads_to_the_application(
    cluster: Cluster, make_app: Callable[[str], App]
) -> None:
    for node in cluster.nodes:
        url = f"redis://127.0.0.1:{node.port}/0?app=app{node.port}"
        works(make_app(url), url)


def test_tasks_survive_that_their_slot_moves(cluster: Cluster, make_app: Callable[[str], App]) -> None:
    slot = cluster.slot("default")
    first = cluster.owner(slot)
    url = f"redis://127.0.0.1:{first.port}/0"
    app = make_app(url)
    add = app.task(lambda x: x + 1, name="add")
    with executor(url):
        assert add.delay(0).get(LIMIT) == 1
        later = add.apply_async((5,), countdown=2.0)
        later.wait_accepted(LIMIT)
        target = next(node for node in cluster.nodes if node is not first)
        mover = threading.Thread(target=cluster.move, args=(slot, target))
        mover.start()
        results = []
        for number in range(100):
            results.append(add.delay(number))
            time.sleep(0.005)
        mover.join()
        assert [result.get(LIMIT) for result in results] == [number + 1 for number in range(100)]
        assert later.get(LIMIT) == 6
    assert cluster.owner(slot) is target


def test_tasks_survive_the_death_of_their_node(
    cluster: Cluster, tmp_path: Path, make_app: Callable[[str], App]
) -> None:
    slot = cluster.slot("default")
    first = cluster.owner(slot)
    replica = cluster.add_replica(tmp_path / "replica", first)
    url = f"redis://127.0.0.1:{first.port}/0"  # the very one that dies
    app = make_app(url)
    add = app.task(lambda x: x + 1, name="add")
    with executor(url):
        assert add.delay(0).get(LIMIT) == 1
        assert first.say("WAIT", 1, 5000) == 1
        first.kill()
        results = [add.delay(number) for number in range(20)]
        cluster.wait_for_owner(slot, replica)
        assert [result.get(LIMIT) for result in results] == [number + 1 for number in range(20)]


def test_without_a_result_nothing_hangs_when_all_are_gone(
    sentinels: SentinelSet, make_app: Callable[[str], App]
) -> None:
    app = App(broker=sentinels.url, connect_timeout=2.0)
    result: Any = app.task(lambda: 1, name="f").apply_async(queue="nobody")
    result.wait_accepted(LIMIT)
    sentinels.stop()
    began = time.monotonic()
    with pytest.raises(nbqueue.exceptions.ConnectionLostError, match="Sentinel"):
        result.get()
    assert time.monotonic() - began < 25.0
    app.client.close(drain=False)
