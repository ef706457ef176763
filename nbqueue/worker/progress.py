"""``for item in progress(items)``: how far a loop is, as the running task's progress."""

import weakref
from collections.abc import Iterable, Iterator, Sized
from typing import SupportsFloat, TypeVar

from nbqueue.worker.context import current
from nbqueue.worker.reports import Reports

T = TypeVar("T")


class _Loop:
    """One ``for`` loop that reports; see :meth:`Reports.claim`."""

    __slots__ = ("__weakref__",)


def progress(iterable: Iterable[T], total: float | None = None, description: str = "") -> Iterator[T]:
    """Yield the items of an iterable and report how many are done, as the running task's progress.

    ``total`` is ``len(iterable)`` where it has one.  Outside of tasks the items are yielded and nothing
    else is done.  Of loops inside of loops the outermost one reports.
    """
    context = current()
    if context is None:
        return iter(iterable)
    if total is None:
        total = _length(iterable)
    return _counted(iterable, total, description, context.reports)


def _length(iterable: Iterable[object]) -> int | None:
    if not isinstance(iterable, Sized):
        return None
    try:
        return len(iterable)
    except TypeError:  # a loader of data that comes as a stream, say
        return None


def _counted(
    iterable: Iterable[T], total: SupportsFloat | None, description: object, reports: Reports
) -> Iterator[T]:
    loop = _Loop()
    own = weakref.ref(loop)
    if not reports.claim(own):
        yield from iterable
        return
    done = 0
    reports.show(done, total, description)
    try:
        for item in iterable:
            yield item
            done += 1
            reports.show(done, total, description)
    finally:
        reports.release(own)
