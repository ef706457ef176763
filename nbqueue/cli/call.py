"""``nbqueue call`` and ``nbqueue result``: one task by its name, and what became of it."""

import json
from collections.abc import Mapping
from typing import Any

import click

from nbqueue import conversions
from nbqueue.cli import celery_words
from nbqueue.exceptions import TimeoutError

_SECONDS = click.FloatRange(min=0)


def _json(kind: type, what: str) -> Any:
    """An option's value as JSON of a kind."""

    def convert(_: click.Context, __: click.Parameter, text: str | None) -> Any:
        if text is None:
            return kind()
        try:
            value = json.loads(text)
        except ValueError as error:
            raise click.BadParameter(f"{text!r} is no JSON: {error}") from None
        if not isinstance(value, kind):
            raise click.BadParameter(f"{what} is expected, not {text!r}")
        return value

    return convert


@click.command()
@click.argument("name")
@click.option(
    "-a", "--args", callback=_json(list, "a JSON list"), metavar="JSON", help="Arguments: '[2, 3]'."
)
@click.option("-k", "--kwargs", callback=_json(dict, "a JSON object"), metavar="JSON", help="By name.")
@click.option("-Q", "--queue", metavar="NAME", help="Where it goes; else as the application says.")
@click.option("-p", "--priority", type=click.IntRange(min=0), help="0 to 9, 9 first.")
@click.option("--countdown", type=_SECONDS, metavar="SECONDS", help="Not before so long from now.")
@click.option("--eta", metavar="TIME", help="Not before then, in ISO form: 2030-01-01T12:00+01:00.")
@click.option("--expires", metavar="WHEN", help="Seconds or a time, past which it is not started.")
@click.option("--serializer", metavar="NAME", help="json, msgpack or cloudpickle.")
@click.option("--wait", is_flag=True, help="Wait for its value and print it, instead of its id.")
@click.option("-t", "--timeout", type=_SECONDS, metavar="SECONDS", help="Wait no longer than that.")
@celery_words.pointless(celery_words.CALL_VALUES)
@click.option("--connect", default="", metavar="HOST[:PORT]", help="At this broker, not the application's.")
@click.pass_obj
def call(
    app: str,
    /,
    name: str,
    args: list[Any],
    kwargs: Mapping[str, Any],
    eta: str | None,
    expires: str | None,
    wait: bool,
    timeout: float | None,
    connect: str,
    **options: Any,
) -> None:
    """Send a task by its NAME, and print its id.

    Workers that have it (-A) run it; the application need not.
    """
    application = _application(app, connect)
    result = application.send_task(
        name, args, kwargs, eta=_moment(eta), expires=_seconds_or_moment(expires), **options
    )
    result.wait_accepted(application.conf.connect_timeout)
    if wait:
        _print_value(result, timeout)
    else:
        click.echo(result.id)


@click.command()
@click.argument("id")
@click.option("-t", "--task", default="", hidden=True, help="Celery's: the broker knows the task.")
@click.option("--traceback", is_flag=True, help="Print the traceback instead of the value.")
@click.option("--timeout", type=_SECONDS, metavar="SECONDS", help="Wait no longer than that.")
@click.option("--connect", default="", metavar="HOST[:PORT]", help="Of this broker, not the application's.")
@click.pass_obj
def result(app: str, id: str, task: str, traceback: bool, timeout: float | None, connect: str) -> None:
    """Wait for the task of that ID, and print its value.

    Ends with code 1 if it failed, or is not done in time.
    """
    found = _application(app, connect).AsyncResult(id)
    if traceback:
        found.get(timeout, propagate=False)
        click.echo(found.traceback or "")
    else:
        _print_value(found, timeout)


def _application(app: str, connect: str) -> Any:
    """The application that is named, or one for the broker that is."""
    # loaded here, so that `nbqueue --help` needs no client
    from nbqueue.cli.target import broker_url
    from nbqueue.client.app import App
    from nbqueue.launch import apps

    found = apps.find(app) if app else None
    if found is not None and apps.is_app(found) and not connect:
        return found
    return App(broker=broker_url(app, connect), set_as_current=False)


def _print_value(result: Any, timeout: float | None) -> None:
    try:
        value = result.get(timeout)
    except TimeoutError:
        raise
    except Exception as error:
        click.echo(result.traceback or f"{type(error).__name__}: {error}", err=True)
        raise SystemExit(1) from None
    click.echo(value if isinstance(value, str) else repr(value))


def _moment(text: str | None) -> Any:
    try:
        return conversions.optional(conversions.moment)(text)
    except conversions.Unexpected as error:
        raise click.BadParameter(f"{text!r}: {error}") from None


def _seconds_or_moment(text: str | None) -> Any:
    try:
        return conversions.optional(conversions.seconds)(text)
    except conversions.Unexpected:
        return _moment(text)
