"""The tasks of the campaigns.  Each notes in the ledger that it starts, and returns which run it is."""

import ctypes
import os
import signal
import time
from typing import Any

from nbqueue import App
from tests.chaos.ledger import append

#: bytes that a hog takes a step
_STEP = 16 * 2**20


def work(self: Any, folder: str, seconds: float) -> tuple[int, int]:
    """Take some time."""
    note(self, folder, "ledger")
    time.sleep(seconds)
    return self.request.attempt, os.getpid()


def long_work(self: Any, folder: str, seconds: float) -> tuple[int, int]:
    """Take long, and write down that this run got to its end."""
    note(self, folder, "ledger")
    time.sleep(seconds)
    note(self, folder, "ended")
    return self.request.attempt, os.getpid()


def hold_gil(self: Any, folder: str, seconds: float) -> tuple[int, int]:
    """Take long and let no other thread of the process run meanwhile."""
    note(self, folder, "ledger")
    ctypes.PyDLL(None).usleep(int(seconds * 1e6))
    note(self, folder, "ended")
    return self.request.attempt, os.getpid()


def poison(self: Any, folder: str, how: str) -> None:
    """Kill the process that runs it."""
    note(self, folder, "ledger")
    if how == "segfault":
        ctypes.string_at(0)
    elif how == "exit":
        os._exit(3)
    elif how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif how == "memory":
        hoard = []
        while True:  # until whoever watches over the memory kills it
            hoard.append(b"x" * _STEP)
            time.sleep(0.01)


def put_together(self: Any, values: list[Any], folder: str, number: int) -> tuple[int, int]:
    """The body of a chord: takes what all of its members return."""
    note(self, folder, "ledger")
    append(f"{folder}/bodies", f"{self.request.id}")
    assert len(values) == number, values
    time.sleep(0.01)
    return self.request.attempt, os.getpid()


def note(self: Any, folder: str, file: str) -> None:
    append(f"{folder}/{file}", f"{self.request.id} {self.request.attempt} {os.getpid()}")


def register(app: App) -> None:
    """Make them tasks of an application; they travel by value."""
    for function in (work, long_work, hold_gil, poison, put_together):
        app.task(function, bind=True, name=function.__name__)
