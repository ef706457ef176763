"""What runs, drawn for a person: aligned on a terminal, plain text without colours or wrapping in a pipe."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import IO, TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from nbqueue.cli.finding import Finding
from nbqueue.cli.words import duration
from nbqueue.settings import SETTINGS, Settings, shown_url
from nbqueue.wire.keyring import NamedKey

if TYPE_CHECKING:
    from nbqueue.client.periodic import PeriodicTask

#: Columns when nobody looks: a pipe wants one row a line.
_UNLIMITED = 10_000

Status = Mapping[str, Any]  #: what ``nbqueue status --json`` prints; its shape stands in core.inspect


def console(file: IO[str] | None = None) -> Console:
    """A console on standard output, or a file; shows text as it is, whatever a task is called."""
    made = Console(file=file, highlight=False, emoji=False, markup=False)
    if not made.is_terminal:
        made.width = _UNLIMITED
    return made


def show_status(status: Status, out: Console) -> None:
    """Print broker, workers and queues."""
    out.print(_broker_line(status["broker"]))
    for table in _tables(status):
        out.print()
        show(table, out)


def show(table: Table | Text, out: Console) -> None:
    """Print without the blanks that fill the last column."""
    with out.capture() as captured:
        out.print(table)
    out.file.writelines(f"{line.rstrip()}\n" for line in captured.get().splitlines())


def _tables(status: Status) -> Iterator[Table | Text]:
    if status["workers"]:
        yield _worker_table(status["workers"])
    else:
        yield Text.assemble(("No workers. ", "yellow"), "`nbqueue start` or `nbqueue worker` starts some.")
    if status["queues"]:
        yield _queue_table(status["queues"])


def _broker_line(broker: Mapping[str, Any]) -> Text:
    up = duration(broker["time"] - broker["started"])
    parts = [f"nbqueue {broker['version']}", str(broker["address"]), f"pid {broker['pid']}", f"up {up}"]
    return Text.assemble(("Broker  ", "bold"), " · ".join(parts))


def _table(*columns: str, numbers: Sequence[str] = ()) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if column in numbers else "left", overflow="fold")
    return table


def _worker_table(workers: Sequence[Mapping[str, Any]]) -> Table:
    table = _table("Worker", "Host", "Python", "Queues", "PID", "Task", numbers=["PID"])
    for worker in workers:
        queues = ", ".join(worker["queues"])
        table.add_row(worker["name"], worker["host"], worker["python"], queues, str(worker["pid"]), "")
        for child in worker["children"]:
            table.add_row("", "", "", "", str(child["pid"]), _task(child["task"]))
    return table


def _task(task: Mapping[str, str] | None) -> Text:
    if task is None:
        return Text("idle", style="dim")
    return Text.assemble((task["name"], "green"), (f"[{task['id']}]", "dim"))


def _queue_table(queues: Mapping[str, Mapping[str, int]]) -> Table:
    columns = ["Ready", "Scheduled", "Running"]
    if any("waiting" in counts for counts in queues.values()):
        columns.append("Waiting")  # for other tasks
    table = _table("Queue", *columns, numbers=columns)
    for name, counts in sorted(queues.items()):
        table.add_row(name, *(str(counts.get(column.lower(), 0)) for column in columns))
    return table


def show_keys(keys: Iterable[NamedKey], out: Console) -> None:
    """Print names, roles and ages; the secrets stay where they are."""
    table = _table("Key", "Role", "Created")
    for key in keys:
        created = time.strftime("%Y-%m-%d %H:%M", time.localtime(key.created)) if key.created else "unknown"
        table.add_row(key.name, key.role, created)
    show(table, out)


def show_finding(finding: Finding, out: Console) -> None:
    """Print a line of ``nbqueue doctor``'s report, and what to do under it."""
    sign, style = {True: ("✓", "green"), False: ("✗", "bold red"), None: ("·", "dim")}[finding.ok]
    out.print(Text.assemble((sign, style), " ", finding.text))
    if finding.advice:
        out.print(Text.assemble("  → ", finding.advice), style="yellow")


def periodic_table(tasks: "Sequence[PeriodicTask]") -> Table:
    """What fires when."""
    table = _table("Name", "Application", "Schedule", "Task", "Queue", "Next", "Last")
    now = time.time()
    for task in tasks:
        due = task.next_run_at
        if due is None:
            coming = Text("never", style="yellow")
        else:
            coming = Text(f"{due:%Y-%m-%d %H:%M:%S %Z}, in {duration(due.timestamp() - now)}")
        last = "" if task.last is None else task.last.id.rpartition(f"{task.name}:")[2]
        table.add_row(task.name, task.app, task.schedule, task.task, task.queue, coming, last)
    return table


def settings_table(settings: Settings) -> Table:
    """Every setting: its value, where that comes from, what it is for."""
    table = _table("Setting", "Value", "From", "What it is")
    for row in SETTINGS.values():
        value, source = settings.lookup(row.name)
        text = shown_url(value) if isinstance(value, str) else str(value)
        shown = Text(text) if value not in ("", None) else Text("(none)", style="dim")
        table.add_row(row.name, shown, source, Text(row.doc, style="dim"))
    return table
