"""An unmodified ``tqdm`` inside of a task moves the task's progress instead of printing bars.

tqdm is not needed and not imported: it is changed when a task imports it.  ``display`` is what tqdm
means to be overridden; in a task it passes the numbers on, of the outermost bar only.  In an executor
process ``tqdm.notebook``, whose bars are widgets of a kernel that is not there, is plain tqdm.
"""

import importlib
import importlib.machinery
import sys
import weakref
from collections.abc import Sequence
from types import ModuleType
from typing import Any, Final

from nbqueue.worker.context import current
from nbqueue.worker.output import TaskStream

_STD: Final = "tqdm.std"
_NOTEBOOK: Final = "tqdm.notebook"
#: which of tqdm's arguments ``file`` is
_FILE: Final = 4


def install(*, notebook: bool) -> None:
    """Change tqdm when it is imported, or now if it was; ``notebook``: tqdm.notebook too."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder(notebook=notebook))
    if _STD in sys.modules:
        _change(sys.modules[_STD])


class _Finder:
    """Finds the two modules as everybody would, and changes what loads them.

    Finder and loaders are so by their methods: the base classes in importlib.abc are slow to import.
    """

    def __init__(self, *, notebook: bool) -> None:
        self._notebook = notebook

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name == _NOTEBOOK and self._notebook:
            return importlib.machinery.ModuleSpec(name, _NotebookLoader())  # type: ignore[arg-type]  # see above
        if name != _STD:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _StdLoader(spec.loader)  # type: ignore[assignment]  # see above
        return spec


class _StdLoader:
    """Loads ``tqdm.std`` and changes it."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)  # type: ignore[no-any-return]  # any loader

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        _change(module)


class _NotebookLoader:
    """Makes a ``tqdm.notebook`` out of ``tqdm.std``."""

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> None:
        """The import system makes an empty one."""

    def exec_module(self, module: ModuleType) -> None:
        std: Any = importlib.import_module(_STD)
        names = {"tqdm": std.tqdm, "tqdm_notebook": std.tqdm, "trange": std.trange, "tnrange": std.trange}
        vars(module).update(names, __all__=list(names))


class _NoTerminal:
    """Where bars that report do not print."""

    encoding = "utf-8"

    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None:
        """Nothing waits here."""

    def isatty(self) -> bool:
        # or disable=None would turn the bar off
        return True


def _change(std: ModuleType) -> None:
    bar: Any = vars(std)["tqdm"]
    if hasattr(bar, "_nbqueue_init"):
        return
    bar._nbqueue_init, bar.__init__ = bar.__init__, _init
    bar._nbqueue_display, bar.display = bar.display, _display
    bar._nbqueue_close, bar.close = bar.close, _close
    bar._nbqueue_reports = None


def _init(self: Any, *args: Any, **kwargs: Any) -> None:
    context = current()
    if context is not None:
        self._nbqueue_reports = context.reports
        self._nbqueue_self = weakref.ref(self)
        if len(args) > _FILE:
            args = (*args[:_FILE], _muted(args[_FILE]), *args[_FILE + 1 :])
        else:
            kwargs["file"] = _muted(kwargs.get("file"))
    self._nbqueue_init(*args, **kwargs)


def _muted(file: Any) -> Any:
    """Where a bar may print: a file that the task has opened for it, or nowhere."""
    return _NoTerminal() if file is None or isinstance(file, TaskStream) else file


def _display(self: Any, msg: str | None = None, pos: int | None = None) -> Any:
    reports = self._nbqueue_reports
    if reports is None:
        return self._nbqueue_display(msg, pos)
    if reports.claim(self._nbqueue_self):
        reports.show(self.n, self.total, self.desc.removesuffix(": "))
    return True


def _close(self: Any) -> None:
    self._nbqueue_close()
    if self._nbqueue_reports is not None:
        self._nbqueue_reports.release(self._nbqueue_self)
