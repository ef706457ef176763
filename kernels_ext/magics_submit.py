"""``%%submit``: the cell runs once on a worker, and the notebook goes on.

The body is analysed, not run: ``cells`` finds the names that it takes from the notebook, whose values
are pickled at once; so whatever the notebook does to them afterwards does not reach the worker.  What
happens there is told by ``cell_runner``, how names come back by ``outputs``.
"""

import ast
import keyword
from argparse import Namespace
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError
from IPython.core.magic import Magics, cell_magic, magics_class
from IPython.core.magic_arguments import argument, magic_arguments

import nbqueue
from kernels_ext import cells, options
from kernels_ext.cell_runner import Cell, expect, run_cell
from kernels_ext.outputs import Expected, Outputs
from kernels_ext.packing import pack
from nbqueue.exceptions import NBQueueError

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from nbqueue.client.result import AsyncResult


@magics_class
class SubmitMagics(Magics):
    """The magic ``%%submit``."""

    def __init__(self, shell: "InteractiveShell", outputs: Outputs) -> None:
        super().__init__(shell)
        self._outputs = outputs

    @magic_arguments()
    @argument(
        "-i",
        "--inputs",
        nargs="+",
        action="extend",
        metavar="NAME",
        help="take these along from the notebook, and nothing else; default: the names that the cell reads",
    )
    @argument(
        "-o",
        "--outputs",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME",
        help="set these in the notebook when the cell is done; until then they are unbound",
    )
    @argument("--name", metavar="LABEL", help="shown for the cell; default: its number")
    @options.common_arguments
    @cell_magic
    def submit(self, line: str, cell: str) -> "AsyncResult":
        """Run the cell once on a worker, and return its result at once.

        What the cell reads from the notebook goes along; the last expression is its value::

            %%submit -o model
            model = fit(data, rate=0.1)
            model.score(test)

        The AsyncResult that is shown is also ``_``: ``score = await _`` waits for it.  ``model`` is set
        when the cell is done.

        To run something again and again, or with other arguments, make it a function under ``%%task``.
        """
        args = options.parse(type(self).submit, line)
        source = self.shell.transform_cell(f"{f'%%submit {line}'.strip()!r}\n{cell}")
        return self._submit(args, source, f"%%submit {line}\n{cell}")

    def _submit(self, args: Namespace, source: str, raw_cell: str) -> "AsyncResult":
        number = cell_number(self.shell)
        label = f"Cell In[{number}]"
        filename = self.shell.compile.cache(source, number, raw_code=raw_cell)
        body = _parse(source, filename)
        values = self._inputs(args, body)
        names = _output_names(args, body, values)
        packed = pack(values, self.shell.user_ns, label)
        cell = Cell(source, filename, label, names, expect() if names else "")
        task = nbqueue.task(_run_cell_by_value(), **{"name": label, **options.task_options(args)})
        result: AsyncResult = task.delay(cell, packed)
        if names:
            self._outputs.expect(Expected(names, result, cell.ticket))
        return result

    def _inputs(self, args: Namespace, body: list[ast.stmt]) -> dict[str, Any]:
        namespace: Mapping[str, Any] = self.shell.user_ns
        if args.inputs is None:
            found = [name for name in cells.globals_read(body) if name in namespace]
            return {name: namespace[name] for name in found if not self._is_ipythons(name)}
        names = options.split_names(args.inputs)
        missing = [name for name in names if name not in namespace]
        if missing:
            raise UsageError(f"%%submit -i: the notebook has no {', '.join(missing)}")
        return {name: namespace[name] for name in names}

    def _is_ipythons(self, name: str) -> bool:
        """Whether a name is one of those that IPython itself keeps in the notebook, outputs aside."""
        hidden: Mapping[str, Any] = self.shell.user_ns_hidden
        is_output = not name.lstrip("_").strip("0123456789")
        return name in hidden and self.shell.user_ns[name] is hidden[name] and not is_output


def _run_cell_by_value() -> FunctionType:
    """``run_cell``, called by a function that travels by value as functions of notebooks do.

    So the cell goes only to workers of this Python version: there may be code in what it takes along.
    """

    def call(cell: Cell, packed: bytes) -> Any:
        return run_cell(cell, packed)

    # a file of ours, for tracebacks leave those out, but none whose source would go along
    code = call.__code__.replace(co_filename=str(Path(__file__).with_name("submitted cell")))
    return FunctionType(code, {"__name__": "__main__", "run_cell": run_cell}, "run_cell")


def cell_number(shell: "InteractiveShell") -> int:
    """The number of the cell that runs just now."""
    history = shell.history_manager
    # the counter is ahead of the running cell in some versions and not in others; the history never is
    return len(history.input_hist_raw) - 1 if history is not None else int(shell.execution_count)


def _parse(source: str, filename: str) -> list[ast.stmt]:
    """The statements of the body; what Python would refuse on the worker is refused here."""
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    try:
        compile(source, filename, "exec", flags, dont_inherit=True)
    except SyntaxError as error:
        raise _as_ours(error) from None
    tree = compile(source, filename, "exec", flags | ast.PyCF_ONLY_AST, dont_inherit=True)
    body: list[ast.stmt] = tree.body[1:]  # the first one stands in for the line of the magic
    magics = cells.calls_to(body, "get_ipython")
    if magics:
        raise UsageError(
            f"%%submit: line {magics[0]} is a magic or a shell command, and the worker has no IPython; "
            "use subprocess.run for commands"
        )
    return body


def _as_ours(error: SyntaxError) -> SyntaxError:
    """The same error as one of nbqueue's: shown without the lines that found it (``errors``)."""
    kind = type(error)  # or an IndentationError
    ours: SyntaxError = type(kind.__name__, (NBQueueError, kind), {})(*error.args)
    return ours


def _output_names(args: Namespace, body: list[ast.stmt], values: Iterable[str]) -> list[str]:
    names = options.split_names(args.outputs)
    for name in names:
        if not name.isidentifier() or keyword.iskeyword(name):
            raise UsageError(f"%%submit -o: {name!r} is not a name")
    missing = cells.never_bound(body, set(names) - set(values))
    if missing:
        raise UsageError(f"%%submit -o: the cell does not set {', '.join(sorted(missing))}")
    return names
