"""Definitions and captured globals, by the hash of their content.

A blob stays while a task refers to it; one that no task refers to stays as long as there is room,
so that the next call of the function need not send it again.
"""

import hashlib
from collections.abc import Iterator

import msgspec

#: bytes of blobs that no task refers to
IDLE_BYTES = 256 * 2**20
#: what a blob costs beside its data
BLOB_BYTES = 400


def name_of(data: bytes) -> str:
    """The key of a blob."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


class _Blob(msgspec.Struct):
    data: bytes
    references: int = 0

    @property
    def size(self) -> int:
        return len(self.data) + BLOB_BYTES


class Blobs:
    def __init__(self, idle_bytes: int = IDLE_BYTES) -> None:
        self._blobs: dict[str, _Blob] = {}
        self._limit = idle_bytes
        #: keys that no task refers to, the longest unused first
        self._idle: dict[str, None] = {}
        self._idle_bytes = 0
        #: bytes of blobs that tasks refer to
        self.used_bytes = 0

    def add(self, key: str, data: bytes) -> bool:
        """Keep a blob; False if it was here already, or is none."""
        if not data:
            return False
        is_new = key not in self._blobs
        if is_new:
            self._blobs[key] = _Blob(data)
        elif key in self._idle:
            self._stir(key)
        else:
            return False
        self._rest(key)
        return is_new

    def get(self, key: str) -> bytes:
        """The blob, b"" if it is not here."""
        blob = self._blobs.get(key)
        return blob.data if blob is not None else b""

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._blobs))

    def __contains__(self, key: str) -> bool:
        return key in self._blobs

    def refer(self, key: str) -> None:
        """A task refers to the blob from now on."""
        blob = self._blobs[key]
        blob.references += 1
        if blob.references == 1:
            self._stir(key)
            self.used_bytes += blob.size

    def release(self, key: str) -> None:
        """A task that referred to the blob is done."""
        blob = self._blobs[key]
        blob.references -= 1
        if blob.references == 0:
            self.used_bytes -= blob.size
            self._rest(key)

    def _stir(self, key: str) -> None:
        del self._idle[key]
        self._idle_bytes -= self._blobs[key].size

    def _rest(self, key: str) -> None:
        self._idle[key] = None
        self._idle_bytes += self._blobs[key].size
        # two always stay: a task has at most two, which come one after the other
        while self._idle_bytes > self._limit and len(self._idle) > 2:
            oldest = next(iter(self._idle))
            self._stir(oldest)
            del self._blobs[oldest]
