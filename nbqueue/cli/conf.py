"""``nbqueue conf``: every setting, its value, and where that comes from."""

import click

from nbqueue.cli.words import unread_settings


@click.command()
@click.pass_obj
def conf(app: str) -> None:
    """Show each setting, its value and where it comes from."""
    from nbqueue.cli.show import console, settings_table, show  # rich is loaded by the commands that draw
    from nbqueue.cli.target import settings_of

    show(settings_table(settings_of(app)), console())
    for text, advice in unread_settings():
        click.echo(f"Warning: {text}; {advice}", err=True)
