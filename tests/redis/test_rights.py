"""The rights that an application needs: those that are listed are enough, and none of them is too many."""

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import nbqueue
from nbqueue import App
from nbqueue.results.redis import RedisBackend
from nbqueue.transports.redis import rights
from nbqueue.transports.redis.checkup import look
from tests.redis.server import RedisServer
from tests.redis.threads import executor

LIMIT = 20.0
SOURCES = Path(nbqueue.__file__).parent
#: commands that everybody may use: they are how one is let in
ALWAYS = {"AUTH", "HELLO"}


@pytest.fixture
def least(server: RedisServer) -> Iterator[str]:
    """The URL of a user who has these rights and no others."""
    with server.client() as administrator:
        administrator.execute_command(
            "ACL", "SETUSER", "least", "on", ">secret", *rights.rule("least").split()
        )
        administrator.acl_log_reset()
        yield f"redis://least:secret@127.0.0.1:{server.port}/0?app=least"
        administrator.acl_deluser("least")


def denied(server: RedisServer) -> list[str]:
    """What somebody tried and was not allowed, as Redis has noted it."""
    with server.client() as administrator:
        return [entry["object"] for entry in administrator.acl_log()]


def test_a_user_with_the_listed_rights_can_do_everything(server: RedisServer, least: str) -> None:
    app = App(broker=least)

    @app.task(bind=True, max_retries=2, default_retry_delay=0)
    def work(self: Any, x: int) -> int:
        print("working")
        self.update_state(state="LOADING", meta={"x": x})
        if x == 3 and self.request.retries < 1:
            raise self.retry(exc=ValueError("again"))
        return 10 // x

    with executor(least):
        assert work.delay(2).get(LIMIT) == 5
        assert work.delay(3).get(LIMIT) == 3
        with pytest.raises(ZeroDivisionError):
            work.delay(0).get(LIMIT)
        assert work.apply_async((1,), countdown=0.1, time_limit=10, priority=5).get(LIMIT) == 10
        revoked = work.apply_async((1,), queue="nobody", expires=60)
        revoked.revoke()
        with pytest.raises(nbqueue.TaskRevokedError):
            revoked.get(LIMIT)
        assert app.client.ask("status")["workers"]
        assert app.client.ask("tasks", limit=10)
        assert "nobody" in work.apply_async((1,), queue="nobody").why()
        other = App(broker=least)
        found = other.AsyncResult(work.delay(5).id)
        assert found.get(LIMIT) == 2
        found.forget()
        other.close()
    backend = RedisBackend(least)
    backend.forget(["nothing"])
    assert look(least).denied == []
    app.close()
    # of the doctor's own questions, which it can do without
    assert set(denied(server)) <= {"config|get"}


def test_the_list_is_what_the_code_uses() -> None:
    lua = [path.read_text() for path in SOURCES.glob("transports/redis/lua/*.lua")]
    scripts = {name for text in lua for name in re.findall(r"""(?:call\(|and |or )'([A-Z]+)'""", text)}
    python = [path.read_text() for path in SOURCES.glob("transports/redis/*.py")]
    python.append((SOURCES / "results/redis.py").read_text())
    said = {name for text in python for name in re.findall(r"""\bb"([A-Z]{3,})", *[b"*\w]""", text)}
    said |= {
        name for text in python for name in re.findall(r"""(?:ask|call|command)\(b"([A-Z]{3,})"\)?""", text)
    }
    listed = {command.partition("|")[0] for command in rights.COMMANDS}
    assert scripts | said - {"EX", "NX", "PX", "LOAD"} - ALWAYS == listed


@pytest.mark.parametrize("command", ["HSET", "PUBLISH", "SUBSCRIBE", "SCRIPT|LOAD", "DEL"])
def test_a_right_that_is_missing_is_found(command: str, server: RedisServer, least: str) -> None:
    with server.client() as administrator:
        administrator.execute_command("ACL", "SETUSER", "least", f"-{command.lower()}")
    assert look(least).denied == [command]


def test_without_a_right_a_client_is_told_which(server: RedisServer, least: str) -> None:
    with server.client() as administrator:
        administrator.execute_command("ACL", "SETUSER", "least", "-subscribe")
    began = time.monotonic()
    with pytest.raises(ConnectionError, match=r"subscribe.*nbqueue doctor"):
        App(broker=least).task(lambda: 1, name="f").delay()
    assert time.monotonic() - began < 5.0


def test_a_right_that_is_taken_away_later_is_said_to_those_who_wait(server: RedisServer, least: str) -> None:
    app = App(broker=least)
    result = app.task(lambda: 1, name="f").apply_async(queue="nobody")
    result.wait_accepted(LIMIT)
    with server.client() as administrator:
        administrator.execute_command("ACL", "SETUSER", "least", "-zadd")
    with pytest.raises(ConnectionError, match="zadd"):
        result.get(LIMIT)


def test_another_applications_keys_are_not_ours(server: RedisServer, least: str) -> None:
    with pytest.raises(ConnectionError, match="NOPERM"):
        App(broker=least.replace("app=least", "app=another")).task(lambda: 1, name="f").delay()
