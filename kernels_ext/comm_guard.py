"""Buttons that work while a cell blocks.

JupyterLab sends what a page says to a widget over a *subshell*, a thread of the kernel that listens while
the main one runs a cell.  ipykernel 7.4 overrides that choice: each comm remembers the subshell in which
the kernel last spoke on it, which is the main one for a widget made in a cell, and sends the page's
messages there; so a click waits until the cell ends.  ipykernel 7.1 to 7.3 have no such method, and older
ones no subshells.
"""

from typing import Any

#: the method of ipykernel's Comm that answers which subshell hears a message; None: the one it came on
_ROUTE = "_reply_subshell_for"


def hear_while_busy(comm: Any) -> None:
    """Let the page's messages on this comm go where the page sent them.

    Handlers then run in another thread than cells do: they must only hand on what is asked.
    """
    if hasattr(comm, _ROUTE):
        setattr(comm, _ROUTE, None)
