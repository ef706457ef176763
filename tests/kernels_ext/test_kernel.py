"""The main job in a real kernel, against a local cluster of its own."""

import os
import re
import subprocess
import sys

import pytest

from tests.kernels_ext.kernel import Kernel


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """Folders of this test's own, so that it shares neither broker nor settings with anything else."""
    folder = tmp_path_factory.mktemp("nb")
    for name in ("run", "data"):
        (folder / name).mkdir(mode=0o700)
    here = {
        "NBQUEUE_RUNTIME_DIR": str(folder / "run"),
        "NBQUEUE_DATA_DIR": str(folder / "data"),
        "NBQUEUE_WORKERS": "1",
        "NBQUEUE_IDLE_TIMEOUT": "30",
        "IPYTHONDIR": str(folder / "ipython"),
        "JUPYTER_RUNTIME_DIR": str(folder / "jupyter"),
        "PYTHONPATH": os.pathsep.join([os.getcwd(), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep),
    }
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("NBQUEUE", "CELERY"))}
    yield {**kept, **here}
    stop = [sys.executable, "-m", "nbqueue", "stop"]
    subprocess.run(stop, env={**kept, **here}, check=False, timeout=60)


@pytest.fixture(scope="module")
def kernel(environment, tmp_path_factory):
    kernel = Kernel(tmp_path_factory.mktemp("notebook"), environment)
    kernel.run("%load_ext nbqueue")
    yield kernel
    kernel.close()


def test_loading_the_extension_is_fast(kernel):
    reply = kernel.run(
        "import time\nbegan = time.perf_counter()\n%reload_ext nbqueue\ntime.perf_counter() - began"
    )
    assert float(reply.value) < 0.3


def test_a_task_runs_there_with_what_the_notebook_has_at_the_call(kernel):
    kernel.run("%%task\nimport os\nK = 5\ndef f(x): return x * K, os.getpid()")
    assert kernel.value("f(2) == (10, os.getpid())") == "True"
    assert kernel.value("f.delay(2).get(30)[0]") == "10"
    kernel.run("K = 7")
    assert kernel.value("f.delay(2).get(30)[0], f.delay(2).get(30)[1] != os.getpid()") == "(14, True)"


def test_tasks_may_call_each_other_and_themselves(kernel):
    kernel.run("%%task\ndef double(x): return 2 * x\ndef fact(n): return n * fact(n - 1) if n else 1")
    kernel.run("%%task\ndef both(n): return double(n), fact(n)")
    assert kernel.value("both.delay(4).get(30)") == "(8, 24)"


def test_a_task_can_be_used_in_the_cell_that_defines_it(kernel):
    assert kernel.value("%%task\nasync def slow(x): return x + 1\nawait slow.delay(1)") == "2"


def test_a_remote_error_shows_the_cells_own_lines_and_nothing_of_ours(kernel):
    kernel.run("%%task\ndef bad(x):\n    # a comment\n    return 1 / x")
    reply = kernel.run("bad.delay(0).get(30)")
    assert "ZeroDivisionError: division by zero" in reply.traceback
    assert "----> 4     return 1 / x" in reply.traceback
    assert "in bad()" in reply.traceback
    assert "in task bad[" in reply.traceback
    assert "nbqueue/" not in reply.traceback


def test_a_remote_error_shows_the_same_way_when_awaited_and_afterwards(kernel):
    kernel.run("%%task\ndef worse(x):\n    return 1 / x")
    assert "----> 3     return 1 / x" in kernel.run("await worse.delay(0)").traceback
    reply = kernel.run("%tb")
    assert "----> 3     return 1 / x" in reply.traceback + reply.printed


def test_an_error_that_the_notebook_cannot_load_is_readable(kernel):
    kernel.run(
        "%%task\n"
        "def odd():\n"
        "    class Odd(Exception):\n"
        "        def __reduce__(self): raise TypeError('never')\n"
        "    raise Odd('strange')"
    )
    reply = kernel.run("odd.delay().get(30)")
    assert "strange" in reply.traceback
    assert "----> 5     raise Odd('strange')" in reply.traceback


@pytest.mark.parametrize(
    ("ending", "error"),
    [
        ("endless.cancel()\nendless.get(30)", "TaskRevokedError"),
        ("endless.get(0)", "TimeoutError"),
        ("type(endless)('nobody', endless.client).get()", "ResultNotFoundError"),
    ],
)
def test_an_error_of_nbqueue_itself_shows_the_cells_line_and_nothing_of_ours(kernel, ending, error):
    kernel.run("%%task\ndef sleep():\n    import time\n    time.sleep(30)")
    kernel.run("endless = sleep.delay()")
    for reply in (kernel.run(ending), kernel.run("%tb")):
        shown = reply.traceback + reply.printed
        assert f"{error}: " in shown
        assert f"----> {ending.count(chr(10)) + 1} {ending.splitlines()[-1]}" in shown
        assert "nbqueue/" not in shown
        assert "hidden" not in shown
    kernel.run("endless.cancel()")


def test_retries_run_a_task_again(kernel):
    kernel.run(
        "%%task again --retries 1 --bind\ndef again(self):\n"
        "    if not self.request.retries: raise OSError\n    return 'done'"
    )
    assert kernel.value("again.delay().get(30)") == "'done'"


def test_a_workflow_of_a_notebook_runs_there_and_is_shown(kernel):
    kernel.run("%%task\nclass Part:\n    def __init__(self, n): self.n = n\ndef part(n): return Part(n)")
    kernel.run("%%task\ndef whole(parts): return Part(sum(p.n for p in parts))\ndef n_of(p): return p.n")
    kernel.run("from nbqueue import group\nparts = group(part.s(n) for n in range(4))")
    kernel.run("r = (parts | whole.s() | n_of.s())()")
    assert kernel.value("r.get(30)") == "6"
    assert "part → whole → n_of ×6 " in kernel.value("r")
    assert kernel.value("r.graph()").splitlines()[-1].startswith("n_of[")
    assert "part ×4 " in kernel.value("r.parent.parent")


def test_a_task_of_a_notebook_may_become_a_workflow(kernel):
    kernel.run("%%task\ndef inc(x): return x + 1")
    kernel.run("import nbqueue")
    kernel.run("@nbqueue.task(bind=True)\ndef plan(self, n): self.replace(inc.s(n) | inc.s())")
    assert kernel.value("(plan.s(5) | inc.s()).delay().get(30)") == "8"


def test_a_submitted_cell_brings_its_value_and_its_names(kernel):
    kernel.run("K = 7\ndef plus(x): return x + K")
    reply = kernel.run("%%submit -o z\nK = 10\nz = plus(1)\nz * 2")
    assert "Cell In[" in reply.value
    assert kernel.value("value = await _\n(value, z, K)") == "(22, 11, 7)"


def test_names_of_a_submitted_cell_come_between_cells_only(kernel):
    kernel.run("late = 'old'")
    kernel.run(
        "%%submit -o late\nimport pathlib, time\n"
        "while not pathlib.Path('go').exists(): time.sleep(0.01)\nlate = 'new'"
    )
    seen = kernel.value("import pathlib\npathlib.Path('go').touch()\nr = _\nr.get(30)\n'late' in globals()")
    assert seen == "False"
    assert kernel.value("late") == "'new'"


def test_reading_a_name_too_early_is_explained(kernel):
    kernel.run("%%submit -o early --name slow\nimport time\ntime.sleep(30)\nearly = 1")
    reply = kernel.run("waiting = _\nearly")
    assert "NameError" in reply.traceback
    assert "early comes from a submitted cell that is not done" in reply.printed
    kernel.run("waiting.cancel()")


def test_an_error_in_a_submitted_cell_shows_its_lines_and_nothing_of_ours(kernel):
    kernel.run("%%task\ndef inner(x):\n    return 1 / x")
    kernel.run("%%submit\n\nx = 0\ninner(x)")
    reply = kernel.run("_.get(30)")
    assert "----> 4 inner(x)" in reply.traceback
    assert "----> 3     return 1 / x" in reply.traceback
    assert "kernels_ext" not in reply.traceback
    assert "nbqueue/" not in reply.traceback


def test_a_submitted_cell_can_print_and_report_progress(kernel):
    kernel.run("%%submit\nimport nbqueue\nfor i in nbqueue.progress(range(3)):\n    print('step', i)")
    assert kernel.value("r = _\nr.get(30)\nr.output") == "'step 0\\nstep 1\\nstep 2\\n'"


def test_what_cannot_travel_is_named_at_submission(kernel):
    kernel.run("import threading\nlock = threading.Lock()")
    reply = kernel.run("%%submit\nwith lock: pass")
    assert "SerializationError" in reply.traceback
    assert "'lock', which the cell reads" in reply.traceback


def test_an_error_of_a_magic_shows_the_cells_line_and_not_how_magics_are_called(kernel):
    reply = kernel.run(
        "import threading\nlock = threading.Lock()\nget_ipython().run_cell_magic('submit', '', 'lock')"
    )
    assert "----> 3 get_ipython().run_cell_magic" in reply.traceback
    assert "magics_submit" not in reply.traceback
    assert "interactiveshell" not in reply.traceback


@pytest.mark.parametrize(
    "call",
    ["two.delay()", "two.map(1)", "two.starmap([1])", "two.apply_async(quue='x')", "two.apply_async(5)"],
)
def test_a_call_that_does_not_fit_shows_the_cells_line_and_nothing_of_ours(kernel, call):
    kernel.run("%%task\ndef two(x, y): return x")
    for reply in (kernel.run(f"# first\n{call}"), kernel.run("%tb")):
        shown = reply.traceback + reply.printed
        assert "TypeError: " in shown
        assert f"----> 2 {call}" in shown
        assert "nbqueue/" not in shown
        assert "hidden" not in shown


def test_a_type_error_of_the_notebook_or_of_the_library_shows_all_its_lines(kernel):
    reply = kernel.run("import textwrap\ndef mine(x): return 1 + textwrap.dedent(x)\nmine(3)")
    assert "----> 2 def mine" in reply.traceback
    assert "----> 3 mine(3)" in reply.traceback
    assert "textwrap.py" in reply.traceback


@pytest.mark.parametrize("body", ["x = 1\ny = = x", "x = 1\n  y = 2"])
def test_a_submitted_cell_that_does_not_compile_is_shown_as_any_other(kernel, body):
    submitted = kernel.run(f"%%submit -o y\n{body}").traceback
    plain = kernel.run(f"'a line'\n{body}").traceback
    assert re.sub(r"In\[\d+\]", "In[]", submitted) == re.sub(r"In\[\d+\]", "In[]", plain)
    assert "line 3" in submitted


def test_what_compiles_as_no_module_is_shown_with_its_line_alone(kernel):
    shown = kernel.run("%%submit\nz = 1\nreturn z").traceback
    assert "SyntaxError: 'return' outside function" in shown
    assert "return z" in shown
    assert ".py" not in shown


def test_a_syntax_error_of_running_code_shows_its_lines(kernel):
    reply = kernel.run("def run(text): return eval(text)\nrun('1 +')")
    assert "run('1 +')" in reply.traceback
    assert "return eval(text)" in reply.traceback
    assert "SyntaxError" in reply.traceback


def test_misuse_is_told_in_one_line(kernel):
    reply = kernel.run("%%task\nx = 1")
    assert reply.printed.startswith("UsageError: %%task")
    assert "%%submit" in reply.printed


def test_options_are_completed_and_help_is_shown(kernel):
    assert kernel.complete("%%task --ret", 12) == ["--retries"]
    assert "--outputs" in kernel.complete("%%submit --o\nx = 1", 12)
    assert "train.delay(0.1)" in kernel.inspect("%%task")
