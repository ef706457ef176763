"""Journals for tests: small files, so that a few turns fill several."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nbqueue.broker.journal import Journal
from tests.broker.running import until

SMALL = {"segment_bytes": 4096, "reserve_bytes": 4096}


class MortalJournal(Journal):
    """Dies with its last reference as by SIGKILL: its descriptors are closed, and nothing is tidied up."""

    def __del__(self) -> None:
        for segment in (self._segment, *self._spares):
            if segment:
                segment.close()


def opened(folder: Path, **options: Any) -> tuple[Journal, list[bytes]]:
    """An open journal, and what was in it."""
    journal = MortalJournal(folder, **{**SMALL, **options})
    return journal, list(journal.recover())


def written(folder: Path, turns: list[bytes], **options: Any) -> None:
    """Write turns as by a broker that dies at once."""
    journal, _ = opened(folder, **options)
    for turn in turns:
        journal.append(turn)


def read(folder: Path) -> list[bytes]:
    journal, turns = opened(folder)
    journal.close()
    return turns


def snapshot(journal: Journal, turns: list[bytes]) -> None:
    """Make a snapshot, and see that it is done."""
    made = journal.begin_snapshot()
    for turn in turns:
        made.add(turn)
    made.finish()
    until(lambda: made.done)
    assert made.error is None


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def written_end(content: bytes) -> int:
    """Where the zeros begin that a file ends in."""
    return len(content.rstrip(b"\0"))


def failing(number: int, *, after: int = 0) -> Callable[..., Any]:
    """A system call that fails; a write does so when it has written that many bytes."""
    write: Callable[..., int] = os.pwritev

    def call(fd: int, *arguments: Any) -> None:
        if after:
            parts, offset = arguments
            write(fd, [b"".join(parts)[:after]], offset)
        raise OSError(number, os.strerror(number))

    return call
