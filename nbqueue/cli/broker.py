"""``nbqueue broker``, the daemon in the foreground, and ``nbqueue key``, which lets others in."""

import sys
from dataclasses import replace
from pathlib import Path

import click

_FOLDER = click.Path(file_okay=False, path_type=Path)
_ONLY_HERE = """\
Warning: this broker listens on {host}, which only this machine can reach.  To open it to others:
  nbqueue stop; nbqueue start --bind 0.0.0.0    (or nbqueue broker --bind 0.0.0.0)"""


@click.command()
@click.option(
    "--bind", default="", metavar="HOST[:PORT]", help="Listen there; else on loopback, a free port."
)
@click.option("--data-dir", type=_FOLDER, help="Keep keys and records there; else where the local one does.")
@click.option(
    "--repair", is_flag=True, help="Make a damaged journal readable again, say what was lost, and end."
)
@click.pass_obj
def broker(app: str, bind: str, data_dir: Path | None, repair: bool) -> None:
    """Run a broker in the foreground, until it is interrupted."""
    if repair and bind:
        raise click.UsageError("--repair listens nowhere: leave out --bind")
    if repair:
        _repair(data_dir)
        return
    # loaded here, so that `nbqueue --help` needs no sockets
    from nbqueue.broker.main import main
    from nbqueue.broker.options import BrokerOptions
    from nbqueue.cli.target import settings_of
    from nbqueue.core.broker import BrokerSettings
    from nbqueue.launch.local import broker_settings

    settings = settings_of(app)
    chosen = BrokerSettings(**broker_settings(settings))
    if settings.lookup("idle_timeout")[1] == "default":
        chosen = replace(chosen, idle_timeout=0.0)  # who starts it by hand ends it by hand
    options = BrokerOptions(
        bind=bind, data_dir=str(data_dir or ""), journal_sync=settings.journal_sync, settings=chosen
    )
    sys.exit(main(options))


def _repair(data_dir: Path | None) -> None:
    # loaded here, so that `nbqueue --help` needs no sockets and no rich
    from nbqueue.cli.repair import repair_and_show
    from nbqueue.wire import keys

    repair_and_show(data_dir or keys.data_dir())


@click.command()
@click.option("--data-dir", type=_FOLDER, help="The broker's data folder; else the local cluster's.")
def key(data_dir: Path | None) -> None:
    """Print the line to run on another machine.

    It connects a worker there to the broker here, and holds the key: keep it among friends.
    """
    # loaded here, so that `nbqueue --help` needs no sockets
    from nbqueue.cli.reach import host_and_port, is_loopback, reachable_host
    from nbqueue.exceptions import ConnectionLostError
    from nbqueue.wire import keys

    folder = data_dir or keys.data_dir()
    connection = keys.running(folder)
    if connection is None:
        raise ConnectionLostError(f"no broker has its data in {folder}; `nbqueue start` starts one")
    address = host_and_port(reachable_host(connection.host), connection.port)
    click.echo(f"NBQUEUE_KEY={keys.encode_key(connection)} nbqueue worker --connect {address}")
    if is_loopback(connection.host):
        click.echo(_ONLY_HERE.format(host=connection.host), err=True)
