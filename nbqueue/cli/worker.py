"""``nbqueue worker``: tasks of a broker here or on another machine, run on this one."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nbqueue import conversions
from nbqueue.cli import celery_words

if TYPE_CHECKING:
    from nbqueue.settings import Settings

_LEVELS = click.Choice(["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"], case_sensitive=False)


class _Pair(click.ParamType[tuple[int, int]]):
    """``MAX,MIN``, as Celery's autoscale takes it; MIN alone may be left out."""

    name = "MAX,MIN"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        most, _, least = str(value).partition(",")
        try:
            return int(most), int(least or 1)
        except ValueError:
            self.fail(f"{value!r} is not MAX,MIN, two whole numbers", param, ctx)


def _queues(context: click.Context, option: click.Parameter, value: str) -> tuple[str, ...]:
    names = tuple(name for part in value.split(",") if (name := part.strip()))
    if value and not names:
        raise click.BadParameter("name at least one queue, as in -Q default,gpu")
    return names


def _pool(context: click.Context, option: click.Parameter, value: str | None) -> str | None:
    try:
        return None if value is None else conversions.pool(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


_COUNT = click.IntRange(min=1)
_SECONDS = click.FloatRange(min=0, min_open=True)


@click.command()
@click.option(
    "--connect",
    "-b",
    "--broker",
    "connect",
    default="",
    metavar="HOST[:PORT]|URL",
    help="The broker; else the local cluster's.",
)
@click.option("-c", "--concurrency", type=_COUNT, help="Executor processes, or threads; else one a core.")
@click.option(
    "-Q",
    "--queues",
    default="",
    metavar="A,B",
    callback=_queues,
    help="To consume; else the application's.",
)
@click.option("-l", "--loglevel", type=_LEVELS, default="INFO", show_default=True, help="How much to tell.")
@click.option("-f", "--logfile", default="", metavar="FILE", help="Tell it there; %n, %h, %i as in Celery.")
@click.option("--log-format", default="", metavar="FORMAT", help="As in logging, or: json.")
@click.option("-X", "--exclude-queues", "excluded", default="", metavar="A,B", help="Not to consume.")
@click.option("-I", "--include", default="", metavar="A,B", help="Modules to import, beside the application.")
@click.option("--purge", "--discard", "purge", is_flag=True, help="Delete first what waits in its queues.")
@click.option(
    "-n",
    "--name",
    "--hostname",
    "name",
    default="",
    help="Name to show, with %h, %n, %d as in Celery; else worker@%h.",
)
@click.option(
    "-P",
    "--pool",
    metavar="POOL",
    callback=_pool,
    help="processes (or: prefork), which run one task each; threads, of one process; solo: one process.",
)
@click.option("--concurrency-async", type=_COUNT, default=1, help="Async tasks that a process runs together.")
@click.option("--autoscale", type=_Pair(), help="As many processes as there is work for.")
@click.option("--max-tasks-per-child", type=_COUNT, help="Replace a process after so many tasks.")
@click.option(
    "--max-memory-per-child", type=_COUNT, metavar="KIB", help="Replace one that has grown so large."
)
@click.option("--time-limit", type=_SECONDS, help="Seconds, of tasks that have none of their own.")
@click.option("--soft-time-limit", type=_SECONDS, help="The same, for a limit that a task can react to.")
@click.option("--autoreload", is_flag=True, help="Replace processes when the code of tasks changes.")
@click.option("--key-file", type=click.Path(path_type=Path), help="Holds the key; others must not read it.")
@click.option("--pidfile", default="", type=click.Path(), help="Do not start while its process runs.")
@click.option("-B", "--beat", is_flag=True, hidden=True, expose_value=False)  # it always is
@click.option("--tag", "tags", multiple=True, help="For tasks that demand it; may be given several times.")
@click.option("--resource", "resources", multiple=True, metavar="NAME=N", help="What tasks share: gpu=2.")
@click.option("--memory", default="", metavar="SIZE", help="The same of memory, 8GB; else this machine's.")
@celery_words.pointless(celery_words.WORKER_FLAGS, is_flag=True)
@celery_words.pointless(celery_words.WORKER_VALUES)
@celery_words.refused(celery_words.WORKER_REFUSED, is_flag=True)
@celery_words.refused(celery_words.WORKER_REFUSED_VALUES)
@click.pass_obj
def worker(
    app: str,
    /,
    connect: str,
    queues: tuple[str, ...],
    excluded: str,
    include: str,
    purge: bool,
    key_file: Path | None,
    loglevel: str,
    resources: tuple[str, ...],
    memory: str,
    **said: Any,
) -> None:
    """Run tasks here, and tell the broker the schedule of the application.

    The broker's key is looked for in --key-file, NBQUEUE_KEY, NBQUEUE_KEY_FILE and, on the broker's own
    machine, its connection file; else it is asked for.
    """
    # loaded here, so that `nbqueue --help` needs no sockets
    from nbqueue.cli.beat import beat_beside
    from nbqueue.cli.target import named_url, settings_of
    from nbqueue.client.control import new_order
    from nbqueue.core.settings import BrokerSettings
    from nbqueue.launch.ask import ask
    from nbqueue.settings import shown_url
    from nbqueue.worker.main import main
    from nbqueue.worker.options import WorkerOptions, checked

    named = named_url(app, connect)
    settings = settings_of(app)
    if include:
        _include(app, conversions.names(include), settings)
    own = {
        "concurrency": settings.workers,
        "pool": settings.worker_pool,
        "max_tasks_per_child": settings.worker_max_tasks_per_child,
        "max_memory_per_child": settings.worker_max_memory_per_child,
        "log_format": settings.worker_log_format,
        "task_log_format": settings.worker_task_log_format,
    }
    options = checked(
        WorkerOptions(
            url="",
            queues=_without(conversions.names(excluded), queues or _queues_of(settings)),
            app=app,
            loglevel=loglevel.upper(),
            local=not named,
            broker_patience=settings.broker_patience,
            resources=_resources(resources, memory),
            settings=settings.chosen(BrokerSettings.__dataclass_fields__),
        ),
        **{**own, **{name: value for name, value in said.items() if value not in (None, "")}},
    )
    url, key, signing_key = _remote(named, key_file) if named else (*_local(app), "")
    # Later a worker waits for its broker as long as it takes; but now there is somebody to tell.
    broker = ask(url, "status", timeout=settings.connect_timeout, settings=settings)["broker"]
    if options.log_format != "json":  # of which each line is an object
        click.echo(
            f"Using the broker at {shown_url(url)}, pid {broker['pid']} on {broker['host']}.", err=True
        )
    if purge:
        deleted = ask(url, "purge", timeout=600.0, queues=list(options.queues), order=new_order())
        click.echo(f"Purged {deleted} tasks from {', '.join(options.queues)}.", err=True)
    if app:
        beat_beside(app, url, key)
    sys.exit(main(checked(options, url=url, connection=key, signing_key=signing_key)))


def _resources(given: tuple[str, ...], memory: str) -> dict[str, float]:
    """``("gpu=2",)`` and ``"8GB"`` as numbers."""
    from nbqueue.core.amounts import MEMORY, amount

    pairs = [text.partition("=")[::2] for text in given]
    if memory:
        pairs.append((MEMORY, memory))
    for name, quantity in pairs:
        if not name or not quantity:
            raise click.UsageError(f"--resource {name}={quantity}: NAME=N is expected, such as gpu=2")
    return {name: amount(name, quantity) for name, quantity in pairs}


def _include(app: str, modules: tuple[str, ...], settings: "Settings") -> None:
    """Have the worker's processes import these, too: they read the same environment."""
    if not app:
        raise click.UsageError("-I names modules beside those of an application: give it with -A")
    os.environ["NBQUEUE_INCLUDE"] = ",".join(dict.fromkeys((*settings.include, *modules)))


def _without(excluded: tuple[str, ...], queues: tuple[str, ...]) -> tuple[str, ...]:
    left = tuple(name for name in queues if name not in excluded)
    if not left:
        raise click.UsageError(f"-X {','.join(excluded)} leaves no queue to consume: {', '.join(queues)}")
    return left


def _queues_of(settings: "Settings") -> tuple[str, ...]:
    """Those of the application, or the one for tasks that name none."""
    return tuple(dict.fromkeys(settings.task_queues or (settings.task_default_queue,)))


def _remote(url: str, key_file: Path | None) -> tuple[str, str, str]:
    """URL and key of a broker that was named, and the signing key if it needs one."""
    from nbqueue.cli.target import connection_to, signing_key_of
    from nbqueue.wire.keys import SCHEME, encode_key

    if not url.startswith(SCHEME):
        return url, "", signing_key_of(url)
    connection = connection_to(url, key_file)
    os.environ.pop("NBQUEUE_KEY", None)  # tasks, and what they start, have no business with it
    return connection.url, encode_key(connection), ""


def _local(app: str) -> tuple[str, str]:
    """URL of the local cluster's broker, which is started if it does not run; its key is in its file."""
    from nbqueue.cli.target import settings_of
    from nbqueue.launch import local

    os.environ.pop("NBQUEUE_KEY", None)
    os.environ.pop("NBQUEUE_KEY_FILE", None)
    if local.find() is None:
        click.echo("No broker is running here: starting one, which `nbqueue stop` ends.", err=True)
    return local.ensure_broker(settings_of(app)).url, ""
