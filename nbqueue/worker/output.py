"""What a task prints goes to its result, as it is printed, and never grows without bound.

``sys.stdout`` and ``sys.stderr`` are :class:`TaskStream`: inside of a task they write to its
:class:`OutputBuffer`, outside to the real stream.  The buffer is emptied many times a second; a task
that prints faster than that loses the oldest part of what waits, and a mark says how much.

The broker keeps ``max_output_bytes`` characters of a task, its beginning and its end.  So a worker need not
send a hundred times as much: past a total, what a task prints is shown by its last lines, once a second.
"""

import io
import logging
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any, Final, NamedTuple, TextIO

#: how many times ``max_output_bytes`` may wait to be sent
PENDING: Final = 4
#: how many times ``max_output_bytes`` are sent of a run, past which only the last characters are
TOTAL: Final = 16
#: that many, once in so many seconds and at its end
TAIL_LIMIT: Final = 8 * 1024
TAIL_PERIOD: Final = 1.0

LOG_FORMAT: Final = "%(levelname)s:%(name)s:%(message)s"

#: executors of this process
_holders = 0
_holding: Final = threading.Lock()


class Piece(NamedTuple):
    """A run of text on one stream, "stdout" or "stderr"."""

    stream: str
    text: str


class OutputBuffer:
    """What a task printed and nobody has taken yet.  Safe to write to from any thread.

    Parameters
    ----------
    kept
        Characters that the broker keeps of a task.
    clock
        Tells the time in seconds.
    """

    __slots__ = (
        "_clock",
        "_dropped",
        "_lock",
        "_pending_limit",
        "_pieces",
        "_size",
        "_tail_at",
        "_taken",
        "_total_limit",
    )

    def __init__(self, kept: int = 2**20, clock: Callable[[], float] = monotonic) -> None:
        self._pending_limit = PENDING * kept
        self._total_limit = TOTAL * kept
        self._clock = clock
        #: when the last characters are sent again, past the total limit
        self._tail_at = 0.0
        # reentrant: a __del__ that prints may run in the middle of a write
        self._lock = threading.RLock()
        self._pieces: deque[Piece] = deque()
        self._size = 0
        self._dropped = 0
        self._taken = 0

    def write(self, stream: str, text: str) -> None:
        limit = self._pending_limit if self._taken < self._total_limit else TAIL_LIMIT
        with self._lock:
            if len(text) > limit:
                self._dropped += len(text) - limit
                text = text[len(text) - limit :]
            self._pieces.append(Piece(stream, text))
            self._size += len(text)
            while self._size > limit:
                self._drop_oldest()

    def _drop_oldest(self) -> None:
        size = len(self._pieces.popleft().text)
        self._size -= size
        self._dropped += size

    def take(self, *, last: bool = False) -> list[Piece]:
        """All that waits, joined by stream; past the total limit only now and then, and the ``last`` time."""
        if not self._pieces:
            return []
        if self._taken >= self._total_limit:
            now = self._clock()
            if now < self._tail_at and not last:
                return []
            self._tail_at = now + TAIL_PERIOD
        with self._lock:
            pieces, self._pieces = self._pieces, deque()
            dropped, self._dropped = self._dropped, 0
            self._taken += self._size
            self._size = 0
        if dropped:
            mark = f"\n… {dropped} characters of output dropped …\n"
            pieces.appendleft(Piece(pieces[0].stream, mark))
        return _joined(pieces)


def _joined(pieces: deque[Piece]) -> list[Piece]:
    runs: list[tuple[str, list[str]]] = []
    for stream, text in pieces:
        if not runs or runs[-1][0] != stream:
            runs.append((stream, []))
        runs[-1][1].append(text)
    return [Piece(stream, "".join(texts)) for stream, texts in runs]


class TaskStream(io.TextIOBase):
    """A standard stream that belongs to whoever runs: a task, or else the process.

    ``buffer_of`` returns the running task's buffer, or None outside of tasks.
    """

    def __init__(self, real: TextIO, name: str, buffer_of: Callable[[], OutputBuffer | None]) -> None:
        self.real = real
        self.buffer = _Bytes(self)
        self._name = name
        self._buffer_of = buffer_of

    def write(self, text: str, /) -> int:
        buffer = self._buffer_of()
        if buffer is None:
            return self.real.write(text)
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        buffer.write(self._name, text)
        return len(text)

    def flush(self) -> None:
        if self._buffer_of() is None:
            self.real.flush()

    def close(self) -> None:
        """Standard streams stay open, whatever a task thinks."""

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return False

    def fileno(self) -> int:
        return self.real.fileno()

    @property
    def name(self) -> str:
        return f"<{self._name}>"

    @property
    def encoding(self) -> str:  # type: ignore[override]  # a plain attribute in typeshed
        return "utf-8"

    @property
    def errors(self) -> str:  # type: ignore[override]  # a plain attribute in typeshed
        return "backslashreplace"


class _Bytes(io.RawIOBase):
    """The ``buffer`` of a :class:`TaskStream`: bytes that are text."""

    def __init__(self, stream: TaskStream) -> None:
        self._stream = stream

    def write(self, data: Any, /) -> int:
        raw = bytes(data)
        self._stream.write(raw.decode(errors="replace"))
        return len(raw)

    def flush(self) -> None:
        self._stream.flush()

    def close(self) -> None:
        """See :meth:`TaskStream.close`."""

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._stream.fileno()


def capture(buffer_of: Callable[[], OutputBuffer | None]) -> None:
    """Make the standard streams the tasks'.  Cheap when they are already: call it before every run,
    since a task (or pytest) may have replaced them, and within :func:`captured_streams`."""
    if type(sys.stdout) is not TaskStream:
        sys.stdout = TaskStream(sys.stdout, "stdout", buffer_of)
    if type(sys.stderr) is not TaskStream:
        sys.stderr = TaskStream(sys.stderr, "stderr", buffer_of)


@contextmanager
def captured_streams() -> Iterator[None]:
    """Give the real standard streams back when the last of those who captured them has ended."""
    global _holders
    with _holding:
        _holders += 1
    try:
        yield
    finally:
        with _holding:
            _holders -= 1
            if not _holders:
                _release()


def _release() -> None:
    if isinstance(sys.stdout, TaskStream):
        sys.stdout = sys.stdout.real
    if isinstance(sys.stderr, TaskStream):
        sys.stderr = sys.stderr.real


class _CurrentStderr(logging.StreamHandler[TextIO]):
    """Writes to whatever ``sys.stderr`` is at that moment."""

    def __init__(self) -> None:
        logging.Handler.__init__(self, logging.INFO)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]  # a plain attribute in typeshed
        return sys.stderr


def show_logging() -> None:
    """Make log records of tasks visible from INFO up, as long as nobody configures logging.

    The *last resort* handler steps back by itself as soon as a task calls ``logging.basicConfig``.
    """
    logging.lastResort = logging_handler()
    if logging.root.level == logging.WARNING:
        logging.root.setLevel(logging.INFO)


def logging_handler() -> logging.Handler:
    """Brings log records into the output of the task that makes them."""
    handler = _CurrentStderr()
    handler.setFormatter(logging.Formatter(LOG_FORMAT))
    return handler
