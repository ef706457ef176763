"""What becomes of a cell on a worker: called here as a worker would."""

import linecache
import subprocess
import sys
import threading
import traceback
import types

import pytest

from kernels_ext import cell_runner
from kernels_ext.cell_runner import Cell
from kernels_ext.packing import pack, unpack
from nbqueue.exceptions import SerializationError
from nbqueue.wire import payload


@pytest.fixture
def notebook():
    """The namespace of a notebook."""
    return {"__name__": "__main__"}


def filename(source):
    return f"<cell {hash(source)}>"


def run(source, notebook, names=(), **cell):
    packed = pack({name: notebook[name] for name in names}, notebook, "In[1]")
    return cell_runner.run_cell(Cell(source, filename(source), "In[1]", **cell), packed)


def test_the_value_is_that_of_the_last_expression(notebook):
    assert run("x = 20\nx + 1", notebook) == 21


@pytest.mark.parametrize("source", ["x = 1", "def f(): pass", "", "for i in [1]: i"])
def test_without_a_last_expression_the_value_is_none(notebook, source):
    assert run(source, notebook) is None


def test_it_runs_as_main_with_the_values_that_came_along(notebook):
    notebook["k"] = 5
    assert run("(k, __name__)", notebook, ["k"]) == (5, "__main__")


def test_nothing_is_left_from_one_run_to_the_next(notebook):
    run("x = 1", notebook)
    assert run("'x' in globals()", notebook) is False


def test_functions_of_the_notebook_see_what_the_cell_sets(notebook):
    exec("k = 1\ndef f(): return k", notebook)
    assert run("before = f()\nk = 2\n(before, f())", notebook, ["f"]) == (1, 2)
    assert notebook["k"] == 1


def test_functions_of_the_cell_see_each_other_and_may_be_classes(notebook):
    source = "def a(): return b()\ndef b(): return C.x\nclass C: x = 3\na()"
    assert run(source, notebook) == 3


def test_modules_come_along_by_name(notebook):
    notebook["t"] = types
    assert run("t.__name__", notebook, ["t"]) == "types"


def test_await_works_at_top_level(notebook):
    assert run("import asyncio\nloop = asyncio.get_running_loop()\nawait asyncio.sleep(0, 4)", notebook) == 4


def test_an_error_has_the_line_of_the_cell(notebook):
    source = "'%%submit'\n\n1 / 0"
    with pytest.raises(ZeroDivisionError) as caught:
        run(source, notebook)
    last = traceback.extract_tb(caught.tb)[-1]
    assert (last.filename, last.lineno, last.line) == (filename(source), 3, "1 / 0")


def test_a_value_loads_as_itself_and_brings_names_to_whoever_expects_them(notebook):
    ticket = cell_runner.expect()
    value = run("a = 1\nb = 2\na + b", notebook, outputs=["a", "b"], ticket=ticket)
    assert payload.loads(payload.dumps_value(value)) == 3
    assert cell_runner.collect(ticket) == {"a": 1, "b": 2}
    assert cell_runner.collect(ticket) == {}


def test_names_that_nobody_expects_are_dropped(notebook):
    value = run("a = 1", notebook, outputs=["a"], ticket="elsewhere")
    assert payload.loads(payload.dumps_value(value)) is None
    assert cell_runner.collect("elsewhere") == {}


def test_a_name_that_was_not_set_is_an_error_that_names_it(notebook):
    with pytest.raises(NameError, match="did not set b, which"):
        run("a = 1\nif not a: b = 2", notebook, outputs=["a", "b"])


def test_what_was_taken_along_can_be_brought_back(notebook):
    notebook["rows"] = [2, 1]
    ticket = cell_runner.expect()
    payload.loads(
        payload.dumps_value(run("rows.sort()", notebook, ["rows"], outputs=["rows"], ticket=ticket))
    )
    assert cell_runner.collect(ticket) == {"rows": [1, 2]}


def test_sources_of_functions_come_along_for_tracebacks(notebook):
    lines = ["def f():\n", "    return 1 / 0\n"]
    linecache.cache["<another cell>"] = (1, None, lines, "<another cell>")
    exec(compile("".join(lines), "<another cell>", "exec"), notebook)
    packed = pack({"f": notebook["f"]}, notebook, "In[1]")
    del linecache.cache["<another cell>"]
    unpack(packed)
    assert linecache.getline("<another cell>", 2) == lines[1]


def test_what_cannot_be_packed_is_named(notebook):
    notebook |= {"fine": 1, "lock": threading.Lock()}
    with pytest.raises(SerializationError, match="'lock', which the cell reads, cannot be sent"):
        pack({"fine": 1, "lock": notebook["lock"]}, notebook, "In[1]")
    with pytest.raises(
        SerializationError, match=r"the global 'all'\[0\], which the cell reads, cannot be sent"
    ):
        pack({"all": [notebook["lock"]]}, notebook, "In[1]")


def test_a_worker_imports_nothing_of_jupyter_for_it():
    heavy = "{'IPython', 'ipywidgets', 'traitlets', 'tornado', 'asyncio'}"
    code = f"import sys, kernels_ext.cell_runner; print(*{heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
