"""The files of a journal: their names, and which of them count.

::

    0000000003.snapshot        what all segments before number 3 amounted to, and the beginning of that one
    0000000003.log             turns since, in segments …
    0000000004.log
    0000000005.log             … and space kept for more: blank, but for zeros
    0000000006.snapshot.part   a snapshot that is being made, or was when its broker died: nothing
"""

from pathlib import Path
from typing import NamedTuple

from nbqueue.broker import logfile
from nbqueue.broker.errors import JournalCorrupt
from nbqueue.broker.logfile import SEGMENT, SNAPSHOT, Header, LogFile

_SEGMENT_SUFFIX = ".log"
_SNAPSHOT_SUFFIX = ".snapshot"
_PART_SUFFIX = ".snapshot.part"


def segment_path(folder: Path, number: int) -> Path:
    return folder / f"{number:010d}{_SEGMENT_SUFFIX}"


def snapshot_path(folder: Path, number: int) -> Path:
    return folder / f"{number:010d}{_SNAPSHOT_SUFFIX}"


def part_path(folder: Path, number: int) -> Path:
    return folder / f"{number:010d}{_PART_SUFFIX}"


def is_snapshot(path: Path) -> bool:
    return path.name.endswith(_SNAPSHOT_SUFFIX)


def segments(folder: Path) -> dict[int, Path]:
    """Number → file, in order."""
    return _numbered(folder, _SEGMENT_SUFFIX)


def snapshots(folder: Path) -> dict[int, Path]:
    """Number → file, in order."""
    return _numbered(folder, _SNAPSHOT_SUFFIX)


def parts(folder: Path) -> dict[int, Path]:
    """Snapshots that never came to their end."""
    return _numbered(folder, _PART_SUFFIX)


def _numbered(folder: Path, suffix: str) -> dict[int, Path]:
    found = (path for path in folder.iterdir() if path.name.endswith(suffix))
    names = {path.name.removesuffix(suffix): path for path in found}
    return {int(name): names[name] for name in sorted(names) if name.isdecimal()}


def corrupt(path: Path, offset: int, what: str) -> JournalCorrupt:
    """The error that says where the journal is damaged and what to do about it."""
    where = f"{path}, at byte {offset:,}" if offset else f"{path}"
    return JournalCorrupt(
        f"the journal is damaged ({where}: {what}); `nbqueue broker --repair --data-dir {path.parent.parent}`"
        " keeps every turn that is whole, and puts the rest aside"
    )


class Survey(NamedTuple):
    """What of a journal's files counts."""

    #: of this journal's turns; b"" if there are none
    mark: bytes
    #: sequence number of the first turn that is not in the snapshot
    first: int
    snapshot: Path | None
    #: those with a header, in order
    segments: dict[int, Path]
    #: the header of each
    headers: dict[int, Header]
    #: space kept for more, in order
    blanks: dict[int, Path]
    #: segments and snapshots that the snapshot replaces
    stale: list[Path]


def survey(folder: Path) -> Survey:
    """See what a journal consists of.

    Raises
    ------
    JournalCorrupt
        A file is missing, or its header.
    OSError
        A file cannot be read.
    """
    base, snapshot, header = _newest_snapshot(folder)
    found = segments(folder)
    live = {number: path for number, path in found.items() if number >= base}
    used: dict[int, Header] = {}
    blanks: dict[int, Path] = {}
    for number, path in live.items():
        with LogFile(path) as file:
            if file.header and (file.header.kind, file.header.number) == (SEGMENT, number):
                _check_order(path, blanks)
                used[number] = file.header
            elif file.is_blank(logfile.HEADER_BYTES):
                blanks[number] = path  # perhaps with half a header, which nothing follows
            else:
                raise corrupt(path, 0, "it has lost its header")
    _check_numbers(folder, base, list(live), snapshot)
    marks = {one.mark for one in used.values()} | ({header.mark} if header else set())
    first = header.first if header else 1
    if len(marks) > 1:
        raise corrupt(next(iter(live.values())), 0, "files of two journals are in one folder")
    if used and next(iter(used.values())).first > first:
        raise corrupt(live[next(iter(used))], 0, f"it should have turn {first}")
    return Survey(
        mark=marks.pop() if marks else b"",
        first=first,
        snapshot=snapshot,
        segments={number: live[number] for number in used},
        headers=used,
        blanks=blanks,
        stale=[path for number, path in found.items() if number < base]
        + [path for path in snapshots(folder).values() if path != snapshot],
    )


def _newest_snapshot(folder: Path) -> tuple[int, Path | None, Header | None]:
    """The newest one that is complete, and the number of the first segment that it does not replace."""
    for number, path in reversed(snapshots(folder).items()):
        with LogFile(path) as file:
            header = file.header
            if header and header[:2] == (SNAPSHOT, number) and file.ends_complete(header.mark):
                return number, path, header
    return 1, None, None


def _check_order(path: Path, blanks: dict[int, Path]) -> None:
    if blanks:
        raise corrupt(next(iter(blanks.values())), 0, f"it has lost its turns: {path.name} goes on behind it")


def _check_numbers(folder: Path, base: int, live: list[int], snapshot: Path | None) -> None:
    if snapshot is None and not live and not snapshots(folder):
        return
    for expected, number in enumerate(live or [base + 1], base):
        if number != expected:
            path = segment_path(folder, expected)
            damaged = [one.name for one in snapshots(folder).values() if one != snapshot]
            because = f", and {damaged[-1]} is incomplete" if damaged and not snapshot else ""
            raise corrupt(path, 0, f"it is missing{because}")
