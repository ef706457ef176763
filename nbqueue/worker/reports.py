"""What a run tells while it runs: how far it is, custom states, what it prints.

The task sets numbers and appends text; another thread collects them now and then, and only the
latest progress and state travel.  What a task says comes in here, by :meth:`Reports.show`,
:meth:`Reports.update` and ``output``, and is made plain numbers and texts at once: a mistake is the
task's own, never that of the thread that sends it.
"""

from collections.abc import Callable
from typing import Final, SupportsFloat

from nbqueue.exceptions import ConfigurationError
from nbqueue.messages import Item, Output, Progress, Pull, Update
from nbqueue.states import READY_STATES
from nbqueue.worker.output import OutputBuffer
from nbqueue.worker.stream import ItemStream

#: characters of output in one message: what is bounded drops whole pieces
PIECE: Final = 32 * 1024


class Reports:
    """Reports of one run, under one lease.  Whoever calls :meth:`collect` has to keep others from it.

    ``kept``: characters that the broker keeps of a task's output.
    """

    __slots__ = (
        "_last",
        "_last_update",
        "_pieces",
        "_progress",
        "_pull",
        "_update",
        "bar",
        "id",
        "output",
        "stream",
        "token",
    )

    def __init__(self, id: str, token: int, kept: int = 2**20) -> None:
        self.id = id
        self.token = token
        #: what moves the progress; inner loops ask first (see :meth:`claim`)
        self.bar: Callable[[], object] | None = None
        self.output = OutputBuffer(kept)
        #: of a task that is a generator, and who reads it
        self.stream: ItemStream | None = None
        self._pull: Pull | None = None
        self._update: Update | None = None
        self._progress: Progress | None = None
        #: the progress that was collected last
        self._last: Progress | None = None
        self._last_update: Update | None = None
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

    def show(
        self, current: SupportsFloat, total: SupportsFloat | None = None, description: object = ""
    ) -> None:
        """Set how far the run is; ``total`` None when nobody knows.

        Raises
        ------
        TypeError, ValueError, OverflowError
            ``current`` or ``total`` cannot be a float.
        """
        known = None if total is None else float(total)
        self._progress = Progress(self.id, self.token, float(current), known, str(description))

    def update(self, state: str, meta: bytes) -> None:
        """Set a custom state with its pickled meta.

        Raises
        ------
        TypeError
            The state is no text.
        ConfigurationError
            Nothing follows that state: a task gets there by returning or raising.
        """
        if not isinstance(state, str):
            raise TypeError(f"a state is a str, not {type(state).__name__}")
        if state in READY_STATES:
            raise ConfigurationError(f"update_state cannot end a task: {state} comes by returning or raising")
        self._update = Update(self.id, self.token, state, meta)

    def pulled(self, message: Pull) -> None:
        """Somebody reads the items of the run; it may not have come to be a generator yet."""
        self._pull = message
        if self.stream is not None:
            self.stream.pulled(message)

    def open(self, stream: ItemStream) -> ItemStream:
        """The run is a generator."""
        self.stream = stream
        if self._pull is not None:
            stream.pulled(self._pull)
        return stream

    def repeat(self) -> None:
        """Whoever was told how far the run is may not know it any more: tell it again."""
        self._last = None
        if self._update is None:
            self._update = self._last_update

    def collect(self, *, last: bool = False) -> list[Output | Progress | Update | Item]:
        """What is new since the last time, as messages."""
        messages: list[Output | Progress | Update | Item] = []
        if self.stream is not None:
            messages += self.stream.collect()
        progress = self._progress
        if progress is not None and progress != self._last:
            messages.append(progress)
            self._last = progress
        update, self._update = self._update, None
        if update is not None:
            messages.append(update)
            self._last_update = update
        for piece in self.output.take(last=last):
            for start in range(0, len(piece.text), PIECE):
                text = piece.text[start : start + PIECE]
                messages.append(Output(self.id, self.token, self._pieces, piece.stream, text))
                self._pieces += 1
        return messages
