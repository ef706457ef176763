"""What ``nbqueue doctor`` and ``nbqueue key`` say where Redis is the broker."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from nbqueue.cli.finding import Finding
from nbqueue.cli.main import cli
from nbqueue.cli.redis_examination import examine_redis, judge
from nbqueue.transports.redis.checkup import Facts
from nbqueue.wire import signing
from tests.redis.server import RedisServer, free_port
from tests.redis.threads import executor
from tests.waiting import until

SAFE = {
    "redis_version": "7.0.15", "role": "master", "maxmemory": "1000000000", "used_memory": "1000000",
    "maxmemory_policy": "noeviction", "aof_enabled": "1", "loading": "0", "aof_last_write_status": "ok",
    "rdb_last_bgsave_status": "ok",
}  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    made = RedisServer(tmp_path_factory.mktemp("redis"), "maxmemory 100mb")
    yield made
    made.stop()


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments)


def facts(info: dict[str, str] | None = None, **changes: object) -> Facts:
    known: dict[str, object] = {
        "info": {**SAFE, **(info or {})}, "settings": {"appendfsync": "everysec"}, "latency": 0.0001,
        "ahead": 0.0,
    }  # fmt: skip
    return Facts(**{**known, **changes})


def notes(found: Facts) -> list[Finding]:
    """All but what is as it should be."""
    return [finding for finding in judge(found, "redis://h", "broker", "default") if not finding.ok]


def test_of_a_safe_redis_there_is_nothing_to_say(folders: None) -> None:
    assert notes(facts()) == []


@pytest.mark.parametrize(
    ("found", "ok", "text", "advice"),
    [
        (facts({"redis_version": "6.0.1"}), False, "Redis 6.0.1", "6.2 or newer"),
        (facts({"role": "slave", "master_host": "m", "master_port": "7"}), False, "replica", "m:7"),
        (facts({"cluster_enabled": "1"}), None, "one shard", ""),
        (facts({"maxmemory_policy": "allkeys-lru"}), False, "throws tasks", "noeviction"),
        (facts({"maxmemory_policy": "volatile-ttl"}), False, "throws functions and results", "noeviction"),
        (facts({"maxmemory": "0"}), None, "no limit of memory", "maxmemory"),
        (facts({"used_memory": "950000000"}), False, "950 of 1,000 MB", "result_expires"),
        (facts({"aof_enabled": "0"}, settings={"save": ""}), None, "loses everything that", "appendonly yes"),
        (facts({"aof_enabled": "0"}, settings={"save": "60 1"}), None, "since its last", "appendonly yes"),
        (facts(settings={"appendfsync": "no"}), None, "power failure", "everysec"),
        (facts({"aof_last_write_status": "err"}), False, "append-only file", "disk"),
        (facts({"rdb_last_bgsave_status": "err"}), False, "snapshot", "disk"),
        (facts({"loading": "1"}), False, "loading", "wait"),
        (facts(latency=0.02), None, "20 ms", "near it"),
        (facts(ahead=-90.0), None, "90 s behind", "NTP"),
        (facts(denied=["HSET", "DEL"]), False, "may not use HSET, DEL", "ACL SETUSER"),
        (facts(strangers=["w1"]), False, "1 worker signed by another key: w1", "nbqueue key"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_each_danger_is_named_with_what_to_do(
    found: Facts, ok: bool | None, text: str, advice: str, folders: None
) -> None:
    (note,) = notes(found)
    assert note.ok is ok
    assert text in note.text
    assert advice in note.advice


def test_doctor_looks_at_a_redis(server: RedisServer, folders: None) -> None:
    with executor(server.url):
        said = run("doctor", "--connect", server.url)
    assert said.exit_code == 0, said.output
    for line in (
        f"broker {server.url} answers, Redis 7", "of 105 MB are used", "power failure loses the last second",
        "ms there and back", f"signing key {signing.fingerprint()}", "worker w@test", "no task is waiting",
    ):  # fmt: skip
        assert line in said.output.replace("\n", " ")


def test_doctor_says_how_to_start_a_worker_for_a_redis(server: RedisServer, folders: None) -> None:
    said = run("doctor", "--connect", server.url + "?app=nobody")
    assert said.exit_code == 1
    assert "nbqueue worker --connect redis://" in said.output


def test_a_worker_with_another_signing_key_is_found(
    server: RedisServer, folders: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = server.url + "?app=strangers"
    with executor(url), server.client() as redis:
        until(lambda: redis.hlen("nbq:{strangers}:workers"), "no worker comes")
        monkeypatch.setenv("NBQUEUE_SIGNING_KEY", "another key than theirs")
        texts = [finding.text for finding in examine_redis(url, "broker") if finding.ok is False]
    assert len(texts) == 1
    assert "1 worker signed by another key" in texts[0]


def test_doctor_looks_at_a_result_backend(
    server: RedisServer, folders: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NBQUEUE_BACKEND", server.url + "?app=values")
    assert f"result backend {server.url}?app=values answers" in run(
        "doctor", "--connect", server.url
    ).output.replace("\n", "")


def test_a_redis_that_is_not_there_is_said_once(folders: None) -> None:
    said = run("doctor", "--connect", f"redis://127.0.0.1:{free_port()}/0")
    assert said.exit_code == 1
    assert said.output.count("no Redis answers") == 1


def test_a_wrong_password_is_said(tmp_path: Path, folders: None) -> None:
    server = RedisServer(tmp_path / "redis", "requirepass right")
    said = run("doctor", "--connect", server.url)
    assert "NBQUEUE_REDIS_PASSWORD" in said.output
    server.stop()


# ── nbqueue key ──────────────────────────────────────────────────────────────────────────────────


def test_key_is_one_line_without_a_secret_in_its_arguments(
    folders: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NBQUEUE_BROKER", "redis://me:the%20password@host:7/1?app=mine")
    said = run("key")
    environment, arguments = said.stdout.strip().split(" nbqueue ")
    assert environment == f"NBQUEUE_SIGNING_KEY={signing.signing_key()} NBQUEUE_REDIS_PASSWORD='the password'"
    assert arguments == "worker --connect 'redis://me@host:7/1?app=mine'"
    assert said.stderr == ""


def test_key_warns_of_an_address_that_only_this_machine_can_reach(folders: None) -> None:
    said = run("key", "--connect", "redis://127.0.0.1:7/0")
    assert said.stdout.endswith("nbqueue worker --connect redis://127.0.0.1:7/0\n")
    assert "only this machine" in said.stderr


def test_key_has_no_roles_there(folders: None) -> None:
    said = run("key", "--connect", "redis://h", "--role", "viewer")
    assert said.exit_code == 2
    assert "one key" in said.stderr


def test_a_password_among_the_arguments_is_warned_of(server: RedisServer, folders: None) -> None:
    assert "others see a password" in run("key", "--connect", "redis://:secret@h").stderr
