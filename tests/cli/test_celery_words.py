"""What stands on Celery's command lines: taken, translated, or an error that names the way out."""

import os
from pathlib import Path
from typing import Any
from unittest import mock

import click
import pytest
from click.testing import CliRunner, Result

from nbqueue.cli import celery_words
from nbqueue.cli.call import call
from nbqueue.cli.events import events
from nbqueue.cli.main import COMMANDS, cli
from nbqueue.cli.status import status
from nbqueue.cli.worker import _without, worker


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments)


@pytest.mark.parametrize("command", celery_words.COMMANDS)
def test_a_command_that_is_not_there_names_the_way_out(command: str) -> None:
    assert command not in COMMANDS
    result = run("-A", "proj", command, "anything", "-l", "INFO")
    assert result.exit_code == 2
    assert f"there is no `nbqueue {command}`: {celery_words.COMMANDS[command]}" in result.stderr


@pytest.mark.parametrize(
    ("command", "names", "values"),
    [
        (worker, celery_words.WORKER_FLAGS, []),
        (worker, celery_words.WORKER_VALUES, ["1"]),
        (call, celery_words.CALL_VALUES, ["x"]),
        (events, celery_words.EVENTS_FLAGS, []),
        (events, celery_words.EVENTS_VALUES, ["1"]),
        (status, celery_words.STATUS_VALUES, ["1"]),
    ],
)
def test_an_option_without_effect_is_taken_and_says_why(
    command: click.Command, names: dict[str, str], values: list[str], capsys: Any
) -> None:
    arguments = ["tasks.add"] if command is call else []
    for spelt, why in names.items():
        for option in spelt.split(","):
            command.make_context(str(command.name), [*arguments, option, *values])
            assert capsys.readouterr().err.endswith(f" has no effect: {why}.\n")


@pytest.mark.parametrize(
    ("command", "names", "values"),
    [
        (worker, celery_words.WORKER_REFUSED, []),
        (worker, celery_words.WORKER_REFUSED_VALUES, ["1"]),
        (events, celery_words.EVENTS_REFUSED, ["x"]),
    ],
)
def test_an_option_that_somebody_relies_on_is_refused_with_the_way_out(
    command: click.Command, names: dict[str, str], values: list[str]
) -> None:
    for spelt, way_out in names.items():
        for option in spelt.split(","):
            with pytest.raises(click.UsageError) as caught:
                command.make_context(str(command.name), [option, *values])
            assert way_out in str(caught.value)


def test_a_workers_options_of_celery_mean_the_same() -> None:
    made = worker.make_context(
        "worker", ["--hostname", "w@%h", "-b", "h:1", "-X", "a", "-I", "x", "--discard"]
    )
    assert made.params["name"] == "w@%h"
    assert made.params["connect"] == "h:1"
    assert (made.params["excluded"], made.params["include"], made.params["purge"]) == ("a", "x", True)


def test_queues_are_left_out_but_not_all_of_them() -> None:
    assert _without(("b",), ("a", "b", "c")) == ("a", "c")
    with pytest.raises(click.UsageError, match="-X a leaves no queue to consume: a"):
        _without(("a",), ("a",))


def test_modules_to_be_imported_need_an_application() -> None:
    result = run("worker", "-I", "tasks")
    assert result.exit_code == 2
    assert "give it with -A" in result.stderr


def test_broker_backend_and_folder_are_said_before_the_command(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    seen: dict[str, str] = {}

    @click.command()
    def look() -> None:
        seen.update(os.environ, cwd=os.getcwd())

    monkeypatch.setattr(type(cli), "get_command", lambda self, context, name: look)
    said = ["-b", "redis://h/1", "--result-backend", "rpc://", "--workdir", "there", "look"]
    with mock.patch.dict(os.environ):
        cli.main(said, standalone_mode=False)
    assert (seen["NBQUEUE_BROKER"], seen["NBQUEUE_BACKEND"]) == ("redis://h/1", "rpc://")
    assert seen["cwd"] == str(tmp_path / "there")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_fits_a_terminal_of_80_columns(command: str) -> None:
    shown = CliRunner().invoke(cli, [command, "--help"], terminal_width=80).output
    assert [line for line in shown.splitlines() if len(line) > 80] == []
