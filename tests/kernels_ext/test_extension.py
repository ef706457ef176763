"""``%load_ext nbqueue`` and ``%unload_ext nbqueue``."""

import subprocess
import sys

from IPython.core.error import UsageError

import nbqueue
from nbqueue.wire import payload


def state(shell):
    """Everything in a shell that an extension may change."""
    return (
        {kind: set(magics) for kind, magics in shell.magics_manager.magics.items()},
        list(shell.ast_transformers),
        list(shell.input_transformers_cleanup),
        {event: list(callbacks) for event, callbacks in shell.events.callbacks.items()},
        list(shell.Completer.custom_matchers),
        shell.custom_exceptions,
    )


def test_unloading_takes_everything_out_again(shell):
    before = state(shell)
    nbqueue.load_ipython_extension(shell)
    assert state(shell) != before
    nbqueue.unload_ipython_extension(shell)
    assert state(shell) == before


def test_loading_twice_is_loading_once(cells):
    before = state(cells.shell)
    nbqueue.load_ipython_extension(cells.shell)
    assert state(cells.shell) == before


def test_who_shows_errors_in_a_way_of_their_own_goes_on_to_do_so(shell):
    theirs = (KeyError,)
    shell.set_custom_exc(theirs, None)
    try:
        nbqueue.load_ipython_extension(shell)
        assert shell.custom_exceptions is theirs
        nbqueue.unload_ipython_extension(shell)
        assert shell.custom_exceptions is theirs
    finally:
        shell.set_custom_exc((), None)


def test_it_can_be_loaded_and_unloaded_by_name(shell):
    assert shell.run_line_magic("load_ext", "nbqueue") is None
    assert shell.find_cell_magic("task") is not None
    shell.run_line_magic("unload_ext", "nbqueue")
    assert shell.find_cell_magic("task") is None
    assert isinstance(shell.run_cell("%%task\ndef f(): pass").error_in_exec, UsageError)


def test_cells_are_known_by_the_name_that_tracebacks_show(cells):
    cells.run("1")
    cells.run("def f(): pass")
    assert payload.shown_names[cells.namespace["f"].__code__.co_filename] == "Cell In[2]"


def test_the_cell_that_loads_the_extension_is_known_too(shell):
    shell.reset(new_session=True)
    shell.run_cell("%load_ext nbqueue\ndef f(): pass", store_history=True)
    try:
        assert payload.shown_names[shell.user_ns["f"].__code__.co_filename] == "Cell In[1]"
    finally:
        nbqueue.unload_ipython_extension(shell)


def test_loading_imports_no_widgets():
    heavy = {"ipywidgets", "anywidget", "redis", "tornado"}
    code = f"""
import sys
from IPython.testing.globalipapp import start_ipython
shell = start_ipython()
before = set(sys.modules)
shell.run_line_magic("load_ext", "nbqueue")
print(*{{name.partition(".")[0] for name in set(sys.modules) - before}} & {heavy})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
