"""``nbqueue worker``: tasks of a broker here or on another machine, run on this one."""

import os
import sys
from pathlib import Path

import click

_LEVELS = click.Choice(["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"], case_sensitive=False)


@click.command()
@click.option("--connect", default="", metavar="HOST[:PORT]", help="The broker; else the local cluster's.")
@click.option("-A", "--app", default="", metavar="MODULE", help="Have this module's tasks.")
@click.option("-c", "--concurrency", type=click.IntRange(min=1), help="Executor processes; else one a core.")
@click.option("-Q", "--queues", default="default", show_default=True, metavar="A,B", help="To consume.")
@click.option("-l", "--loglevel", type=_LEVELS, default="INFO", show_default=True, help="How much to tell.")
@click.option("-n", "--name", default="", help="Name to show, with %h, %n, %d as in Celery; else worker@%h.")
@click.option("--key-file", type=click.Path(path_type=Path), help="Holds the key; others must not read it.")
@click.option("--pidfile", default="", type=click.Path(), help="Do not start while its process runs.")
@click.option("--tag", "tags", multiple=True, help="For tasks that demand it; may be given several times.")
@click.option("--resource", "resources", multiple=True, metavar="NAME=N", help="What tasks share: gpu=2.")
@click.option("--memory", default="", metavar="SIZE", help="The same of memory, 8GB; else this machine's.")
@click.pass_obj
def worker(
    group_app: str,
    connect: str,
    app: str,
    concurrency: int | None,
    queues: str,
    loglevel: str,
    name: str,
    key_file: Path | None,
    pidfile: str,
    tags: tuple[str, ...],
    resources: tuple[str, ...],
    memory: str,
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

    offered = _resources(resources, memory)
    app = app or group_app
    named = named_url(app, connect)
    url, key = _remote(named, key_file) if named else _local(app)
    # Later a worker waits for its broker as long as it takes; but now there is somebody to tell.
    settings = settings_of(app)
    broker = ask(url, "status", timeout=settings.connect_timeout)["broker"]
    click.echo(f"Using the broker at {url}, pid {broker['pid']} on {broker['host']}.", err=True)
    options = WorkerOptions(
        url=url,
        connection=key,
        concurrency=concurrency or 0,
        queues=tuple(queue.strip() for queue in queues.split(",") if queue.strip()),
        name=name,
        app=app,
        loglevel=loglevel.upper(),
        local=not named,
        broker_patience=settings.broker_patience,
        pidfile=pidfile,
        tags=tags,
        resources=offered,
    )
    sys.exit(main(options))


def _resources(given: tuple[str, ...], memory: str) -> dict[str, float]:
    """``("gpu=2",)`` and ``"8GB"`` as numbers."""
    from nbqueue.core.amounts import MEMORY, amount

    pairs = [text.partition("=")[::2] for text in given]
    if memory:
        pairs.append((MEMORY, memory))
    for name, quantity in pairs:
        if not name or not quantity:
            raise click.UsageError(f"--resource {name}={quantity}: NAME=N is expected, such as gpu=2")
    return {name: amount(name, quantity) for name, quantity in pairs}


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
