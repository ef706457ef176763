"""Names of cells in tracebacks: "Cell In[3]", also for a cell that was run before the kernel was restarted.

IPython knows the cells of its own session.  Those of tasks that came from elsewhere are known by what
travelled with them (``wire.sources.shown_names``); other names are left to IPython.
"""

from typing import TYPE_CHECKING

from nbqueue.wire.sources import shown_names

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell


def register(shell: "InteractiveShell") -> None:
    """Have this shell ask us for names that it does not know."""
    own = type(shell.compile).format_code_name

    def format_code_name(name: str) -> tuple[str, str] | None:
        return own(shell.compile, name) or _foreign(name)

    shell.compile.format_code_name = format_code_name


def unregister(shell: "InteractiveShell") -> None:
    """Have it ask itself only."""
    vars(shell.compile).pop("format_code_name", None)


def _foreign(name: str) -> tuple[str, str] | None:
    label, _, number = shown_names.get(name, "").partition(" ")
    return (label, number) if label == "Cell" else None
