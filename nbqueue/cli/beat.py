"""``nbqueue beat``: tell the broker an application's schedule; list what it keeps, remove an entry."""

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from nbqueue.exceptions import ConnectionLostError, NBQueueError

if TYPE_CHECKING:
    from nbqueue.client.periodic import PeriodicTask

#: Celery's options, and why they do nothing here
_POINTLESS = {
    "schedule": "the broker keeps the schedule in its journal",
    "scheduler": "the broker is the scheduler",
    "max_interval": "the broker's timers need no interval",
    "pidfile": "no process stays",
    "detach": "no process stays",
    "logfile": "no process stays",
    "loglevel": "no process stays",
}


@click.command()
@click.option("--connect", default="", metavar="HOST[:PORT]", help="The broker; else the local cluster's.")
@click.option("--list", "only_list", is_flag=True, help="Show what the broker keeps, and tell it nothing.")
@click.option("--remove", default="", metavar="NAME", help="Have the broker drop this entry.")
@click.option("-q", "--quiet", is_flag=True, help="Say only what goes wrong.")
@click.option("-s", "--schedule", hidden=True)
@click.option("-S", "--scheduler", hidden=True)
@click.option("--max-interval", hidden=True)
@click.option("--pidfile", hidden=True)
@click.option("--detach", is_flag=True, hidden=True)
@click.option("-f", "--logfile", hidden=True)
@click.option("-l", "--loglevel", hidden=True)
@click.pass_obj
def beat(app: str, /, connect: str, only_list: bool, remove: str, quiet: bool, **pointless: Any) -> None:
    """Tell the broker the schedule of the application (-A), and show when each entry fires next.

    The broker keeps it, and fires by itself: no process has to stay.  Entries that are in the schedule no
    longer go.  Without an application, shows what the broker keeps.
    """
    for name, value in pointless.items():
        if value:
            click.echo(f"--{name.replace('_', '-')} has no effect: {_POINTLESS[name]}.", err=True)
    if remove:
        _remove(remove, app, connect)
    elif only_list or not app:
        _show(_kept(app, connect), quiet=False)
    else:
        _show(_register(app, connect, quiet), quiet)


def beat_beside(app: str, url: str, key: str) -> None:
    """The same in a process of its own, which nobody waits for: a worker's supervisor need not import all
    that its executors do.  ``key`` is the broker's, as ``keys.encode_key`` writes it; "" to look for it."""
    environment = {**os.environ, "NBQUEUE_BROKER": url} | ({"NBQUEUE_KEY": key} if key else {})
    quiet = ["-W", "ignore:the setting", "-W", "ignore:the option"]  # the worker has said what has no effect
    command = [sys.executable, *quiet, "-m", "nbqueue", "-A", app, "beat", "--quiet"]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, env=environment)
    threading.Thread(target=process.wait, name="nbqueue beat", daemon=True).start()


def _register(app: str, connect: str, quiet: bool) -> "list[PeriodicTask]":
    from nbqueue.launch import apps

    found = apps.find(app)
    if not apps.is_app(found):
        if quiet:
            return []
        raise click.UsageError(f"-A {app}: there is no application, and so no schedule")
    found.import_default_modules()
    with _speaking_to(_url(app, connect)):
        if not found.periodic_schedule() and not _has_some(found):
            return []
        kept: list[PeriodicTask] = found.beat()
        return kept


def _has_some(app: Any) -> bool:
    """Whether the broker keeps entries of an application that has none any more."""
    try:
        return bool(app.periodic_tasks())
    except ConnectionLostError:
        raise
    except NBQueueError:  # a worker's key: it may not ask, and has nothing to tell
        return False


def _url(app: str, connect: str) -> str:
    """The broker's; that of the local cluster is started, as other commands do that have work for it."""
    from nbqueue.cli.target import named_url, settings_of
    from nbqueue.launch import local

    return named_url(app, connect) or local.ensure_broker(settings_of(app)).url


@contextlib.contextmanager
def _speaking_to(url: str) -> Iterator[None]:
    """Applications speak to that broker, whatever they say."""
    before = os.environ.get("NBQUEUE_BROKER")
    os.environ["NBQUEUE_BROKER"] = url
    try:
        yield
    finally:
        del os.environ["NBQUEUE_BROKER"]
        if before is not None:
            os.environ["NBQUEUE_BROKER"] = before


def _kept(app: str, connect: str) -> "list[PeriodicTask]":
    """What the broker keeps, of one application if it is named."""
    from nbqueue.cli.target import broker_url
    from nbqueue.client.app import App
    from nbqueue.launch import apps

    with _speaking_to(broker_url(app, connect)):
        if not app:
            return App(set_as_current=False).periodic_tasks(everywhere=True)
        found: list[PeriodicTask] = apps.find(app).periodic_tasks()
        return found


def _remove(name: str, app: str, connect: str) -> None:
    """``name`` may be ``APP/NAME``, where several applications have one of that name."""
    from nbqueue.cli.target import broker_url
    from nbqueue.client.connections import client_for
    from nbqueue.client.periodic import drop

    kept = _kept(app, connect)
    found = [task for task in kept if name in (task.name, f"{task.app}/{task.name}")]
    if not found:
        names = ", ".join(f"{task.app}/{task.name}" for task in kept) or "none"
        raise click.UsageError(f"there is no periodic task {name!r}; there are: {names}")
    if len(found) > 1:
        names = " or ".join(f"{task.app}/{task.name}" for task in found)
        raise click.UsageError(f"several applications have one called {name!r}: {names}")
    drop(client_for(broker_url(app, connect)), found[0].app, found[0].name)
    click.echo(f"{found[0].name} was removed; what it has fired goes on.")


def _show(tasks: "Sequence[PeriodicTask]", quiet: bool) -> None:
    from nbqueue.cli.show import console, periodic_table, show

    for task in tasks:
        if task.trouble:
            click.echo(f"Warning: {task.name}: {task.trouble}", err=True)
    if quiet:
        return
    if not tasks:
        click.echo("There are no periodic tasks.")
        return
    show(periodic_table(tasks), console())
    click.echo("The broker keeps them, and fires them by itself.")
