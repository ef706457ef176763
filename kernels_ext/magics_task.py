"""``%%task``: the cell runs in the notebook as written, and its functions become tasks.

As written means: the lines of tracebacks, ``await`` at top level, the value of the last line and
whatever else a cell can do are IPython's own doing.  So the cell is not run from inside of a magic.  It
takes part in IPython's own way of a cell, at two points:

1. an *input transformer* turns the first line into a string, ``'%%task f --queue gpu'``, which Python
   passes over; line numbers stay;
2. an *AST transformer* sees that string, takes it out, and puts ``@nbqueue.task(queue='gpu')`` on the
   functions.

What is wrong with the options or the names becomes a cell that does nothing but raise ``UsageError``.
The magic of that name gives ``%%task?`` and runs cells that do not come that way, such as those of a
notebook exported as a script.
"""

import ast
import re
from argparse import Namespace
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError
from IPython.core.magic import Magics, cell_magic, magics_class, no_var_expand
from IPython.core.magic_arguments import argument, magic_arguments

from kernels_ext import cells, options

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

_FIRST_LINE = re.compile(r"%%task(?:[ \t]+(?P<options>.*))?\s*$")


class MarkTaskCells:
    """The input transformer: the line of ``%%task`` becomes a string that the AST transformer recognizes."""

    #: keeps it out of the check whether a cell is complete: a terminal ends cell magics at an empty line
    has_side_effects = True

    def __call__(self, lines: list[str]) -> list[str]:
        if not lines or not _FIRST_LINE.match(lines[0]) or _is_empty_or_magic(lines[1:]):
            return lines
        return [repr(lines[0].rstrip()) + "\n", *lines[1:]]


class DecorateTaskCells:
    """The AST transformer: the functions of a marked cell are decorated with ``nbqueue.task``."""

    def __init__(self, shell: "InteractiveShell") -> None:
        self._shell = shell

    def visit(self, tree: ast.AST) -> ast.AST:
        line = _marked(tree)
        if line is None or not isinstance(tree, ast.Module):
            return tree
        del tree.body[0]
        try:
            _decorate(tree, options.parse(TaskMagics.task, self._shell.var_expand(line)))
        except UsageError as error:
            return _raising(error)
        return tree


@magics_class
class TaskMagics(Magics):
    """The magic ``%%task``."""

    @no_var_expand
    @magic_arguments()
    @argument("names", nargs="*", help="functions that become tasks; all of the cell's when none is named")
    @argument(
        "--bind", action="store_true", help="the functions get the running task as first argument, self"
    )
    @argument("--name", metavar="NAME", help="name of the task, for one function; default: the function's")
    @argument(
        "--retries",
        metavar="N",
        type=options.natural,
        help="run a task that raised again, up to N times, after up to 1, 2, 4, … seconds",
    )
    @argument("--rate-limit", metavar="R", help="starts over all workers, evenly spaced: 10/m")
    @options.common_arguments
    @cell_magic
    def task(self, line: str, cell: str) -> None:
        """Run the cell here, and make the functions that it defines into tasks.

        Each function at top level becomes a task of its name::

            %%task --queue gpu --retries 2
            def train(rate):
                return fit(data, rate)

        ``train(0.1)`` runs here, ``train.delay(0.1)`` on a worker, and ``train.map([0.1, 0.2])`` once for
        each item.  What the function uses from the notebook is as it is at each of these calls.

        ``%%task train`` makes only that function a task.  A cell without functions runs on a worker as
        a whole with ``%%submit``.
        """
        if _is_empty_or_magic(cell.splitlines()):
            raise UsageError("%%task stands below other cell magics: put its line after theirs")
        _run(self.shell, f"%%task {line}\n{cell}")


def _is_empty_or_magic(body: list[str]) -> bool:
    text = "".join(body).lstrip()
    return not text or text.startswith("%%")


def _marked(tree: ast.AST) -> str | None:
    """The options of a marked cell, None for any other one."""
    match tree:
        case ast.Module(body=[ast.Expr(value=ast.Constant(value=str(text), lineno=1, col_offset=0)), *_]):
            found = _FIRST_LINE.match(text)
            return found and (found["options"] or "")
    return None


def _decorate(tree: ast.Module, args: Namespace) -> None:
    defined = cells.functions(tree)
    names = options.split_names(args.names)
    _check(defined, names, args)
    call = ", ".join(f"{option}={text}" for option, text in _sources(args).items())
    decorator = ast.parse(f"__import__('nbqueue').task({call})", mode="eval").body
    cells.decorate(tree, names or defined, decorator)


def _check(defined: list[str], names: list[str], args: Namespace) -> None:
    if not defined:
        raise UsageError(
            "%%task makes tasks of the functions that a cell defines, and this one has none at top level; "
            "%%submit runs the cell itself on a worker"
        )
    unknown = [name for name in names if name not in defined]
    if unknown:
        listed = f"{', '.join(unknown)}; it defines {', '.join(defined)}"
        raise UsageError(f"%%task: the cell defines no function {listed}")
    if args.bind and not names:
        raise UsageError(
            "%%task --bind: name the functions that take the running task as their first argument, "
            f"such as %%task {defined[0]} --bind"
        )
    if args.name and len(names or defined) > 1:
        raise UsageError("%%task --name is for one function; say which: %%task FUNCTION --name NAME")


def _sources(args: Namespace) -> dict[str, str]:
    """The arguments of the decorator, as source."""
    given: dict[str, Any] = options.task_options(args)
    if args.bind:
        given["bind"] = True
    if args.retries is not None:
        given["retries"] = args.retries
    if args.rate_limit is not None:
        given["rate_limit"] = args.rate_limit
    return {option: repr(value) for option, value in given.items()}


def _raising(error: UsageError) -> ast.Module:
    return ast.parse(f"raise __import__('IPython.core.error', fromlist=['*']).UsageError({str(error)!r})")


def _run(shell: "InteractiveShell", raw_cell: str) -> None:
    """Run a cell in the notebook's namespace from inside of a magic; its exceptions are the caller's."""
    source = shell.transform_cell(raw_cell)
    filename = shell.compile.cache(source, shell.execution_count, raw_code=raw_cell)
    tree = shell.transform_ast(shell.compile.ast_parse(source, filename))
    *body, last = tree.body
    exec(shell.compile(ast.Module(body, []), filename, "exec"), shell.user_ns)
    exec(shell.compile(ast.Interactive([last]), filename, "single"), shell.user_ns)
