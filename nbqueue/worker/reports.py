"""What a run tells while it runs: how far it is, custom states, what it prints.

The task sets numbers and appends text; another thread collects them now and then, and only the
latest progress and state travel.
"""

from collections.abc import Callable

from nbqueue.messages import Output, Progress, Update
from nbqueue.worker.output import OutputBuffer, sendable


class Reports:
    """Reports of one run, under one lease.  Whoever calls :meth:`collect` has to keep others from it."""

    __slots__ = (
        "_last",
        "_pieces",
        "_update",
        "bar",
        "current",
        "description",
        "id",
        "output",
        "token",
        "total",
    )

    def __init__(self, id: str, token: int) -> None:
        self.id = id
        self.token = token
        #: None: nothing was reported yet
        self.current: float | None = None
        self.total: float | None = None
        self.description = ""
        #: what moves the three above; inner loops ask first (see :meth:`claim`)
        self.bar: Callable[[], object] | None = None
        self.output = OutputBuffer()
        self._update: Update | None = None
        self._last: Progress | None = None
        self._pieces = 0

    def claim(self, bar: Callable[[], object]) -> bool:
        """Ask to be the one that moves the progress: ``bar`` is a weak reference to the asker, and
        only the outermost of several nested ones gets it."""
        if self.bar is None or self.bar() is None:
            self.bar = bar
        return self.bar() is bar()

    def release(self, bar: Callable[[], object]) -> None:
        if self.bar is not None and self.bar() is bar():
            self.bar = None

    def update(self, state: str, meta: bytes) -> None:
        """Set a custom state with its pickled meta."""
        self._update = Update(self.id, self.token, state, meta)

    def collect(self, *, last: bool = False) -> list[Output | Progress | Update]:
        """What is new since the last time, as messages."""
        messages: list[Output | Progress | Update] = []
        if self.current is not None:
            messages += self._progress(self.current)
        update, self._update = self._update, None
        if update is not None:
            messages.append(update)
        for piece in self.output.take(last=last):
            messages.append(Output(self.id, self.token, self._pieces, piece.stream, piece.text))
            self._pieces += 1
        return messages

    def _progress(self, current: float) -> list[Progress]:
        progress = Progress(self.id, self.token, current, self.total, sendable(self.description))
        if progress == self._last:
            return []
        self._last = progress
        return [progress]
