"""``nbqueue conf``: every setting, its value, and where that comes from; and whether all of it can be."""

import warnings
from typing import Any

import click

from nbqueue.cli.words import unread_settings
from nbqueue.exceptions import ConfigurationError


@click.group(invoke_without_command=True)
@click.pass_context
def conf(context: click.Context) -> None:
    """Show each setting, its value and where it comes from."""
    if context.invoked_subcommand is not None:
        return
    from nbqueue.cli.show import console, settings_table, show  # rich is loaded by the commands that draw
    from nbqueue.cli.target import settings_of

    show(settings_table(settings_of(context.obj)), console())
    _warn_of_variables()


@conf.command()
@click.pass_obj
def check(app: str) -> None:
    """Read everything that an application is configured by, and say what is wrong with it.

    Ends with code 78 if a setting is unknown or cannot have its value, or does not fit the tasks.
    """
    from nbqueue.cli.target import settings_of
    from nbqueue.launch import apps
    from nbqueue.settings import SETTINGS

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        settings = settings_of(app)
        found = apps.find(app) if app else None
        if found is not None and apps.is_app(found):
            _check_tasks(found)
        sources = [settings.lookup(name)[1] for name in SETTINGS]
    for warning in told:
        click.echo(f"Warning: {warning.message}", err=True)
    for name in settings.own_variables():
        click.echo(f"Note: {name} is no setting, and taken for a variable of the module's own", err=True)
    _warn_of_variables()
    number = sum(source != "default" for source in sources)
    places = ", ".join(dict.fromkeys(source for source in sources if source != "default"))
    click.echo(f"OK: {number} settings from {places}." if number else "OK: all settings have their defaults.")


def _check_tasks(app: Any) -> None:
    """Raise ConfigurationError if settings do not fit the tasks of an application."""
    app.import_default_modules()
    try:
        app.finalize()
    except TypeError as error:  # an option that there is not, in task_annotations
        raise ConfigurationError(f"task_annotations: {error}") from error


def _warn_of_variables() -> None:
    for text, advice in unread_settings():
        click.echo(f"Warning: {text}; {advice}", err=True)
