"""``nbqueue broker``, the daemon in the foreground."""

import sys
from dataclasses import replace
from pathlib import Path

import click

_FOLDER = click.Path(file_okay=False, path_type=Path)


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
    from nbqueue.launch.local import broker_settings

    settings = settings_of(app)
    chosen = broker_settings(settings)
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
