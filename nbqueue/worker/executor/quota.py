"""How much an executor may do before another one takes its place: for tasks that leak."""

import sys
from typing import Final

#: ru_maxrss is in bytes on macOS, in KiB elsewhere
_UNIT: Final = 1024 if sys.platform == "darwin" else 1


class Quota:
    """``max_tasks`` tasks, ``max_memory`` KiB at its peak; 0: without limit."""

    def __init__(self, max_tasks: int = 0, max_memory: int = 0) -> None:
        self._max_tasks = max_tasks
        self._max_memory = max_memory
        self._tasks = 0

    def used_up(self) -> bool:
        """Count a task that has ended; returns whether it was the last one."""
        self._tasks += 1
        if self._max_tasks and self._tasks >= self._max_tasks:
            return True
        return bool(self._max_memory) and peak_memory() > self._max_memory


def peak_memory() -> int:
    """KiB that this process had in memory at most."""
    import resource  # not on Windows, where there is no such limit

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // _UNIT
