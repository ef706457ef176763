"""All of nbqueue that lives inside of a Jupyter kernel: magics, widgets, display.

``%load_ext nbqueue`` calls :func:`load`.  Workers import one module of this package, ``cell_runner``; so
nothing of IPython is imported before a shell asks for it.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from kernels_ext.extension import Extension

_loaded: dict["InteractiveShell", "Extension"] = {}


def load(shell: "InteractiveShell") -> None:
    """Add magics, widgets and display to a shell; a second time does nothing."""
    from kernels_ext.extension import Extension  # imports IPython: see above

    if shell not in _loaded:
        _loaded[shell] = Extension(shell)
        _loaded[shell].load()


def unload(shell: "InteractiveShell") -> None:
    """Take out of a shell what :func:`load` has added."""
    extension = _loaded.pop(shell, None)
    if extension is not None:
        extension.unload()
