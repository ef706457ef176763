"""What ``nbqueue top`` draws: header, workers, running tasks, functions, queues.

A picture is made of two looks at the broker: what it has done between them gives the rates.
"""

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from nbqueue.cli.words import duration

Overview = Mapping[str, Any]  #: its shape stands in core.overview

#: columns from which on there is room for more
WIDE: Final = 100
#: lines that are not rows of tables
_FRAME: Final = 14


class Picture:
    """Looks at a broker, the last of them drawn."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._now: Overview = {}
        self._at = 0.0
        self._totals: Counter[tuple[str, str]] = Counter()
        #: tasks that ended a second, by worker and name
        self._rates: dict[tuple[str, str], float] = {}

    def take(self, overview: Overview, at: float) -> None:
        """Another look, at a time of any clock that does not jump."""
        totals = Counter(
            {
                (_key(worker), name): count
                for worker in overview["workers"]
                for name, count in worker["total"].items()
            }
        )
        if self._at and at > self._at:
            elapsed = at - self._at
            self._rates = {
                key: max(0, count - self._totals.get(key, 0)) / elapsed for key, count in totals.items()
            }
        self._now, self._at, self._totals = overview, at, totals

    def drawn(self, width: int, height: int, *, held: bool = False) -> RenderableType:
        """The picture, for a terminal of so many columns and lines."""
        room = max(4, height - _FRAME - len(self._now["workers"]))
        tasks = self._running()
        functions = self._functions()
        of_functions = min(len(functions), max(2, room // 4))
        of_queues = min(len(self._now["queues"]), max(2, room // 4))
        of_tasks = max(2, room - of_functions - of_queues)
        parts = [self._header(held, width), Text(), self._workers(width), Text()]
        parts += [self._tasks(tasks, of_tasks, width), Text()]
        if functions:
            parts += [self._names(functions[:of_functions]), Text()]
        parts.append(self._queues(of_queues))
        return Group(*parts)

    def _header(self, held: bool, width: int) -> Text:
        now = self._now
        clock = time.strftime("%H:%M:%S", time.localtime(now["time"]))
        rate = sum(self._rates.values())
        line = Text.assemble(
            ("nbqueue top", "bold"), f"  {self._url}" if width >= WIDE else "", f"  {clock}  ",
            (f"{now['unfinished']:,}", "bold"), " unfinished  ", (f"{rate:,.1f}", "bold"), " done/s",
            overflow="ellipsis", no_wrap=True,
        )  # fmt: skip
        line.append("  held: space goes on" if held else "  q quits", style="dim")
        if now["paused"]:
            line.append(f"\n{now['paused']}", style="yellow")
        return line

    def _workers(self, width: int) -> RenderableType:
        if not self._now["workers"]:
            return Text.assemble(
                ("No workers. ", "yellow"), "`nbqueue start` or `nbqueue worker` starts some."
            )
        wide = width >= WIDE
        table = _table()
        _columns(table, "Worker", flexible=True)
        _columns(table, "Busy", *(["Load"] if wide else []), "Done/s", "Done", numbers=True)
        _columns(table, "Resources", flexible=True)
        for worker in self._now["workers"]:
            slots = sum(e["slots"] for e in worker["executors"])
            busy = sum(min(e["held"], e["slots"]) for e in worker["executors"])
            style = "green" if busy else "dim"
            table.add_row(
                Text(worker["name"]),
                Text(f"{busy}/{slots}", style=style),
                *([" ".join(f"{load:.2f}" for load in worker["load"])] if wide else []),
                f"{self._rate(worker=_key(worker)):,.1f}",
                f"{sum(worker['total'].values()):,}",
                Text(_resources(worker), style="dim"),
            )
        return table

    def _running(self) -> list[tuple[str, int, dict[str, Any]]]:
        """Worker, pid and task of what runs, the longest running first."""
        tasks = [
            (worker["name"], executor["pid"], task)
            for worker in self._now["workers"]
            for executor in worker["executors"]
            for task in executor["tasks"]
        ]
        return sorted(tasks, key=lambda row: row[2]["since"])

    def _tasks(self, tasks: list[tuple[str, int, dict[str, Any]]], rows: int, width: int) -> RenderableType:
        if not tasks:
            return Text("Nothing runs.", style="dim")
        wide = width >= WIDE
        table = _table()
        _columns(table, "Running", flexible=True)
        _columns(table, "Id")
        if wide:
            _columns(table, "Worker", flexible=True)
        _columns(table, "For", numbers=True)
        _columns(table, "Progress")
        for worker, pid, task in tasks[:rows]:
            table.add_row(
                Text(task["name"], style="green"),
                Text(task["id"][:8], style="dim"),
                *([Text(f"{worker} {pid}")] if wide else []),
                duration(self._now["time"] - task["since"]),
                _progress(task["progress"], 24 if wide else 12),
            )
        if len(tasks) > rows:
            table.add_row(Text(f"… and {len(tasks) - rows:,} more", style="dim"))
        return table

    def _functions(self) -> list[tuple[str, int, float]]:
        """Name, tasks that ended, and how many a second, the busiest first."""
        totals: Counter[str] = Counter()
        for (_, name), count in self._totals.items():
            totals[name] += count
        rows = [(name, count, self._rate(name=name)) for name, count in totals.items()]
        return sorted(rows, key=lambda row: (-row[2], -row[1], row[0]))

    def _names(self, rows: Iterable[tuple[str, int, float]]) -> Table:
        table = _table()
        _columns(table, "Function", flexible=True)
        _columns(table, "Done/s", "Done", numbers=True)
        for name, count, rate in rows:
            table.add_row(Text(name), f"{rate:,.1f}", f"{count:,}")
        return table

    def _queues(self, rows: int) -> RenderableType:
        table = _table()
        _columns(table, "Queue", flexible=True)
        _columns(table, "Ready", "Later", "Running", "Executors", numbers=True)
        queues = sorted(self._now["queues"].items(), key=lambda row: (-row[1]["ready"], row[0]))
        for name, counts in queues[:rows]:
            nobody = counts["ready"] and not counts["workers"]
            table.add_row(
                Text(name, style="yellow" if nobody else ""),
                *(f"{counts[column]:,}" for column in ("ready", "later", "running")),
                Text(str(counts["workers"]), style="yellow" if nobody else ""),
            )
        if len(queues) > rows:
            table.add_row(Text(f"… and {len(queues) - rows:,} more", style="dim"))
        return table

    def _rate(self, worker: str | None = None, name: str | None = None) -> float:
        return sum(
            rate
            for (by, of), rate in self._rates.items()
            if (worker is None or by == worker) and (name is None or of == name)
        )


def _key(worker: Mapping[str, Any]) -> str:
    """Several workers may have the same name."""
    return f"{worker['name']}#{worker['pid']}@{worker['host']}"


def _table() -> Table:
    return Table(box=None, expand=True, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold reverse")


def _columns(table: Table, *names: str, numbers: bool = False, flexible: bool = False) -> None:
    for name in names:
        table.add_column(
            name,
            justify="right" if numbers else "left",
            no_wrap=True,
            overflow="ellipsis",
            ratio=1 if flexible else None,
        )


def _resources(worker: Mapping[str, Any]) -> str:
    """``gpu, gpu 1/2, memory 2/16 GB``"""
    shown = [str(tag) for tag in worker["tags"]]
    for name, (used, total) in worker["resources"].items():
        if name == "memory":
            shown.append(f"memory {used / 1e9:.3g}/{total / 1e9:.3g} GB")
        else:
            shown.append(f"{name} {used:g}/{total:g}")
    return ", ".join(shown)


def _progress(progress: list[Any] | None, width: int) -> RenderableType:
    if progress is None:
        return Text("")
    current, total, description = progress
    if not total:
        return Text(f"{current:g} {description}".rstrip(), style="cyan")
    grid = Table.grid(padding=(0, 1, 0, 0))
    share = min(1.0, max(0.0, current / total))
    grid.add_row(ProgressBar(total=1.0, completed=share, width=width), f"{share:.0%}")
    return grid
