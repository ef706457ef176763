"""The campaigns' figures, for the terminal and for ``docs/explain/reliability.md``."""

import os
import platform
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from rich.table import Table

from tests.chaos.checker import Report

PAGE = Path(__file__).parents[2] / "docs" / "explain" / "reliability.md"
HEAD = (
    "",
    "what was done",
    "tasks",
    "lost",
    "conflicting",
    "ran again",
    "may run again",
    "also",
    "seconds",
    "seed",
)
BEGIN, END = "<!-- Written by `make chaos`: figures. -->", "<!-- figures end -->"


def drawn(reports: Iterable[Report]) -> Table:
    """For the terminal."""
    table = Table(*HEAD[:-1], title="at-least-once execution, exactly one accepted outcome")
    for report in reports:
        colour = "red" if report.broken else "green"
        table.add_row(*_cells(report), style=colour)
    return table


def write(reports: Iterable[Report], seed: int, page: Path = PAGE) -> None:
    """Put the figures of these campaigns into the page; those of others stay as they are."""
    text = page.read_text()
    before, _, rest = text.partition(BEGIN)
    old, _, after = rest.partition(END)
    rows = {line[2]: line for line in old.splitlines() if re.match(r"\| [A-Z] \|", line)}
    for report in reports:
        rows[report.letter] = _row((*_cells(report), str(seed)))
    lines = [_row(HEAD), _row("---" for _ in HEAD), *(rows[letter] for letter in sorted(rows))]
    table = "\n".join(lines)
    page.write_text(f"{before}{BEGIN}\n\n{_where()}\n\n{table}\n\n{END}{after}")


def _where() -> str:
    return (
        f"Last run: {datetime.now(UTC):%d %B %Y}, {os.cpu_count()} cores,"
        f" Python {platform.python_version()}, {platform.system()}."
    )


def _cells(report: Report) -> tuple[str, ...]:
    verdict = [f"**broken**: {len(report.broken)} claims"] if report.broken else []
    figures = (report.tasks, report.lost, report.conflicting, report.repeated)
    return (
        report.letter,
        report.faults,
        *(f"{figure:,}" for figure in figures),
        report.allowed,
        "; ".join([*verdict, *report.notes]),
        f"{report.seconds:.0f}",
    )


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
