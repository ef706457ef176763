"""``nbqueue broker``, and the process that a local cluster starts: a broker until it is told to end."""

import contextlib
import gc
import logging
import signal
import sys

from nbqueue import platform
from nbqueue.broker.daemon import Broker
from nbqueue.broker.errors import BrokerStartError
from nbqueue.broker.options import BrokerOptions, read_options
from nbqueue.exceptions import ConfigurationError


def main(options: BrokerOptions) -> int:
    """Run a broker in this process, whose main thread this must be; returns its exit code.

    It ends on SIGTERM and SIGINT, when a client asks for it, and when it was idle for its
    ``idle_timeout``: then with 0.  Why it does not start is said on standard error.
    """
    logging.basicConfig(
        format="%(asctime)s nbqueue broker: %(message)s", level=logging.INFO, stream=sys.stderr
    )
    platform.raise_file_limit()
    _spare_collections()
    try:
        with contextlib.closing(Broker(options)) as broker:
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(
                    number, lambda number, _: broker.stop(f"told to by {signal.Signals(number).name}")
                )
            broker.announce()
            broker.run()
    except ConfigurationError as error:
        return _fail(error, BrokerStartError.exit_code)
    except BrokerStartError as error:
        return _fail(error, error.exit_code)
    return 0


def _spare_collections() -> None:
    """Look for cycles of garbage rarely: the broker makes next to none, and each look at a million waiting
    tasks takes longer than a turn may."""
    gc.set_threshold(100_000, 20, 100)


def main_from_stdin() -> int:
    """As :func:`main`, with options read as JSON from standard input, where they may hold secrets."""
    try:
        options = read_options(_first_line())
    except ConfigurationError as error:
        return _fail(error, BrokerStartError.exit_code)
    return main(options)


def _first_line() -> bytes:
    """What was handed over; nothing, when there is a person or nobody at the other end."""
    if sys.stdin is None or sys.stdin.isatty():
        return b""
    return sys.stdin.buffer.readline()


def _fail(error: Exception, exit_code: int) -> int:
    sys.stderr.write(f"nbqueue broker: {error}\n")
    return exit_code
