"""``nbqueue doctor``: the reasons why a result stays PENDING, gone through one by one."""

import sys

import click

from nbqueue.cli.errors import FAILURE, OK


@click.command()
@click.option("--connect", default="", metavar="HOST[:PORT]", help="Look at this broker, not the local one.")
@click.pass_obj
def doctor(app: str, connect: str) -> None:
    """Find out why a result stays PENDING, and what to do about it."""
    # Loaded here, so that `nbqueue --help` needs no sockets and no rich.
    from nbqueue.cli.examination import examine
    from nbqueue.cli.show import console, show_finding

    out = console()
    healthy = True
    for finding in examine(app, connect):
        show_finding(finding, out)
        healthy = healthy and finding.ok is not False
    sys.exit(OK if healthy else FAILURE)
