"""What stands on Celery's command lines and is not needed here, or is done in another way.

An option that makes no difference is taken, and says why it has no effect; one that somebody relies on, and a
command that is not there, is an error that names the way out.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

#: command → what to do instead
COMMANDS: Final[Mapping[str, str]] = {
    "amqp": "there is no AMQP here: `nbqueue status` shows the queues, `nbqueue purge` empties them",
    "flower": "`nbqueue top` and `nbqueue events` show what happens, and live views in a notebook",
    "graph": "result.graph draws a workflow; `nbqueue status` shows the workers",
    "help": "`nbqueue --help`, or `nbqueue COMMAND --help`",
    "list": "`nbqueue status` shows the queues, `nbqueue inspect active_queues` who consumes them",
    "logtool": "`nbqueue worker --log-format json` writes lines that any tool can read",
    "migrate": "a task stays with the broker that has accepted it: let the old workers finish",
    "multi": "`nbqueue start -n 4` starts a broker and a worker of four processes here; more workers are"
    " `nbqueue worker`, each run by systemd, supervisord or launchd (docs: Run as a service)",
    "report": "`nbqueue inspect report`, or `nbqueue doctor`",
    "shell": "`python -i -m proj.celery`, or a notebook",
    "upgrade": "old names of settings are understood as they are: `nbqueue conf`",
}

_SERVICE = "let systemd, supervisord or launchd run it (docs: Run as a service), or put `&` behind it"
_AS_USER = "start it as that user: `User=` of a systemd unit, `su`, `sudo -u`"
_PREFETCH = "how many tasks wait at a worker follows from how long they take"
_SCHEDULE = "the broker keeps the schedule in its journal"

#: flags of `worker`, and why they have no effect
WORKER_FLAGS: Final[Mapping[str, str]] = {
    "-E,--task-events,--events": "events are made when somebody listens",
    "--disable-prefetch": _PREFETCH,
    "--without-gossip": "workers speak to the broker alone",
    "--without-mingle": "workers speak to the broker alone",
    "--without-heartbeat": "a worker without signs of life counts as lost",
}
#: … and those with a value
WORKER_VALUES: Final[Mapping[str, str]] = {
    "-O,--optimization": _PREFETCH,
    "--prefetch-multiplier": _PREFETCH,
    "--heartbeat-interval": "it is the setting worker_heartbeat",
    "-S,--statedb": "the broker remembers what is revoked",
    "-s,--schedule,--schedule-filename": _SCHEDULE,
    "--scheduler": "the broker is the scheduler",
}
#: flags of `worker` that it cannot do without doing them, and the way out
WORKER_REFUSED: Final[Mapping[str, str]] = {"-D,--detach": f"a worker stays in the foreground: {_SERVICE}"}
WORKER_REFUSED_VALUES: Final[Mapping[str, str]] = {
    "--uid": _AS_USER,
    "--gid": _AS_USER,
    "--umask": "set it before: `umask 022; nbqueue worker`, or `UMask=` of a systemd unit",
    "--executable": "start it with that Python: `/path/to/python -m nbqueue worker`",
}
#: of `call`
CALL_VALUES: Final[Mapping[str, str]] = {
    "--exchange": "there are no exchanges; --queue says where a task goes",
    "--routing-key": "there are no exchanges; --queue says where a task goes",
}
#: of `events`
EVENTS_FLAGS: Final[Mapping[str, str]] = {
    "-d,--dump": "a line each is what is shown; `nbqueue top` is the view"
}
EVENTS_VALUES: Final[Mapping[str, str]] = {
    "-F,--frequency,--freq": "there is no camera",
    "-r,--maxrate": "there is no camera",
    "-l,--loglevel": "events are shown, not logged",
}
EVENTS_REFUSED: Final[Mapping[str, str]] = {
    "-c,--camera": "`for event in app.events()` in a script of yours sees all that happens",
}
#: of `status`
STATUS_VALUES: Final[Mapping[str, str]] = {
    "-t,--timeout": "the broker answers at once, for all workers",
    "-d,--destination": "all workers are shown; `nbqueue inspect ping -d NAME` asks one",
}
#: of `nbqueue` itself
GLOBAL_FLAGS: Final[Mapping[str, str]] = {
    "-C,--no-color": "colours are left out where there is no terminal, and with NO_COLOR=1",
    "-q,--quiet": "commands say only what was asked for",
    "--skip-checks": "there are none to be skipped",
}
GLOBAL_VALUES: Final[Mapping[str, str]] = {"--loader": "an application is imported by -A"}
GLOBAL_REFUSED: Final[Mapping[str, str]] = {
    "--config": "let the application read it: app.config_from_object('celeryconfig')",
}


def pointless(names: Mapping[str, str], *, is_flag: bool = False) -> Callable[[F], F]:
    """Options that are taken, and say on stderr why they have no effect."""
    return _options(names, is_flag, lambda name, why: click.echo(f"{name} has no effect: {why}.", err=True))


def refused(names: Mapping[str, str], *, is_flag: bool = False) -> Callable[[F], F]:
    """Options that are an error, which names the way out."""

    def refuse(name: str, way_out: str) -> None:
        raise click.UsageError(f"{name} is not there: {way_out}")

    return _options(names, is_flag, refuse)


def _options(names: Mapping[str, str], is_flag: bool, met: Callable[[str, str], None]) -> Callable[[F], F]:
    def callback(context: click.Context, option: click.Parameter, value: Any) -> None:
        if value not in (None, False):
            met(max(option.opts, key=len), names[",".join(option.opts)])

    def decorate(function: F) -> F:
        for spelt in names:
            option = click.option(
                *spelt.split(","), is_flag=is_flag, hidden=True, expose_value=False, callback=callback
            )
            function = option(function)
        return function

    return decorate
