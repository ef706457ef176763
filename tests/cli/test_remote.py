"""``nbqueue inspect``, ``control`` and ``purge``: words, output and exit codes."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner, Result

from nbqueue import App
from nbqueue.cli.errors import FAILURE, UNAVAILABLE
from nbqueue.cli.main import cli
from nbqueue.cli.remote import pretty
from nbqueue.testing import InProcessCluster


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with InProcessCluster() as cluster:
        monkeypatch.setenv("NBQUEUE_BROKER", cluster.url)
        yield cluster.url


def run(*words: str, typed: str | None = None) -> Result:
    return CliRunner().invoke(cli, words, input=typed, prog_name="nbqueue")


def test_a_rate_limit_is_answered_as_in_celery(broker: str) -> None:
    result = run("control", "rate_limit", "tasks.add", "10/m")
    assert result.output == "->  in-process: OK\n    new rate limit set successfully\n"
    assert result.exit_code == 0


def test_inspect_lists_what_there_is_and_counts_the_nodes(broker: str) -> None:
    assert run("inspect", "active").output == "->  in-process: OK\n    - empty -\n\n1 node online.\n"
    assert run("inspect", "ping").output == "->  in-process: OK\n    pong\n\n1 node online.\n"
    assert "* {'name': 'default'" in run("inspect", "active_queues").output


def test_an_error_reply_gives_an_exit_code(broker: str) -> None:
    result = run("control", "pool", "grow", "2")
    assert "->  in-process: ERROR\n    a worker of threads" in result.output
    assert result.exit_code == FAILURE


def test_when_nobody_answers_it_says_so(broker: str) -> None:
    result = run("inspect", "ping", "-d", "nobody", "-t", "0.1")
    assert "No nodes replied within time constraint" in result.output
    assert result.exit_code == UNAVAILABLE


def test_json_is_for_programs(broker: str) -> None:
    assert json.loads(run("inspect", "ping", "-j").output) == {"in-process": {"ok": "pong"}}


def test_tasks_are_shown_with_their_arguments_and_revoked(broker: str) -> None:
    app = App("t", broker=broker)

    @app.task
    def f(x: Any) -> None: ...

    result = f.apply_async((len,), countdown=60)
    app.flush()
    shown = run("inspect", "scheduled").output
    assert "'args': ['<builtins.len>']" in shown
    assert "waiting" not in shown
    assert f"'{result.id}'" in shown
    assert f"tasks {result.id} flagged as revoked" in run("control", "revoke", result.id).output
    app.close()


def test_purge_asks_first(broker: str) -> None:
    app = App("t", broker=broker)

    @app.task(queue="q")
    def f() -> None: ...

    f.delay()
    app.flush()
    assert run("purge", typed="n\n").exit_code == 1
    assert "No tasks purged from queue other." in run("purge", "-f", "-Q", "other").output
    assert "Purged 1 task from queue q." in run("purge", "-Q", "q", typed="y\n").output
    app.close()


@pytest.mark.parametrize(
    "words",
    [
        ("control", "dance"),
        ("control", "rate_limit", "f"),
        ("control", "rate_limit", "f", "often"),
        ("control", "time_limit", "f", "soon"),
        ("control", "pool_grow", "many"),
        ("control", "revoke"),
        ("inspect", "query_task"),
        ("inspect", "active", "id"),
    ],
)
def test_words_that_make_no_sense_are_refused(broker: str, words: tuple[str, ...]) -> None:
    assert run(*words).exit_code not in (0, FAILURE, UNAVAILABLE)


def test_a_signal_may_stand_before_the_ids(broker: str) -> None:
    result = run("control", "terminate", "SIGKILL", "unknown")
    assert "no task is known as unknown" in result.output


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        ([], ("OK", "- empty -")),
        (["a", {"b": 1}], ("OK", "* a\n* {'b': 1}")),
        ({"ok": "pong"}, ("OK", "pong")),
        ({"error": "no"}, ("ERROR", "no")),
        ({"ok": "pong", "more": 1}, ("OK", '{\n    "ok": "pong",\n    "more": 1\n}')),
    ],
)
def test_replies_are_drawn_as_celery_does(reply: Any, text: tuple[str, str]) -> None:
    assert pretty(reply) == text
