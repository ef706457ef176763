"""What a submission says of its function: plain values."""

from dataclasses import dataclass
from typing import Any, NamedTuple

from nbqueue.core import blobs
from nbqueue.wire import codec


class Blob(NamedTuple):
    """Bytes that are sent once, and named by their hash after that."""

    key: str
    data: bytes

    @classmethod
    def of(cls, data: bytes) -> "Blob":
        """
        Raises
        ------
        SerializationError
            It is too large to travel.
        """
        blob = cls(blobs.name_of(data), data)
        blob.check(0)
        return blob

    def check(self, limit: int) -> None:
        """Raise SerializationError if it is too large; ``limit`` as in ``codec.fits``."""
        codec.sized(self.data, "the function, with what it uses from the notebook", limit)


class Shipment(NamedTuple):
    """A function as it is at the time of a call."""

    definition: Blob
    #: pickled values that the function reads, b"" if there are none
    captured: bytes
    #: the large ones among them
    captured_blob: Blob | None
    #: "3.11" when only that Python can load the definition, "" for any
    python: str


@dataclass(frozen=True, slots=True)
class TaskOptions:
    """What a worker has to know of a task beside its function; times in seconds."""

    name: str
    #: the function takes the task's context as its first argument
    bind: bool = False
    #: None: without limit
    max_retries: int | None = 3
    #: exceptions after which the task is run again
    autoretry_for: tuple[type[BaseException], ...] = ()
    default_retry_delay: float = 180.0
    #: the first of pauses that double each time; 0: always ``default_retry_delay``
    retry_backoff: float = 0.0
    retry_backoff_max: float = 600.0
    #: pauses are drawn at random up to what ``retry_backoff`` says
    retry_jitter: bool = True
    #: exceptions after which it is not run again, though ``autoretry_for`` has a base of theirs
    dont_autoretry_for: tuple[type[BaseException], ...] = ()
    #: exceptions that are no surprise: the worker logs them without a traceback
    throws: tuple[type[BaseException], ...] = ()
    #: a task class of the user's own: ``self`` is one of these, and its hooks are called; None: a plain task
    base: Any = None
