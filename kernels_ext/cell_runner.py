"""Where a cell under ``%%submit`` runs: the function that workers call, and the way back of its names.

The cell's body runs as module-level code in a namespace of its own, made for this run and gone after it.
The notebook's functions that came along (``packing``) see that namespace as their globals: a cell that
sets ``K`` and calls a function that reads ``K`` works as it does in the notebook.

The task's value is the value of the last expression.  Names given by ``-o`` ride along with it: a
:class:`CellValue` unpickles to the value, and leaves the names in the hands of whoever expects them.

Workers import this module, so nothing of Jupyter is imported here.
"""

import ast
import inspect
import uuid
from collections.abc import Callable, Mapping, Sequence
from types import CodeType
from typing import Any, NamedTuple

from kernels_ext.packing import unpack
from nbqueue.wire import sources

_VALUE = "_nbqueue_value"
#: outputs of cells by ticket; None until they have come
_expected: dict[str, dict[str, Any] | None] = {}


class Cell(NamedTuple):
    """A cell to run on a worker."""

    source: str
    filename: str
    #: what people call it: "Cell In[3]"
    label: str
    #: names to bring back, and the ticket to bring them under
    outputs: Sequence[str] = ()
    ticket: str = ""


def run_cell(cell: Cell, packed: bytes) -> Any:
    """Run a cell with what was packed as its globals; its value is that of its last expression, or None.

    Raises
    ------
    NameError
        The cell did not set a name that it is to bring back.
    """
    namespace, values = unpack(packed)
    namespace.update(values)
    sources.remember({cell.filename: (cell.source, cell.label)})
    _execute(_compile(cell), namespace)
    value = namespace.pop(_VALUE, None)
    return CellValue(value, _outputs(cell, namespace), cell.ticket) if cell.outputs else value


class CellValue:
    """The value of a cell, with the names that it brings back; unpickles to the bare value."""

    def __init__(self, value: Any, outputs: dict[str, Any], ticket: str) -> None:
        self._parts = (value, outputs, ticket)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, dict[str, Any], str]]:
        return _receive, self._parts


def expect() -> str:
    """A ticket for the outputs of a cell that is about to be submitted; :func:`collect` ends it."""
    ticket = uuid.uuid4().hex
    _expected[ticket] = None
    return ticket


def collect(ticket: str) -> dict[str, Any]:
    """The outputs that came under a ticket, once."""
    return _expected.pop(ticket, None) or {}


def _receive(value: Any, outputs: dict[str, Any], ticket: str) -> Any:
    if ticket in _expected:
        _expected[ticket] = outputs
    return value


def _compile(cell: Cell) -> CodeType:
    """The cell as code that leaves the value of its last expression under a name of ours."""
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    tree = compile(cell.source, cell.filename, "exec", flags | ast.PyCF_ONLY_AST, dont_inherit=True)
    match tree.body:
        case [*_, ast.Expr() as last]:
            target = ast.copy_location(ast.Name(_VALUE, ast.Store()), last)
            tree.body[-1] = ast.copy_location(ast.Assign([target], last.value), last)
    code: CodeType = compile(tree, cell.filename, "exec", flags, dont_inherit=True)
    return code


def _execute(code: CodeType, namespace: dict[str, Any]) -> None:
    awaiting = eval(code, namespace)
    if code.co_flags & inspect.CO_COROUTINE:
        import asyncio  # few cells await, and a worker need not load it for the others

        asyncio.run(awaiting)


def _outputs(cell: Cell, namespace: Mapping[str, Any]) -> dict[str, Any]:
    missing = [name for name in cell.outputs if name not in namespace]
    if missing:
        listed = ", ".join(missing)
        raise NameError(f"the cell did not set {listed}, which it is to bring back (-o)", name=missing[0])
    return {name: namespace[name] for name in cell.outputs}
