"""``nbqueue worker``: tasks of a broker here or on another machine, run on this one."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from nbqueue.settings import Settings

_LEVELS = click.Choice(["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"], case_sensitive=False)


def _queues(context: click.Context, option: click.Parameter, value: str) -> tuple[str, ...]:
    names = tuple(name for part in value.split(",") if (name := part.strip()))
    if value and not names:
        raise click.BadParameter("name at least one queue, as in -Q default,gpu")
    return names


@click.command()
@click.option("--connect", default="", metavar="HOST[:PORT]", help="The broker; else the local cluster's.")
@click.option("-c", "--concurrency", type=click.IntRange(min=1), help="Executor processes; else one a core.")
@click.option(
    "-Q",
    "--queues",
    default="",
    metavar="A,B",
    callback=_queues,
    help="To consume; else the application's.",
)
@click.option("-l", "--loglevel", type=_LEVELS, default="INFO", show_default=True, help="How much to tell.")
@click.option("-n", "--name", default="", help="Name to show, with %h, %n, %d as in Celery; else worker@%h.")
@click.option("--key-file", type=click.Path(path_type=Path), help="Holds the key; others must not read it.")
@click.option("--pidfile", default="", type=click.Path(), help="Do not start while its process runs.")
@click.pass_obj
def worker(
    app: str,
    connect: str,
    concurrency: int | None,
    queues: tuple[str, ...],
    loglevel: str,
    name: str,
    key_file: Path | None,
    pidfile: str,
) -> None:
    """Run tasks here.

    The broker's key is looked for in --key-file, NBQUEUE_KEY, NBQUEUE_KEY_FILE and, on the broker's own
    machine, its connection file; else it is asked for.
    """
    # loaded here, so that `nbqueue --help` needs no sockets
    from nbqueue.cli.target import named_url, settings_of
    from nbqueue.launch.ask import ask
    from nbqueue.worker.options import WorkerOptions
    from nbqueue.worker.supervisor import main

    named = named_url(app, connect)
    url, key = _remote(named, key_file) if named else _local(app)
    # Later a worker waits for its broker as long as it takes; but now there is somebody to tell.
    settings = settings_of(app)
    broker = ask(url, "status", timeout=settings.connect_timeout)["broker"]
    click.echo(f"Using the broker at {url}, pid {broker['pid']} on {broker['host']}.", err=True)
    options = WorkerOptions(
        url=url,
        connection=key,
        concurrency=concurrency or settings.workers,
        queues=queues or _queues_of(settings),
        name=name,
        app=app,
        loglevel=loglevel.upper(),
        local=not named,
        broker_patience=settings.broker_patience,
        pidfile=pidfile,
    )
    sys.exit(main(options))


def _queues_of(settings: "Settings") -> tuple[str, ...]:
    """Those of the application, or the one for tasks that name none."""
    return tuple(dict.fromkeys(settings.task_queues or (settings.task_default_queue,)))


def _remote(url: str, key_file: Path | None) -> tuple[str, str]:
    """URL and key of a broker that was named."""
    from nbqueue.cli.target import connection_to
    from nbqueue.wire.keys import encode_key

    connection = connection_to(url, key_file)
    os.environ.pop("NBQUEUE_KEY", None)  # tasks, and what they start, have no business with it
    return connection.url, encode_key(connection)


def _local(app: str) -> tuple[str, str]:
    """URL of the local cluster's broker, which is started if it does not run; its key is in its file."""
    from nbqueue.cli.target import settings_of
    from nbqueue.launch import local

    os.environ.pop("NBQUEUE_KEY", None)
    os.environ.pop("NBQUEUE_KEY_FILE", None)
    if local.find() is None:
        click.echo("No broker is running here: starting one, which `nbqueue stop` ends.", err=True)
    return local.ensure_broker(settings_of(app)).url, ""
