"""``nbqueue events``: what happens at the broker, a line each."""

import json
import time
from collections.abc import Mapping
from typing import Any

import click

from nbqueue.cli import celery_words

#: fields that stand at the beginning of a line, or would fill it
_ELSEWHERE = ("type", "timestamp", "uuid", "name", "hostname", "traceback")


@click.command()
@click.option("-e", "--type", "types", multiple=True, metavar="TYPE", help="Only these, such as task-failed.")
@click.option("-n", "--limit", type=click.IntRange(min=1), help="End after so many.")
@click.option("-t", "--timeout", type=float, help="End when there was none for so many seconds.")
@click.option("-j", "--json", "as_json", is_flag=True, help="A JSON object a line, for programs.")
@celery_words.pointless(celery_words.EVENTS_FLAGS, is_flag=True)
@celery_words.pointless(celery_words.EVENTS_VALUES)
@celery_words.refused(celery_words.EVENTS_REFUSED)
@click.option("--connect", default="", metavar="HOST[:PORT]", help="That broker's, not the local one's.")
@click.pass_obj
def events(
    app: str, types: tuple[str, ...], limit: int | None, timeout: float | None, as_json: bool, connect: str
) -> None:
    """Show what happens, as it happens: task-sent, task-received, task-started, task-succeeded, task-failed,
    task-rejected, task-revoked, task-retried, worker-online, worker-heartbeat, worker-offline."""
    # loaded here, so that `nbqueue --help` needs no sockets
    from nbqueue.cli.target import broker_url
    from nbqueue.client.connections import client_for
    from nbqueue.client.events import Events

    client = client_for(broker_url(app, connect))
    try:
        with Events(lambda: client)(types or None, timeout) as stream:
            for number, event in enumerate(stream, 1):
                click.echo(json.dumps(event) if as_json else line(event))
                if number == limit:
                    break
    except KeyboardInterrupt:
        click.echo()
    finally:
        client.close(drain=False)


def line(event: Mapping[str, Any]) -> str:
    """``10:11:12.345  task-succeeded  tasks.add[id] on worker@host  runtime=0.1``"""
    at = event["timestamp"]
    clock = time.strftime("%H:%M:%S", time.localtime(at)) + f"{at % 1:.3f}"[1:]
    what = f"{event['name']}[{event['uuid']}]" if "uuid" in event else ""
    where = event.get("hostname") or ""
    rest = [f"{k}={_short(v)}" for k, v in event.items() if k not in _ELSEWHERE and v not in (None, "", [])]
    about = f"{what} on {where}" if what and where else what or where
    return "  ".join(part for part in (clock, f"{event['type']:16}", about, " ".join(rest)) if part)


def _short(value: Any) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 200 else f"{text[:199]}…"
