"""Errors that nbqueue raises in a cell: shown with the cell's own lines, and without ours that raised them.

A task that was cancelled has no lines that could be shown, and neither has a lost connection.  IPython
leaves out frames that are marked with ``__tracebackhide__``, but never the last one, which in such errors
is ours.  So it is cut off before the error is shown; ``%tb`` and ``%debug`` then begin at the cell, too.

A TypeError may be a bug of ours, whose lines should be seen.  It is the caller's, of a call that does not
fit its function, where the frame that raised it is marked.
"""

from collections.abc import Iterator
from itertools import takewhile
from types import TracebackType
from typing import TYPE_CHECKING

from nbqueue.exceptions import NBQueueError

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

_HANDLED = (NBQueueError, TypeError)
#: packages whose frames lead from a cell's line to the error; magics go through IPython
_BETWEEN = frozenset({"nbqueue", "kernels_ext", "IPython"})


def register(shell: "InteractiveShell") -> None:
    """Show our errors, unless somebody else has taken the shell's one place for that."""
    if not shell.custom_exceptions:
        shell.set_custom_exc(_HANDLED, _show)


def unregister(shell: "InteractiveShell") -> None:
    """Give the place back, if it is still ours."""
    if shell.custom_exceptions is _HANDLED:
        shell.set_custom_exc((), None)


def _show(
    shell: "InteractiveShell",
    kind: type[BaseException],
    error: BaseException,
    tb: TracebackType,
    tb_offset: int | None = None,
) -> None:
    entries = list(_entries(tb))
    if isinstance(error, NBQueueError) or _is_marked(entries[-1]):
        _cut(entries)
    shell.showtraceback((kind, error, tb), tb_offset=tb_offset)


def _cut(entries: list[TracebackType]) -> None:
    """End a traceback with the last entry that is the user's, if there is one."""
    ours = sum(1 for _ in takewhile(_is_between, reversed(entries)))
    if 0 < ours < len(entries):
        entries[-ours - 1].tb_next = None


def _is_marked(entry: TracebackType) -> bool:
    return _is_between(entry) and bool(entry.tb_frame.f_locals.get("__tracebackhide__"))


def _entries(tb: TracebackType | None) -> Iterator[TracebackType]:
    while tb is not None:
        yield tb
        tb = tb.tb_next


def _is_between(entry: TracebackType) -> bool:
    return str(entry.tb_frame.f_globals.get("__name__")).partition(".")[0] in _BETWEEN
