"""Values that tasks send: pickled, and not larger than a message may be."""

from typing import Any, Final

from nbqueue.exceptions import SerializationError
from nbqueue.wire import codec, payload

#: a message holds little else beside a value
MAX_BYTES: Final = codec.MAX_MESSAGE_BYTES - 2**20


def pickled(value: Any, what: str = "the return value") -> bytes:
    """The value as bytes; ``what`` it is, for messages.

    Raises
    ------
    SerializationError
        It cannot be pickled, or is too large.
    """
    data = payload.dumps_value(value, what)
    if len(data) > MAX_BYTES:
        raise SerializationError(
            f"{what} takes {len(data):,} bytes, and at most {MAX_BYTES:,} travel: "
            "write it to a file, and send the file's name"
        )
    return data
