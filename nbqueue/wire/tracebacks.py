"""Tracebacks as text and as frames, and traceback objects made of such frames elsewhere.

A rebuilt traceback consists of real frames with the names, files and lines of the worker's, so that
Python, IPython and debuggers show it as their own; their locals stayed behind.
"""

import linecache
import os
import traceback
from collections.abc import Iterable, Iterator
from types import CodeType, TracebackType

from nbqueue.messages import Frame
from nbqueue.wire.sources import shown_names

#: frames past which the middle of a traceback is left out
_MOST_FRAMES = 100
#: characters of text, likewise
_LONGEST_TEXT = 100_000
#: the folders of the two packages: kernels_ext runs the cells of %%submit
_HOME = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_OURS = tuple(os.path.join(_HOME, package, "") for package in ("nbqueue", "kernels_ext"))
#: in the globals of frames that are rebuilt
_REMOTE = "__nbqueue_remote__"


# ── taking one down ──────────────────────────────────────────────────────────────────────────────


def frames_of(tb: TracebackType | None) -> list[Frame]:
    """The frames of a traceback, without those of nbqueue, which call the task, or one task in another."""
    entries = [entry for entry in _entries(tb) if not _is_ours(entry.tb_frame.f_code.co_filename)]
    half = _MOST_FRAMES // 2
    if len(entries) > _MOST_FRAMES:
        entries = entries[:half] + entries[-half:]
    return [_frame(entry) for entry in entries]


def text_of(exc: BaseException, *, chain: bool = True) -> str:
    """The traceback as Python prints it, cells by the names that people know them by."""
    report = traceback.TracebackException(type(exc), exc, exc.__traceback__, compact=True)
    for each in _chained(report):
        _shorten(each.stack)
    text = "".join(report.format(chain=chain))
    for filename, shown in shown_names.items():
        text = text.replace(f'File "{filename}"', shown)
    half = _LONGEST_TEXT // 2
    return text if len(text) <= _LONGEST_TEXT else f"{text[:half]}\n[…]\n{text[-half:]}"


def _is_ours(filename: str) -> bool:
    return filename.startswith(_OURS)


def _entries(tb: TracebackType | None) -> Iterator[TracebackType]:
    while tb is not None:
        yield tb
        tb = tb.tb_next


def _frame(entry: TracebackType) -> Frame:
    frame, code = entry.tb_frame, entry.tb_frame.f_code
    # the type stubs do not say so, but an instruction may have no line
    lineno = entry.tb_lineno or code.co_firstlineno
    return Frame(
        filename=code.co_filename,
        lineno=lineno,
        name=code.co_name,
        qualname=code.co_qualname,
        firstlineno=code.co_firstlineno,
        line=linecache.getline(code.co_filename, lineno, frame.f_globals).rstrip("\n"),
    )


def _chained(report: traceback.TracebackException) -> Iterator[traceback.TracebackException]:
    """An exception's report, with those of its causes and of the members of groups."""
    pending = [report]
    while pending:
        each = pending.pop()
        yield each
        inner = (each.__cause__, each.__context__, *(each.exceptions or ()))
        pending += [other for other in inner if other is not None]


def _shorten(stack: traceback.StackSummary) -> None:
    stack[:] = [each for each in stack if not _is_ours(each.filename)] or stack
    excess = len(stack) - _MOST_FRAMES
    if excess > 0:
        half = _MOST_FRAMES // 2
        stack[half:-half] = [traceback.FrameSummary(f"[{excess} frames left out]", 0, "…", line="")]


# ── building one ─────────────────────────────────────────────────────────────────────────────────


def build(frames: Iterable[Frame]) -> TracebackType | None:
    """A traceback that looks like the one that the frames were taken from."""
    tb: TracebackType | None = None
    for frame in reversed(list(frames)):
        entry = _entry(frame)
        tb = TracebackType(tb, entry.tb_frame, entry.tb_lasti, frame.lineno)
    return tb


def _entry(frame: Frame) -> TracebackType:
    """A traceback of one real frame, made by raising from code of the frame's names."""
    try:
        exec(_code(frame), {"__name__": frame.filename, "__here__": _Here, _REMOTE: True})
    except _Here as here:
        tb = here.__traceback__
    if tb is None or tb.tb_next is None:
        raise AssertionError("the code raised above")
    return tb.tb_next


def remote_part(tb: TracebackType | None) -> TracebackType | None:
    """The rebuilt part of a traceback, without the local frames that raising it again has put before."""
    while tb is not None and _REMOTE not in tb.tb_frame.f_globals:
        tb = tb.tb_next
    return tb


class _Here(Exception):
    """Raised by a frame that is wanted for a traceback."""


_RAISE = compile("raise __here__", "", "exec")


def _code(frame: Frame) -> CodeType:
    return _RAISE.replace(
        co_filename=frame.filename,
        co_name=frame.name,
        co_qualname=frame.qualname,
        co_firstlineno=frame.firstlineno,
        co_linetable=_one_line(frame.lineno - frame.firstlineno, len(_RAISE.co_code) // 2),
    )


def _one_line(delta: int, units: int) -> bytes:
    """A location table that puts all instructions on one line, without columns (which nobody knows here).

    Format: CPython, Objects/locations.md (3.11 and later).
    """
    table = b""
    while units > 0:
        length = min(units, 8)
        table += bytes([0x80 | 13 << 3 | length - 1]) + _signed_varint(delta)
        units, delta = units - length, 0
    return table


def _signed_varint(value: int) -> bytes:
    rest = value << 1 if value >= 0 else (-value << 1) | 1
    chunks = []
    while rest >= 0x40:
        chunks.append(0x40 | rest & 0x3F)
        rest >>= 6
    return bytes([*chunks, rest])
