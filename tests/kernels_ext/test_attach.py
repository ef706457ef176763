"""A kernel that is killed, and the next one, which finds everything as if nothing had happened."""

import json
import os
import subprocess
import sys

import pytest

from tests.kernels_ext.kernel import Kernel

TASKS = """%%task
import time

def good(x):
    for i in nbqueue.progress(range(x), total=x):
        print("step", i)
        time.sleep(0.05)
    return [x] * 3

def bad(x):
    print("about to fail")
    return 1 / x

def long():
    for i in nbqueue.progress(range(40)):
        print("step", i)
        time.sleep(0.1)
    return "long"
"""
#: what there is to see of a result, as text
LOOK = """
import json
def look(result):
    progress = result.progress
    progress = progress and [progress.current, progress.total]
    return [result.id, result.name, result.state, result.output, progress]
"""


@pytest.fixture
def environment(tmp_path):
    """A local cluster of this test's own."""
    (tmp_path / "run").mkdir(mode=0o700)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("NBQUEUE", "CELERY"))}
    here = {
        "NBQUEUE_RUNTIME_DIR": str(tmp_path / "run"),
        "NBQUEUE_DATA_DIR": str(tmp_path / "data"),
        "NBQUEUE_WORKERS": "2",
        "IPYTHONDIR": str(tmp_path / "ipython"),
        "JUPYTER_RUNTIME_DIR": str(tmp_path / "jupyter"),
        "PYTHONPATH": os.pathsep.join([os.getcwd(), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep),
    }
    yield {**kept, **here}
    stop = [sys.executable, "-m", "nbqueue", "stop"]
    subprocess.run(stop, env={**kept, **here}, check=False, timeout=60, capture_output=True)


@pytest.fixture
def start(environment, tmp_path):
    kernels = []

    def start(notebook="one.ipynb"):
        # as Jupyter's server names it
        kernel = Kernel(tmp_path, {**environment, "JPY_SESSION_NAME": str(tmp_path / notebook)})
        kernels.append(kernel)
        kernel.run("%load_ext nbqueue\nimport nbqueue")
        kernel.run(LOOK)
        return kernel

    yield start
    for kernel in kernels:
        kernel.close()


def looked(kernel, expression):
    return json.loads(kernel.run(f"print(json.dumps({expression}))").printed)


def test_a_killed_kernels_tasks_are_found_as_if_nothing_had_happened(start):
    first = start()
    first.run(TASKS)
    first.run("g, b, m = good.delay(4), bad.delay(0), good.map([1, 2, 3])\nm.get(30), g.get(30)")
    traceback = first.run("b.get(30)").traceback
    before = looked(first, "[look(r) for r in [g, b, *m]]")
    first.run("l = long.delay()\nwhile not l.progress: time.sleep(0.01)")
    first.kill()

    second = start()
    shown = second.run("cluster = nbqueue.attach()\ncluster").value
    assert "<Cluster at zmq://" in shown
    assert [
        word for word in ("good  SUCCESS", "bad  FAILURE", "good ×3", "long  STARTED") if word not in shown
    ] == []

    second.run("g, b, *m, l = cluster.results()\nfor r in (g, b, *m): r.ready()")
    assert looked(second, "[look(r) for r in [g, b, *m]]") == before
    assert (
        second.value("g.get(30), [r.get(30) for r in m]") == "([4, 4, 4], [[1, 1, 1], [2, 2, 2], [3, 3, 3]])"
    )
    assert lines_of(second.run("b.get(30)").traceback) == lines_of(traceback)
    assert second.value("l.get(30)") == "'long'"
    assert second.value("l.output == ''.join(f'step {i}\\n' for i in range(40))") == "True"
    assert second.value("[len(group) for group in cluster.groups()]") == "[3]"


def test_a_notebook_finds_its_own_tasks_and_those_that_they_sent(start):
    first, other = start("one.ipynb"), start("other.ipynb")
    for kernel in (first, other):
        kernel.run("%%task\ndef leaf():\n    return 1\n\ndef parent():\n    return leaf.delay().id")
        kernel.run("p = parent.delay(); p.get(30)")
    first.kill()
    again = start("one.ipynb")
    again.run("cluster = nbqueue.attach()")
    assert again.value("[r.name for r in cluster.results()]") == "['parent', 'leaf']"
    assert again.value("len(cluster.results(everywhere=True))") == "4"
    assert again.value("len(cluster.newest())") == "2"


def lines_of(traceback):
    """Without the line of the cell that asked, whose number differs."""
    return [line for line in traceback.splitlines() if "Cell In[" not in line or "in bad" in line]
