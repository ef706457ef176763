"""``nbqueue status``: what runs, for a person or as JSON."""

import json
from typing import Any

import click

from nbqueue.cli import celery_words


@click.command()
@click.option("-j", "--json", "as_json", is_flag=True, help="One JSON object, for programs.")
@celery_words.pointless(celery_words.STATUS_VALUES)
@click.option("--connect", default="", metavar="HOST[:PORT]", help="Ask this broker, not the local one.")
@click.pass_obj
def status(app: str, as_json: bool, connect: str) -> None:
    """Show the broker, its workers and its queues."""
    found = fetch(app, connect)
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    from nbqueue.cli.show import console, show_status  # rich, for eyes only

    show_status(found, console())


def fetch(app: str, connect: str) -> dict[str, Any]:
    """The broker's status, with the address that it was reached by."""
    # loaded here, so that `nbqueue --help` needs no sockets
    from nbqueue.cli.target import broker_url
    from nbqueue.launch.ask import ask

    url = broker_url(app, connect)
    found: dict[str, Any] = ask(url, "status")
    found["broker"].setdefault("address", url)
    return found
