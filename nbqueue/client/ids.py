"""Ids for tasks: look like UUIDs, cost a tenth of one.

80 random bits a process (a forked child draws its own), then a counter.
"""

import itertools
import os
from collections.abc import Iterator

from nbqueue import platform


def _ids() -> Iterator[str]:
    random = os.urandom(10).hex()
    prefix = f"{random[:8]}-{random[8:12]}-{random[12:16]}-{random[16:20]}-"
    return (f"{prefix}{n:012x}" for n in itertools.count(1))


_source = _ids()


def new_id() -> str:
    """An id that nothing else has."""
    return next(_source)


def _after_fork() -> None:
    global _source
    _source = _ids()


platform.in_forked_children(_after_fork)
