"""``nbqueue broker --repair``, in plain words: what was wrong, what was kept, and where the rest is."""

from collections.abc import Iterator
from pathlib import Path

from rich.text import Text

from nbqueue.broker.repair import Report, repair
from nbqueue.cli.show import console
from nbqueue.utils.text import counted

#: Dropped ranges that are listed one by one.
_SHOWN = 20


def repair_and_show(data_folder: Path) -> None:
    """Repair the journal there, and print what that came to."""
    out = console()
    for line in _lines(repair(data_folder)):
        out.print(line)


def _lines(report: Report) -> Iterator[Text]:
    tasks, turns = counted(len(report.kept_tasks), "task"), counted(report.kept_turns, "turn")
    kept = f"{tasks} in {turns}, {report.kept_bytes:,} bytes"
    if not report.damage:
        yield Text(f"The journal in {report.folder} is not damaged: {kept}.")
        return
    yield Text(f"{report.damage[0].upper()}{report.damage[1:]}.")
    yield _line("Kept", "green", kept)
    yield from _losses(report)
    if report.saved:
        yield _line("Saved", "", f"{report.saved}: what was dropped, byte by byte")
    if report.originals:
        yield _line("Saved", "", f"{report.originals}: the damaged files as they were")
    yield Text("`nbqueue broker` and `nbqueue start` go on with what was kept.")


def _losses(report: Report) -> Iterator[Text]:
    for path in report.missing:
        yield _line("Missing", "yellow", path.name)
    for dropped in report.dropped[:_SHOWN]:
        where = f"{dropped.path.name}, from byte {dropped.offset:,}"
        yield _line("Dropped", "yellow", f"{dropped.length:,} bytes of {where}")
    if more := report.dropped[_SHOWN:]:
        size = sum(dropped.length for dropped in more)
        yield _line("Dropped", "yellow", f"{size:,} bytes in {counted(len(more), 'more place')}")
    if report.lost_turns:
        yield _line("Lost", "yellow", f"{counted(report.lost_turns, 'turn')} at least")


def _line(head: str, style: str, text: str) -> Text:
    return Text.assemble("  ", (f"{head:<9}", style), text)
