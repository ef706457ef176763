import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from nbqueue._version import __version__
from nbqueue.cli import main as entry
from nbqueue.cli.errors import CANNOT_CREATE, CONFIGURATION, NO_PERMISSION, UNAVAILABLE
from nbqueue.cli.main import COMMANDS, cli
from nbqueue.cli.worker import worker
from nbqueue.exceptions import AuthenticationError, ConfigurationError, ConnectionLostError, NBQueueError
from nbqueue.launch.errors import LaunchError, UnusableFolderError


def run(*arguments):
    return CliRunner().invoke(cli, arguments)


def test_help_names_every_command_with_a_line_about_it():
    result = run("--help")
    assert result.exit_code == 0
    listed = result.output.split("Commands:")[1].splitlines()
    lines = {line.split()[0]: line.split()[1:] for line in listed if line.strip()}
    assert list(lines) == list(COMMANDS)
    assert all(lines.values())


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help_of_its_own(command):
    result = run(command, "--help")
    assert result.exit_code == 0
    assert result.output.startswith(f"Usage: cli {command}")


def test_version_is_the_packages():
    assert run("--version").output == f"nbqueue {__version__}\n"


def test_help_loads_neither_sockets_nor_rich_nor_the_client():
    code = """
import sys
from nbqueue.cli.main import main
try:
    main(["--help"])
except SystemExit:
    pass
print(sorted({"zmq", "rich", "psutil", "nbqueue.client", "msgspec", "asyncio"} & set(sys.modules)))
"""
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.splitlines()[-1] == "[]"


def test_python_dash_m_is_the_same_command():
    shown = subprocess.run(
        [sys.executable, "-m", "nbqueue", "--version"], capture_output=True, text=True, check=True
    )
    assert shown.stdout == f"nbqueue {__version__}\n"


@pytest.fixture
def failing(monkeypatch):
    """A function that makes `nbqueue status` fail with an error, and runs it."""

    def fail(error, *options):
        @click.command()
        def command():
            raise error

        monkeypatch.setattr(entry.Commands, "get_command", lambda self, context, name: command)
        return run(*options, "status")

    return fail


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (AuthenticationError("x"), NO_PERMISSION),
        (ConnectionLostError("x"), UNAVAILABLE),
        (LaunchError("x"), UNAVAILABLE),
        (UnusableFolderError("x"), CANNOT_CREATE),
        (ConfigurationError("x"), CONFIGURATION),
        (NBQueueError("x"), 1),
    ],
)
def test_an_error_of_ours_is_a_line_on_stderr_with_the_exit_code_of_sysexits(failing, error, code):
    result = failing(error)
    assert result.exit_code == code
    assert result.stdout == ""
    assert result.stderr.startswith("Error: x\n")
    assert "Traceback" not in result.stderr


def test_an_error_that_does_not_say_what_to_do_is_followed_by_a_hint(failing):
    assert failing(ConnectionLostError("nobody listens")).stderr.splitlines() == [
        "Error: nobody listens",
        "Hint: `nbqueue doctor` looks for the cause",
    ]


def test_an_error_that_says_what_to_do_has_no_hint(failing):
    text = "no local cluster is running; `nbqueue start` starts one"
    assert failing(ConnectionLostError(text)).stderr == f"Error: {text}\n"


def test_debug_shows_the_traceback(failing):
    error = ConnectionLostError("nobody listens")
    assert failing(error, "--debug").exception is error


@pytest.mark.parametrize(
    ("said", "meant"), [("prefork", "processes"), ("threads", "threads"), ("solo", "solo")]
)
def test_a_pool_may_be_called_as_in_celery(said, meant):
    assert worker.make_context("worker", ["-P", said]).params["pool"] == meant


@pytest.mark.parametrize(("said", "advice"), [("gevent", "--concurrency-async"), ("eventlet", "threads")])
def test_a_pool_that_is_not_there_names_the_way_out(said, advice):
    with pytest.raises(click.BadParameter, match=advice):
        worker.make_context("worker", ["-P", said])


def test_autoscale_is_a_pair_of_which_the_second_may_be_left_out():
    assert worker.make_context("worker", ["--autoscale", "8,2"]).params["autoscale"] == (8, 2)
    assert worker.make_context("worker", ["--autoscale", "8"]).params["autoscale"] == (8, 1)
    with pytest.raises(click.BadParameter, match="MAX,MIN"):
        worker.make_context("worker", ["--autoscale", "many"])
