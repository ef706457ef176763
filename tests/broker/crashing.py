"""A broker process that breaks down, by an exception in its loop, on SIGUSR1."""

import signal
import sys
from types import FrameType

from nbqueue.broker.daemon import Broker
from nbqueue.broker.main import main_from_stdin

_turn = Broker._turn
_broken: list[int] = []


def _note(number: int, frame: FrameType | None) -> None:
    _broken.append(number)


def _turn_until_told(broker: Broker) -> None:
    if _broken:
        raise RuntimeError("a bug in the loop")
    _turn(broker)


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, _note)
    Broker._turn = _turn_until_told
    sys.exit(main_from_stdin())
