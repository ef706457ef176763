"""The entry point: finds the subcommand, loads only its module, and translates errors.

Everything heavy (sockets, rich, the client) is imported by the subcommand that needs it, so that
``nbqueue --help`` answers at once.
"""

import importlib
import os
from collections.abc import Sequence
from typing import Any

import click

from nbqueue._version import __version__
from nbqueue.cli import celery_words
from nbqueue.cli.errors import CommandFailed
from nbqueue.exceptions import NBQueueError

#: subcommand → module and attribute, in the order in which ``--help`` shows them
COMMANDS = {
    "start": "nbqueue.cli.cluster:start",
    "stop": "nbqueue.cli.cluster:stop",
    "status": "nbqueue.cli.status:status",
    "doctor": "nbqueue.cli.doctor:doctor",
    "inspect": "nbqueue.cli.remote:inspect",
    "control": "nbqueue.cli.remote:control",
    "purge": "nbqueue.cli.remote:purge",
    "events": "nbqueue.cli.events:events",
    "top": "nbqueue.cli.top:top",
    "worker": "nbqueue.cli.worker:worker",
    "broker": "nbqueue.cli.broker:broker",
    "beat": "nbqueue.cli.beat:beat",
    "key": "nbqueue.cli.key:key",
    "conf": "nbqueue.cli.conf:conf",
    "call": "nbqueue.cli.call:call",
    "result": "nbqueue.cli.call:result",
}

#: commands that an application says nothing to
_WITHOUT_APP = ("stop", "key")


class Commands(click.Group):
    """A group that imports a subcommand when it is asked for, and shows our errors without a traceback."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, attribute = COMMANDS[cmd_name].split(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        if cmd_name not in _WITHOUT_APP:
            _take_app(command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if (way_out := celery_words.COMMANDS.get(args[0])) is not None:
            ctx.fail(f"there is no `nbqueue {args[0]}`: {way_out}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except NBQueueError as error:
            if ctx.params.get("debug"):
                raise
            raise CommandFailed(error) from error


def _take_app(command: click.Command) -> None:
    """Let ``-A`` stand behind the command as well as before it, where its subcommands are groups too."""
    if any("--app" in parameter.opts for parameter in command.params):
        return
    option = click.Option(
        ["-A", "--app"], expose_value=False, callback=_remember_app, metavar="MODULE", help="Application."
    )
    command.params.append(option)
    for subcommand in command.commands.values() if isinstance(command, click.Group) else ():
        _take_app(subcommand)


def _remember_app(context: click.Context, _: click.Parameter, app: str | None) -> None:
    if app:
        context.obj = app


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "-A", "--app", default="", metavar="MODULE", help="Application, as in Celery: MODULE or MODULE:NAME."
)
@click.option("-b", "--broker", default="", metavar="URL", help="The broker, in place of the application's.")
@click.option("--result-backend", default="", hidden=True)
@click.option("--workdir", type=click.Path(exists=True, file_okay=False), help="Go there first.")
@celery_words.pointless(celery_words.GLOBAL_FLAGS, is_flag=True)
@celery_words.pointless(celery_words.GLOBAL_VALUES)
@celery_words.refused(celery_words.GLOBAL_REFUSED)
@click.option("--debug", is_flag=True, envvar="NBQUEUE_DEBUG", help="Show tracebacks of errors.")
@click.version_option(__version__, prog_name="nbqueue", message="%(prog)s %(version)s")
@click.pass_context
def cli(
    context: click.Context, app: str, broker: str, result_backend: str, workdir: str | None, debug: bool
) -> None:
    """Tasks from notebooks on worker processes: a queue with Celery's words and no server to install."""
    context.obj = app
    if workdir is not None:
        os.chdir(workdir)
    # what is started from here, workers above all, uses the same
    for name, value in (("NBQUEUE_BROKER", broker), ("NBQUEUE_BACKEND", result_backend)):
        if value:
            os.environ[name] = value


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    cli.main(args=arguments, prog_name="nbqueue")
