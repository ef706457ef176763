"""Noticing that a file has changed which a task was imported from: for development.

By modification times, once a second: no dependency, and fast enough for a person who saves a file.
"""

import os
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path
from typing import Final

#: seconds between two looks
PERIOD: Final = 1.0

_INSTALLED: Final = tuple(
    {os.path.realpath(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
)


class Watch:
    """The source files of imported modules, but for those that are installed."""

    def __init__(self) -> None:
        self._seen: dict[str, float] = {}
        self._due = 0.0
        self._look()

    def changed(self, now: float) -> str:
        """The name of a file that has changed since the last look, "" if none has."""
        if now < self._due:
            return ""
        self._due = now + PERIOD
        return self._look()

    def _look(self) -> str:
        found = ""
        for path in files():
            try:
                modified = os.stat(path).st_mtime
            except OSError:  # just being written anew
                continue
            if self._seen.setdefault(path, modified) != modified:
                self._seen[path] = modified
                found = path
        return found


def files() -> Iterable[str]:
    """Where the modules come from that a developer may be at work on."""
    for module in list(sys.modules.values()):
        path = getattr(module, "__file__", None)
        if isinstance(path, str) and path.endswith(".py") and not _is_installed(path):
            yield path


def _is_installed(path: str) -> bool:
    return os.path.realpath(Path(path).parent).startswith(_INSTALLED)
