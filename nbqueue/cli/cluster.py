"""``nbqueue start`` and ``nbqueue stop``: the local cluster."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from nbqueue.utils.text import counted

if TYPE_CHECKING:
    from nbqueue.wire.keys import Connection


@click.command()
@click.option("-n", "--workers", type=click.IntRange(min=1), help="Executor processes; else one a core.")
@click.option("--bind", default="", metavar="HOST[:PORT]", help="Let other machines in at this address, too.")
@click.pass_obj
def start(app: str, workers: int | None, bind: str) -> None:
    """Start a broker and workers here, or use those that run."""
    # loaded here, so that `nbqueue --help` needs no sockets and no rich
    from nbqueue.cli.show import console, show_status
    from nbqueue.cli.target import settings_of
    from nbqueue.launch import local
    from nbqueue.launch.workers import for_this_environment, wait_ready

    before = local.find()
    connection = local.ensure(settings_of(app), bind=bind, processes=workers or 0)
    status = wait_ready(connection)
    status["broker"].setdefault("address", connection.url)
    show_status(status, console())
    click.echo()
    running = sum(len(worker["children"]) for worker in for_this_environment(status))
    for remark in _remarks(running, connection, workers or 0, bind, was_there=before is not None):
        click.echo(remark)


def _remarks(
    running: int, connection: "Connection", processes: int, bind: str, *, was_there: bool
) -> Iterator[str]:
    from nbqueue.cli.reach import is_loopback  # psutil, not needed by `nbqueue --help`

    if was_there and processes not in (0, running):
        yield f"It ran already, with {counted(running, 'process')}: `nbqueue stop` first for {processes}."
    if was_there and bind and is_loopback(connection.host):
        yield f"It ran already, for this machine only: `nbqueue stop` first for {bind}."
    if not is_loopback(connection.host):
        yield "`nbqueue key` prints what to run on another machine."
    yield "`nbqueue stop` ends it."


@click.command()
@click.option("--timeout", default=10.0, show_default=True, help="Seconds until what runs on is killed.")
def stop(timeout: float) -> None:
    """End the local cluster: broker, workers and whatever they run."""
    from nbqueue.launch import teardown  # sockets and psutil, not needed by `nbqueue --help`

    ended = teardown.stop(timeout)
    click.echo(f"Stopped {counted(ended, 'process')}." if ended else "Nothing was running.")
