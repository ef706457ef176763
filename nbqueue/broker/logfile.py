"""One file of the journal: how turns lie in it, and how they are found again.

::

    file     header │ turn │ turn │ … │ zeros, as far as space was preallocated
    header   "nbqueue\\1" │ kind │ number │ first sequence number │ mark │ CRC-32          40 bytes
    turn     mark │ CRC-32 │ length │ sequence number │ data │ 0xFF                       25 bytes + data

A *turn* is what was written at once: all that changed in one turn of the broker, of one task or of hundreds;
in a snapshot, a portion of how things stood.

All numbers are little endian; a turn's CRC covers what follows it, without the last byte.

The *mark* is 8 random bytes of this journal, which no peer can know: nothing in the data of a task can be
taken for a turn.  Sequence numbers go on from turn to turn and from segment to segment, so that a hole
is seen.  A turn ends in a byte that is not zero: where writing stopped half-way there are zeros, for files
are new and never used twice.  That tells an unfinished write, which nobody was promised, from damage.

The last turn of a snapshot has the length 0xFFFFFFFF and no data: its sequence number is how many came
before it, and one more.
"""

import secrets
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple, Self

from nbqueue.broker.errors import FolderUnusable
from nbqueue.platform import Buffer

SEGMENT: Final = b"LOG\0"
SNAPSHOT: Final = b"SNAP"
#: Bytes of data that one turn may have.
MAX_TURN: Final = 1 << 31

_HEADER: Final = struct.Struct("<8s4sQQ8sI")
_TURN: Final = struct.Struct("<8sIIQ")
_COVERED: Final = struct.Struct("<IQ")
_UNCOVERED: Final = _TURN.size - _COVERED.size
_MAGIC: Final = b"nbqueue\1"
_STOP: Final = b"\xff"
_END: Final = 0xFFFFFFFF
HEADER_BYTES: Final = _HEADER.size
#: Bytes that a turn takes besides its data.
FRAME_BYTES: Final = _TURN.size + len(_STOP)

#: Bytes read at once.
_BLOCK: Final = 4 << 20
#: What cannot be read is passed over in pieces of this size.
_PAGE: Final = 4096
#: What a disk writes as a whole, or not at all.
_SECTOR: Final = 512


def new_mark() -> bytes:
    """The mark of a journal that begins."""
    return secrets.token_bytes(8)


class Header(NamedTuple):
    """What stands at the head of each file."""

    #: SEGMENT or SNAPSHOT
    kind: bytes
    #: its place among the segments; a snapshot has that of the segment that was appended to when it began
    number: int
    #: the sequence number of its first turn; in a snapshot, of the first turn that it does not replace
    first: int
    mark: bytes

    def encode(self) -> bytes:
        covered = _HEADER.pack(_MAGIC, *self, 0)[:-4]
        return covered + zlib.crc32(covered).to_bytes(4, "little")


def decode_header(raw: bytes) -> Header | None:
    """The header that begins a file; None if these bytes are none.

    Raises
    ------
    FolderUnusable
        It is one of another version of this format: not damaged, but not for us to read or repair.
    """
    if len(raw) < HEADER_BYTES:
        return None
    magic, *values, crc = _HEADER.unpack_from(raw)
    if crc != zlib.crc32(raw[: HEADER_BYTES - 4]):
        return None
    if magic != _MAGIC:
        raise FolderUnusable("the journal was written by another version of nbqueue: start that one")
    return Header(*values)


def frame(mark: bytes, sequence: int, data: Buffer | Sequence[Buffer]) -> tuple[list[Buffer], int]:
    """A turn as it is to be written, in parts, and how many bytes that is.

    Raises
    ------
    ValueError
        It is larger than a turn may be.
    """
    length = size_of(data)
    parts: list[Buffer] = [_octets(data)] if isinstance(data, Buffer) else [_octets(part) for part in data]
    crc = zlib.crc32(_COVERED.pack(length, sequence))
    for part in parts:
        crc = zlib.crc32(part, crc)
    return [_TURN.pack(mark, crc, length, sequence), *parts, _STOP], length + FRAME_BYTES


def size_of(data: Buffer | Sequence[Buffer]) -> int:
    """Bytes of a turn's data.

    Raises
    ------
    ValueError
        It is larger than a turn may be.
    """
    parts = [data] if isinstance(data, Buffer) else data
    length = sum(part.nbytes if isinstance(part, memoryview) else len(part) for part in parts)
    if length > MAX_TURN:
        raise ValueError(f"a turn of {length:,} bytes: {MAX_TURN:,} are allowed")
    return length


def frame_end(mark: bytes, sequence: int) -> bytes:
    """The turn that says that a snapshot is complete."""
    return _TURN.pack(mark, zlib.crc32(_COVERED.pack(_END, sequence)), _END, sequence) + _STOP


def _octets(part: Buffer) -> Buffer:
    """The same with a length in bytes: an array's memoryview counts numbers."""
    return part.cast("B") if isinstance(part, memoryview) and part.itemsize != 1 else part


class LogFile:
    """A file of the journal that is read; with ``skip_unreadable``, zeros stand for what cannot be read.

    Raises
    ------
    OSError
        It cannot be; so may every method.
    """

    def __init__(self, path: Path, *, skip_unreadable: bool = False) -> None:
        self.path = path
        self._skip_unreadable = skip_unreadable
        self._file = path.open("rb", buffering=0)
        self.size = self._file.seek(0, 2)
        # filled again and again: fresh memory for each block would cost more than reading it
        self._window = memoryview(b"")
        self._window_at = self._loaded = 0
        self._load(0, HEADER_BYTES)
        self.header = decode_header(bytes(self._window[: self._loaded]))
        #: where the next turn is expected, and its sequence number
        self.position = HEADER_BYTES
        self.due = 0
        #: the turn that ends a snapshot was read
        self.complete = False
        if self.header:
            self.due = 1 if self.header.kind == SNAPSHOT else self.header.first

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._file.close()

    def read(self, offset: int, length: int) -> bytes:
        """Bytes of the file, fewer at its end."""
        start = self._index(offset, length)
        return bytes(self._window[start : min(start + length, self._loaded)])

    def _index(self, offset: int, length: int) -> int:
        """Where in the window these bytes are, or as many of them as there are."""
        start = offset - self._window_at
        if start < 0 or start + length > self._loaded:
            self._load(offset, max(length, _BLOCK))
            start = 0
        return start

    def _load(self, offset: int, length: int) -> None:
        if len(self._window) < length:
            self._window = memoryview(bytearray(length))
        self._window_at, self._loaded = offset, 0
        length = min(length, max(0, self.size - offset))
        while self._loaded < length:
            read = self._fill(offset + self._loaded, self._window[self._loaded : length])
            if not read:
                break  # it became shorter under our hands
            self._loaded += read

    def _fill(self, offset: int, buffer: memoryview) -> int:
        self._file.seek(offset)
        try:
            return self._file.readinto(buffer) or 0
        except OSError:
            if not self._skip_unreadable:
                raise
            page = buffer[: _PAGE - offset % _PAGE]
            if len(page) < len(buffer):
                return self._fill(offset, page)
            buffer[:] = bytes(len(buffer))
            return len(buffer)

    # ── turns ────────────────────────────────────────────────────────────────────────────────

    def turns(self, mark: bytes, until: int | None = None) -> Iterator[bytes]:
        """Valid turns from :attr:`position` on, up to the first thing that is none, or to the one before
        sequence number ``until``."""
        while self.due != until:
            data = self._data_at(self.position, mark, self.due)
            if data is None:
                return
            self.position += len(data) + FRAME_BYTES
            self.due += 1
            yield data

    def _data_at(self, offset: int, mark: bytes, due: int) -> bytes | None:
        start = self._index(offset, _TURN.size)
        if start + _TURN.size > self._loaded:
            return None
        found_mark, crc, length, sequence = _TURN.unpack_from(self._window, start)
        if found_mark != mark or sequence != due:
            return None
        if length == _END:
            self.complete = self.read(offset, FRAME_BYTES) == frame_end(mark, due)
            return None
        if length > MAX_TURN or offset + length + FRAME_BYTES > self.size:
            return None
        start = self._index(offset, length + FRAME_BYTES)
        stop = start + length + FRAME_BYTES - 1
        if stop >= self._loaded or self._window[stop] != _STOP[0]:
            return None
        if zlib.crc32(self._window[start + _UNCOVERED : stop]) != crc:
            return None
        return bytes(self._window[start + _TURN.size : stop])

    def ends_complete(self, mark: bytes) -> bool:
        """Whether a snapshot's last bytes say that it was written to its end."""
        offset = self.size - FRAME_BYTES
        tail = self.read(max(0, offset), FRAME_BYTES)
        if offset < HEADER_BYTES or len(tail) < FRAME_BYTES:
            return False
        return tail == frame_end(mark, _TURN.unpack_from(tail)[3])

    # ── what is no turn ──────────────────────────────────────────────────────────────────────

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

    def find_turn(self, offset: int, mark: bytes, lowest: int) -> tuple[int, int] | None:
        """Offset and sequence number of the first valid turn from there on, with at least that number; it
        may be the one that ends a snapshot."""
        at = offset
        while at < self.size:
            block = self.read(at, _BLOCK)
            found = block.find(mark)
            if found < 0:
                at += max(len(block) - len(mark) + 1, 1)
                continue
            at += found
            head = self.read(at, _TURN.size)
            if len(head) == _TURN.size:
                sequence = _TURN.unpack(head)[3]
                if sequence >= lowest and (self._data_at(at, mark, sequence) is not None or self.complete):
                    return at, sequence
            at += 1
        return None

    def is_unfinished(self, offset: int, mark: bytes) -> bool:
        """Whether what lies there, with no valid turn behind it, is a write that never came to its end.

        Of such a write a beginning is there and zeros follow; after a power failure sectors may be missing
        from its middle, too.  Anything else was whole once, and is damaged.
        """
        end = self.written_end(offset)
        head = self.read(offset, _TURN.size)
        if mark.startswith(head[: end - offset]) or len(head) < _TURN.size:
            return True
        found_mark, _, length, _ = _TURN.unpack(head)
        if found_mark == mark and length <= MAX_TURN:
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
