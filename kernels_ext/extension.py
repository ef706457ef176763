"""What ``%load_ext nbqueue`` puts into a shell, and ``%unload_ext nbqueue`` takes out again.

Besides magics and widgets there are two lines of glue: each run of a cell starts a new *epoch* of captured
values (``wire.payload`` compares large ones once an epoch), and each cell is known by the name that
tracebacks show ("Cell In[3]").
"""

import os
from typing import TYPE_CHECKING

from kernels_ext import cell_names, completion, errors, widgets
from kernels_ext.magics_submit import SubmitMagics, cell_number
from kernels_ext.magics_task import DecorateTaskCells, MarkTaskCells, TaskMagics
from kernels_ext.outputs import Outputs
from nbqueue import current
from nbqueue.wire import payload

if TYPE_CHECKING:
    from IPython.core.interactiveshell import ExecutionInfo, InteractiveShell


class Extension:
    """One shell's share of nbqueue."""

    def __init__(self, shell: "InteractiveShell") -> None:
        self._shell = shell
        self._outputs = Outputs(shell)
        self._mark = MarkTaskCells()
        self._decorate = DecorateTaskCells(shell)
        self._matcher = completion.matcher(shell)
        self._events = (
            ("pre_run_cell", self._before_cell),
            ("pre_run_cell", self._outputs.before_cell),
            ("post_run_cell", self._outputs.after_cell),
        )

    def load(self) -> None:
        shell = self._shell
        shell.register_magics(TaskMagics(shell), SubmitMagics(shell, self._outputs))
        shell.input_transformers_cleanup.append(self._mark)
        shell.ast_transformers.append(self._decorate)
        for event, callback in self._events:
            shell.events.register(event, callback)
        shell.Completer.custom_matchers.append(self._matcher)
        errors.register(shell)
        cell_names.register(shell)
        widgets.register(shell)
        current.notebook = _notebook(shell)
        self._name_loading_cell()

    def unload(self) -> None:
        shell = self._shell
        widgets.unregister(shell)
        cell_names.unregister(shell)
        errors.unregister(shell)
        shell.Completer.custom_matchers.remove(self._matcher)
        for event, callback in self._events:
            shell.events.unregister(event, callback)
        shell.ast_transformers.remove(self._decorate)
        shell.input_transformers_cleanup.remove(self._mark)
        for magic in ("task", "submit"):
            shell.magics_manager.magics["cell"].pop(magic, None)

    def _before_cell(self, info: "ExecutionInfo") -> None:
        payload.new_epoch()
        number = cell_number(self._shell) + bool(info.store_history)  # it is not in the history yet
        self._name_cell(info.raw_cell, info.transformed_cell, number)

    def _name_loading_cell(self) -> None:
        """The cell that loads the extension may define tasks, too."""
        history = self._shell.history_manager
        if history is not None:
            raw_cell = history.input_hist_raw[-1]
            self._name_cell(raw_cell, self._shell.transform_cell(raw_cell), cell_number(self._shell))

    def _name_cell(self, raw_cell: str, transformed_cell: str, number: int) -> None:
        filename = self._shell.compile.get_code_name(raw_cell, transformed_cell, number)
        payload.shown_names[filename] = f"Cell In[{number}]"


def _notebook(shell: "InteractiveShell") -> str:
    """The path of the notebook whose kernel this is, as Jupyter's server or VS Code says it, "" otherwise."""
    return os.environ.get("JPY_SESSION_NAME") or str(shell.user_ns.get("__vsc_ipynb_file__", ""))
