"""Items of a generator task: kept for its result, and sent to those who read them as they are yielded.

While somebody reads, the generator is held up when it is further ahead than the reader allows, or when
``IN_FLIGHT`` bytes are on the way.  When nobody does, it never waits.

An item is sent again when the reader says so, as long as it is here: all of them are when the list of them is
the result.  With ``ignore_result`` they are kept from when somebody reads until that one has them, and
the task ends when he has.
"""

import threading
from collections.abc import Callable
from time import monotonic
from typing import Any, Final

from nbqueue.messages import Item, Pull
from nbqueue.wire import payload

#: bytes of items that are sent and not confirmed yet, past which no more are sent
IN_FLIGHT: Final = 8 * 2**20
#: items in one go
BATCH: Final = 64
#: seconds between two looks whether the reader is still there, or the run was cancelled
GLANCE: Final = 0.05


class ItemStream:
    """The items of one run.

    Parameters
    ----------
    keep
        The list of them is the result.
    what
        For messages: "an item of f()".
    limit
        Bytes of an item that the broker takes; 0 if it has not said.
    serializer
        How items are written, as ``Task.result_serializer``.
    push
        Has :meth:`collect` called soon, by whoever has the link.
    lease
        Seconds that a reader's wish is good for.
    """

    def __init__(
        self,
        id: str,
        token: int,
        *,
        keep: bool,
        what: str,
        limit: int,
        serializer: str = "",
        push: Callable[[], object],
        lease: float = 10.0,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        #: from number ``_base`` on
        self.kept: list[Any] = []
        self._base = 0
        self._id = id
        self._token = token
        self._keep = keep
        self._what = what
        self._limit = limit
        self._serializer = serializer
        self._push = push
        self._lease = lease
        self._clock = clock
        self._change = threading.Condition()
        #: until when somebody reads
        self._wanted_until = 0.0
        #: he has all before this number, and can take those before that one
        self._start = 0
        self._upto = 0
        #: the next one to be sent
        self._next = 0
        #: sizes of those that are under way, from number ``_start`` on
        self._sizes: list[int] = []

    # ── the generator's side ─────────────────────────────────────────────────────────────────

    def take(self, item: Any) -> None:
        """The generator has yielded; waits (interruptibly) until somebody who reads can take more."""
        self._add(item)
        while self._must_wait():
            with self._change:
                self._change.wait(GLANCE)

    async def take_async(self, item: Any) -> None:
        """The same, for async generators."""
        import asyncio  # megabytes: only executors that run async tasks have it

        self._add(item)
        while self._must_wait():  # noqa: ASYNC110 - what it waits for comes from another thread, or is time
            await asyncio.sleep(GLANCE / 5)

    def finish(self) -> None:
        """No more will come; waits until whoever reads has those that are kept nowhere else."""
        while not self._keep and self._wanted and self._start < self._count:
            self._push()
            with self._change:
                self._change.wait(GLANCE)

    async def finish_async(self) -> None:
        """The same, for async generators."""
        import asyncio

        while not self._keep and self._wanted and self._start < self._count:
            self._push()
            await asyncio.sleep(GLANCE / 5)

    @property
    def _count(self) -> int:
        return self._base + len(self.kept)

    @property
    def _wanted(self) -> bool:
        return self._clock() < self._wanted_until

    def _add(self, item: Any) -> None:
        with self._change:
            if self._keep or self._wanted:
                self.kept.append(item)
            else:
                self._base = self._next = self._count + 1
                self.kept.clear()
        if self._wanted:
            self._push()

    def _must_wait(self) -> bool:
        return self._next < self._count and self._wanted

    # ── the link's side ──────────────────────────────────────────────────────────────────────

    def pulled(self, message: Pull) -> None:
        """Somebody reads: he says what he has, how far the generator may go, and whether items were lost."""
        with self._change:
            if message.upto < 0:
                self._wanted_until = 0.0
            else:
                self._wanted_until = self._clock() + self._lease
                self._confirm(message.start)
                self._upto = message.upto
                if message.again:
                    self._next = max(message.start, self._base)
                    self._sizes.clear()
            self._change.notify_all()

    def _confirm(self, start: int) -> None:
        if start < self._start:  # somebody else, from the beginning
            self._sizes.clear()
            self._next = start
        else:
            del self._sizes[: start - self._start]
        gone = 0 if self._keep else min(start, self._count) - self._base
        if gone > 0:
            del self.kept[:gone]
            self._base += gone
        self._start = start
        # a run that is repeated begins with what the reader has already
        self._next = max(self._next, start, self._base)

    def collect(self) -> list[Item]:
        """What may be sent now."""
        with self._change:
            if self._next >= min(self._upto, self._count) or not self._wanted:
                return []
            items: list[Item] = []
            under_way = sum(self._sizes)
            while self._next < min(self._upto, self._count) and len(items) < BATCH:
                value = self._pickled(self.kept[self._next - self._base])
                if self._sizes and under_way + len(value) > IN_FLIGHT:
                    break
                items.append(Item(self._id, self._token, self._next, value, self._base))
                under_way += len(value)
                self._sizes.append(len(value))
                self._next += 1
            self._change.notify_all()
        return items

    def _pickled(self, item: Any) -> bytes:
        """The item; b"" for one that cannot be sent, which ends the stream: the result says why."""
        try:
            return payload.dumps_value(item, self._what, self._limit, self._serializer)
        except Exception:
            return b""
