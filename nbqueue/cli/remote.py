"""``nbqueue inspect``, ``control`` and ``purge``: workers asked and told, in the form that Celery prints."""

import json
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from nbqueue.conversions import Unexpected, count, names, seconds
from nbqueue.utils.text import counted

_DESTINATION = click.option("-d", "--destination", default="", metavar="A,B", help="Only these workers.")
_TIMEOUT = click.option(
    "-t", "--timeout", default=1.0, show_default=True, help="Seconds that workers have to reply."
)
_JSON = click.option("-j", "--json", "as_json", is_flag=True, help="One JSON object, for programs.")
_CONNECT = click.option(
    "--connect", default="", metavar="HOST[:PORT]", help="That broker's, not the local one's."
)

_QUESTIONS = (
    "active", "active_queues", "conf", "ping", "query_task", "registered", "report", "reserved", "revoked",
    "scheduled", "stats",
)  # fmt: skip


@click.command()
@click.argument("question", type=click.Choice(_QUESTIONS), metavar="QUESTION")
@click.argument("ids", nargs=-1)
@_DESTINATION
@_TIMEOUT
@_JSON
@_CONNECT
@click.pass_obj
def inspect(
    app: str,
    question: str,
    ids: tuple[str, ...],
    destination: str,
    timeout: float,
    as_json: bool,
    connect: str,
) -> None:
    """Ask workers what they have and do.

    \b
    active         tasks that run
    reserved       tasks that a worker has and did not begin
    scheduled      tasks that wait for their time
    registered     names of tasks that it was started with (-A)
    revoked        ids of tasks that were revoked
    query_task ID… where tasks are
    active_queues  queues that it consumes
    stats          processes, memory, tasks that ended
    conf, report   settings; what to put into a bug report
    ping           whether it is alive
    """
    if bool(ids) != (question == "query_task"):
        raise click.UsageError(
            "query_task takes ids of tasks" if not ids else f"{question} takes no arguments"
        )
    args = {"ids": list(ids)} if ids else {}
    replies = _ask(app, connect, "inspect", question, args, destination, timeout)
    _say(replies, as_json)
    if not as_json:
        click.echo(f"\n{counted(len(replies), 'node')} online.")
    _exit_if_wrong(replies)


@click.command(context_settings={"ignore_unknown_options": False})
@click.argument("command", metavar="COMMAND")
@click.argument("arguments", nargs=-1)
@_DESTINATION
@_TIMEOUT
@_JSON
@_CONNECT
@click.pass_obj
def control(
    app: str,
    command: str,
    arguments: tuple[str, ...],
    destination: str,
    timeout: float,
    as_json: bool,
    connect: str,
) -> None:
    """Tell workers to do something.

    \b
    rate_limit NAME 10/m|0|default   how often its tasks start, on all workers
    time_limit NAME SOFT|- [HARD]    seconds that their runs may take
    revoke ID…                       see that tasks never run
    revoke_by_stamped_headers K=V…   … that carry one of these stamps
    cancel ID…                       the same, and end them where they run
    terminate [SIGNAL] ID…           the same; KILL: without time to clean up
    pool grow|shrink [N]             more processes, or fewer
    pool restart                     replace them, when they have finished
    autoscale MAX [MIN]              as many as are busy
    add_consumer QUEUE               take tasks of another queue too
    cancel_consumer QUEUE            take no more of a queue
    enable_events, disable_events    tell of tasks, or do not
    shutdown                         finish what runs, and end
    """
    command, args = _parsed(command, list(arguments))
    replies = _ask(app, connect, "control", command, args, destination, timeout)
    _say(replies, as_json)
    _exit_if_wrong(replies)


@click.command()
@click.option("-Q", "--queues", default="", metavar="A,B", help="Only these queues; else all.")
@click.option("-X", "--exclude-queues", "excluded", default="", metavar="A,B", help="All but these.")
@click.option("-f", "--force", is_flag=True, help="Do not ask.")
@_CONNECT
@click.pass_obj
def purge(app: str, queues: str, excluded: str, force: bool, connect: str) -> None:
    """Delete all tasks that wait: they end in REVOKED.  What runs goes on."""
    from nbqueue.cli.status import fetch
    from nbqueue.cli.target import broker_url

    chosen = list(names(queues))
    if excluded:
        known = chosen or sorted(fetch(app, connect)["queues"])
        chosen = [name for name in known if name not in names(excluded)]
        if not chosen:
            click.echo("No tasks purged: no other queue has any.")
            return
    where = f"queue{'s' * (len(chosen) > 1)} {', '.join(chosen)}" if chosen else "all queues"
    url = broker_url(app, connect)
    if not force:
        click.confirm(f"Delete all tasks that wait in {where} of {url}? This cannot be undone.", abort=True)
    from nbqueue.client.control import new_order
    from nbqueue.launch.ask import ask

    deleted = ask(url, "purge", timeout=600.0, queues=chosen, order=new_order())
    if deleted:
        click.echo(f"Purged {counted(deleted, 'task')} from {where}.")
    else:
        click.echo(f"No tasks purged from {where}.")


# ── words to arguments ───────────────────────────────────────────────────────────────────────────


def _parsed(command: str, words: list[str]) -> tuple[str, dict[str, Any]]:
    """A command and its arguments as the broker takes them."""
    if command == "pool" and words:
        command = f"pool_{words.pop(0)}"
    parse = _COMMANDS.get(command)
    if parse is None:
        raise click.UsageError(f"no command is called {command}; there are: {', '.join(_COMMANDS)}")
    return parse(command, words)


def _rate_limit(command: str, words: list[str]) -> tuple[str, dict[str, Any]]:
    from nbqueue.client.control import rate_args

    name, limit = _exactly(command, words, "NAME", "RATE")
    return command, rate_args(name, limit)


def _time_limit(command: str, words: list[str]) -> tuple[str, dict[str, Any]]:
    if len(words) == 2:
        words.append("-")
    name, soft, hard = _exactly(command, words, "NAME", "SOFT", "HARD")
    limits = [None if text == "-" else _converted(seconds, text) for text in (soft, hard)]
    return command, {"task_name": name, "soft": limits[0], "hard": limits[1]}


def _revoke(command: str, words: list[str]) -> tuple[str, dict[str, Any]]:
    from nbqueue.client.control import SIGNALS, revoke_args

    signal = None
    if command == "terminate" and len(words) > 1:
        name = words[0].upper().removeprefix("SIG")
        if name in SIGNALS or name.isdecimal():
            signal = words.pop(0)
    if not words:
        raise click.UsageError(f"{command} takes ids of tasks")
    return "revoke", revoke_args(words, command != "revoke", signal)


def _revoke_stamped(command: str, words: list[str]) -> tuple[str, dict[str, Any]]:
    pairs = [word.partition("=") for word in words]
    if not pairs or not all(name and equals for name, equals, _ in pairs):
        raise click.UsageError(f"{command} takes stamps, NAME=VALUE")
    headers: dict[str, list[Any]] = {}
    for name, _, value in pairs:
        headers.setdefault(name, []).append(value)
        if value.isdecimal():
            headers[name].append(int(value))
    return command, {"headers": headers, "terminate": False, "at_once": False}


def _pool(command: str, words: list[str]) -> tuple[str, dict[str, Any]]:
    (number,) = _exactly(command, words or ["1"], "N")
    return command, {"n": _converted(count, number)}


def _autoscale(command: str, words: list[str]) -> tuple[str, dict[str, Any]]:
    if len(words) == 1:
        words.append("0")
    most, least = _exactly(command, words, "MAX", "MIN")
    return command, {"max": _converted(count, most), "min": _converted(count, least)}


def _consumer(command: str, words: list[str]) -> tuple[str, dict[str, Any]]:
    (queue,) = _exactly(command, words, "QUEUE")
    return command, {"queue": queue}


def _plain(command: str, words: list[str]) -> tuple[str, dict[str, Any]]:
    _exactly(command, words)
    return command, {}


_COMMANDS: Mapping[str, Callable[[str, list[str]], tuple[str, dict[str, Any]]]] = {
    "rate_limit": _rate_limit,
    "time_limit": _time_limit,
    "revoke": _revoke,
    "revoke_by_stamped_headers": _revoke_stamped,
    "cancel": _revoke,
    "terminate": _revoke,
    "pool_grow": _pool,
    "pool_shrink": _pool,
    "pool_restart": _plain,
    "autoscale": _autoscale,
    "add_consumer": _consumer,
    "cancel_consumer": _consumer,
    "enable_events": _plain,
    "disable_events": _plain,
    "shutdown": _plain,
    "ping": _plain,
}


def _exactly(command: str, words: Sequence[str], *names: str) -> Sequence[str]:
    if len(words) != len(names):
        raise click.UsageError(f"{command} takes {' '.join(names) or 'no arguments'}")
    return words


def _converted(convert: Callable[[str], Any], text: str) -> Any:
    try:
        return convert(text)
    except Unexpected as error:
        raise click.UsageError(f"{text!r} is not {error.wanted}") from None


# ── asking and showing ───────────────────────────────────────────────────────────────────────────


def _ask(
    app: str, connect: str, topic: str, command: str, args: dict[str, Any], destination: str, timeout: float
) -> dict[str, Any]:
    # loaded here, so that `nbqueue --help` needs no sockets
    from nbqueue.cli.target import broker_url
    from nbqueue.client.control import question
    from nbqueue.client.replies import readable
    from nbqueue.exceptions import ConnectionLostError
    from nbqueue.launch.ask import ask

    url = broker_url(app, connect)
    words = question(command, args, list(names(destination)), timeout)
    replies = readable(ask(url, topic, timeout=timeout + 5.0, **words))
    if not replies:
        raise ConnectionLostError("No nodes replied within time constraint")
    return replies


def _say(replies: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(replies, indent=2))
        return
    for node, reply in replies.items():
        status, body = pretty(reply)
        colour = "red" if status == "ERROR" else "green"
        click.echo(f"->  {click.style(f'{node}: ', fg='cyan', bold=True)}{click.style(status, fg=colour)}")
        if body:
            click.echo(textwrap.indent(body, "    "))


def pretty(reply: Any) -> tuple[str, str]:
    """OK or ERROR, and the rest as text."""
    if isinstance(reply, list):
        return "OK", "\n".join(f"* {_line(item)}" for item in reply) or "- empty -"
    if isinstance(reply, dict) and reply.keys() in ({"ok"}, {"error"}):
        ((word, text),) = reply.items()
        return word.upper(), pretty(text)[1]
    if isinstance(reply, dict):
        return "OK", json.dumps(reply, indent=4) if reply else "- empty -"
    return "OK", str(reply)


def _line(item: Any) -> str:
    return item if isinstance(item, str) else repr(item)


def _exit_if_wrong(replies: Mapping[str, Any]) -> None:
    if any(pretty(reply)[0] == "ERROR" for reply in replies.values()):
        sys.exit(1)
