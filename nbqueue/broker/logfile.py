"""One file of the journal: how records lie in it, and how they are found again.

::

    file     header │ record │ record │ … │ zeros, as far as space was preallocated
    header   "nbqueue\\1" │ kind │ number │ first sequence number │ mark │ CRC-32          40 bytes
    record   mark │ length │ sequence number │ CRC-32 │ data │ 0xFF                       25 bytes + data

All numbers are little endian; a record's CRC covers its length, its sequence number and its data.

The *mark* is 8 random bytes of this journal, which no peer can know: nothing in the data of a task can be
taken for a record.  Sequence numbers go on from record to record and from segment to segment, so that a hole
is seen.  A record ends in a byte that is not zero: where writing stopped half-way there are zeros, for files
are new and never used twice.  That tells an unfinished write, which nobody was promised, from damage.

The last record of a snapshot has the length 0xFFFFFFFF and no data: its sequence number is how many came
before it, and one more.
"""

import secrets
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple, Self

from nbqueue.platform import Buffer

SEGMENT: Final = b"LOG\0"
SNAPSHOT: Final = b"SNAP"
#: Bytes of data that one record may have.
MAX_RECORD: Final = 1 << 30

_HEADER: Final = struct.Struct("<8s4sQQ8sI")
_RECORD: Final = struct.Struct("<8sIQI")
_COVERED: Final = struct.Struct("<IQ")
_MAGIC: Final = b"nbqueue\1"
_STOP: Final = b"\xff"
_END: Final = 0xFFFFFFFF
HEADER_BYTES: Final = _HEADER.size
#: Bytes that a record takes besides its data.
FRAME_BYTES: Final = _RECORD.size + len(_STOP)

#: Bytes read at once.
_BLOCK: Final = 4 << 20
#: What a disk writes as a whole, or not at all.
_SECTOR: Final = 512


def new_mark() -> bytes:
    """The mark of a journal that begins."""
    return secrets.token_bytes(8)


class Header(NamedTuple):
    """What stands at the head of each file."""

    #: SEGMENT or SNAPSHOT
    kind: bytes
    #: its place among the segments; a snapshot has that of the first segment that it does not replace
    number: int
    #: the sequence number of the first record of that segment
    first: int
    mark: bytes

    def encode(self) -> bytes:
        covered = _HEADER.pack(_MAGIC, *self, 0)[:-4]
        return covered + zlib.crc32(covered).to_bytes(4, "little")


def decode_header(raw: bytes) -> Header | None:
    """The header that begins a file; None if these bytes are none."""
    if len(raw) < HEADER_BYTES:
        return None
    magic, *values, crc = _HEADER.unpack_from(raw)
    if magic != _MAGIC or crc != zlib.crc32(raw[: HEADER_BYTES - 4]):
        return None
    return Header(*values)


def frame(mark: bytes, sequence: int, data: Buffer | Sequence[Buffer]) -> tuple[list[Buffer], int]:
    """A record as it is to be written, in parts, and how many bytes that is.

    Raises
    ------
    ValueError
        It is larger than a record may be.
    """
    parts: list[Buffer] = [_octets(data)] if isinstance(data, Buffer) else [_octets(part) for part in data]
    length = sum(map(len, parts))
    if length > MAX_RECORD:
        raise ValueError(f"a record of {length:,} bytes: {MAX_RECORD:,} are allowed")
    crc = zlib.crc32(_COVERED.pack(length, sequence))
    for part in parts:
        crc = zlib.crc32(part, crc)
    return [_RECORD.pack(mark, length, sequence, crc), *parts, _STOP], length + FRAME_BYTES


def frame_end(mark: bytes, sequence: int) -> bytes:
    """The record that says that a snapshot is complete."""
    return _RECORD.pack(mark, _END, sequence, zlib.crc32(_COVERED.pack(_END, sequence))) + _STOP


def _octets(part: Buffer) -> Buffer:
    """The same with a length in bytes: an array's memoryview counts numbers."""
    return part.cast("B") if isinstance(part, memoryview) and part.itemsize != 1 else part


class LogFile:
    """A file of the journal that is read.

    Raises
    ------
    OSError
        It cannot be; so may every method.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("rb", buffering=0)
        self.size = self._file.seek(0, 2)
        self._window = b""
        self._window_at = 0
        self.header = decode_header(self.read(0, HEADER_BYTES))
        #: where the next record is expected, and its sequence number
        self.position = HEADER_BYTES
        self.due = 0
        #: the record that ends a snapshot was read
        self.complete = False
        if self.header:
            self.due = 1 if self.header.kind == SNAPSHOT else self.header.first

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._file.close()

    def read(self, offset: int, length: int) -> bytes:
        """Bytes of the file, fewer at its end."""
        start = offset - self._window_at
        if start < 0 or start + length > len(self._window):
            self._window = self._load(offset, max(length, _BLOCK))
            self._window_at, start = offset, 0
        return self._window[start : start + length]

    def _load(self, offset: int, length: int) -> bytes:
        self._file.seek(offset)
        loaded = self._file.read(min(length, self.size - offset)) if offset < self.size else b""
        while loaded and len(loaded) < min(length, self.size - offset):
            more = self._file.read(min(length, self.size - offset) - len(loaded))
            if not more:
                break  # it became shorter under our hands
            loaded += more
        return loaded

    # ── records ──────────────────────────────────────────────────────────────────────────────

    def records(self, mark: bytes, until: int | None = None) -> Iterator[bytes]:
        """Valid records from :attr:`position` on, up to the first thing that is none, or to the one before
        sequence number ``until``."""
        while self.due != until:
            data = self._data_at(self.position, mark, self.due)
            if data is None:
                return
            self.position += len(data) + FRAME_BYTES
            self.due += 1
            yield data

    def _data_at(self, offset: int, mark: bytes, due: int) -> bytes | None:
        head = self.read(offset, _RECORD.size)
        if len(head) < _RECORD.size:
            return None
        found_mark, length, sequence, crc = _RECORD.unpack(head)
        if found_mark != mark or sequence != due:
            return None
        if length == _END:
            self.complete = crc == zlib.crc32(head[8:20])
            return None
        if length > MAX_RECORD or offset + length + FRAME_BYTES > self.size:
            return None
        body = self.read(offset + _RECORD.size, length + 1)
        data = body[:length]
        if zlib.crc32(data, zlib.crc32(head[8:20])) != crc or body[length:] != _STOP:
            return None
        return data

    def ends_complete(self, mark: bytes) -> bool:
        """Whether a snapshot's last bytes say that it was written to its end."""
        offset = self.size - FRAME_BYTES
        tail = self.read(max(0, offset), FRAME_BYTES)
        if offset < HEADER_BYTES or len(tail) < FRAME_BYTES:
            return False
        return tail == frame_end(mark, _RECORD.unpack(tail[:-1])[2])

    # ── what is no record ────────────────────────────────────────────────────────────────────

    def is_blank(self, offset: int = 0) -> bool:
        """Whether nothing but zeros follows."""
        return self.written_end(offset) == offset

    def written_end(self, offset: int) -> int:
        """Where the zeros begin that go on to the end of the file; not before ``offset``."""
        end = offset
        for at in range(offset, self.size, _BLOCK):
            if block := self.read(at, _BLOCK).rstrip(b"\0"):
                end = at + len(block)
        return end

    def find_record(self, offset: int, mark: bytes, lowest: int) -> tuple[int, int] | None:
        """Offset and sequence number of the first valid record from there on, with at least that number."""
        at = offset
        while at < self.size:
            block = self.read(at, _BLOCK)
            found = block.find(mark)
            if found < 0:
                at += max(len(block) - len(mark) + 1, 1)
                continue
            at += found
            head = self.read(at, _RECORD.size)
            if len(head) == _RECORD.size:
                sequence = _RECORD.unpack(head)[2]
                if sequence >= lowest and self._data_at(at, mark, sequence) is not None:
                    return at, sequence
            at += 1
        return None

    def is_unfinished(self, offset: int, mark: bytes) -> bool:
        """Whether what lies there, with no valid record behind it, is a write that never came to its end.

        Of such a write a beginning is there and zeros follow; after a power failure sectors may be missing
        from its middle, too.  Anything else was whole once, and is damaged.
        """
        end = self.written_end(offset)
        head = self.read(offset, _RECORD.size)
        if mark.startswith(head[: end - offset]) or len(head) < _RECORD.size:
            return True
        found_mark, length, _, _ = _RECORD.unpack(head)
        if found_mark == mark and length <= MAX_RECORD:
            stop = offset + length + FRAME_BYTES
            if stop > self.size or self.read(stop - 1, 1) == b"\0":
                return True
            end = stop
        return self._misses_a_sector(offset, end)

    def _misses_a_sector(self, start: int, end: int) -> bool:
        at = start
        while at < end:
            stop = min(end, (at // _SECTOR + 1) * _SECTOR)
            if not self.read(at, stop - at).strip(b"\0"):
                return True
            at = stop
        return False
