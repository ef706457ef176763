"""Files that tell what really happened, whoever is killed: each line reaches the disk before work goes on.

::

    ledger          id attempt pid      written by a task as it starts
    ended           id attempt pid      … and by some as they end
    bodies          id                  by the body of a chord as it starts
    connected       pid                 by a client
    acknowledged    id                  by a client when it knows that the broker keeps a task
    seen            id outcome          by a client when it has an outcome

A line is one write to a file opened with O_APPEND, and so never mixed with others' and never torn.
"""

import os
from pathlib import Path
from typing import NamedTuple


class Run(NamedTuple):
    """One execution of a task."""

    id: str
    attempt: int
    pid: int


def append(path: str, *lines: str) -> None:
    """Add lines, and return when they are on the disk."""
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, "".join(f"{line}\n" for line in lines).encode())
        os.fsync(file)
    finally:
        os.close(file)


def count(path: Path) -> int:
    """How many lines there are."""
    return path.read_bytes().count(b"\n") if path.exists() else 0


def read(path: Path) -> list[str]:
    """All lines; none of a file that nobody has written to."""
    return path.read_text().splitlines() if path.exists() else []


def read_runs(path: Path) -> list[Run]:
    """A ledger's lines, in the order in which they reached the disk."""
    fields = (line.split() for line in read(path))
    return [Run(id, int(attempt), int(pid)) for id, attempt, pid in fields]
