"""tqdm inside of a task; each test in a process of its own, since modules are changed."""

import subprocess
import sys
import textwrap

import pytest

SETUP = """
import sys
import msgspec
from nbqueue.messages import Assignment, Task
from nbqueue.worker import context, output, tqdm as hook
from nbqueue.worker.reports import Reports
hook.install(notebook=True)
current = context.TaskContext(Assignment(Task("id", "f", "", b""), 1), Reports("id", 1), "w")
output.capture(context.output_buffer)
def enter(): context.enter(current, whole_process=True)
def leave(): context.enter(None, whole_process=True)
def told(): return [m[2:] for m in map(msgspec.structs.astuple, current.reports.collect()) if len(m) == 5]
"""


def run(code):
    done = subprocess.run(
        [sys.executable, "-c", SETUP + textwrap.dedent(code)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done


def test_tqdm_is_not_imported_for_it():
    run("assert 'tqdm' not in sys.modules")


@pytest.mark.parametrize("module", ["tqdm", "tqdm.std", "tqdm.auto", "tqdm.notebook", "tqdm.autonotebook"])
def test_a_bar_reports_and_does_not_print(module):
    run(f"""
        enter()
        from {module} import tqdm
        for _ in tqdm(range(50), desc="epochs"):
            pass
        assert told() == [(50.0, 50.0, "epochs")], told()
        assert current.reports.output.take(last=True) == []
    """)


def test_of_nested_bars_the_outermost_reports_and_bars_in_a_row_all_do():
    run("""
        enter()
        from tqdm import tqdm, trange
        for _ in tqdm(range(3), desc="outer"):
            for _ in trange(7, desc="inner", leave=False):
                pass
        assert told() == [(3.0, 3.0, "outer")]
        list(trange(4, desc="next"))
        assert told() == [(4.0, 4.0, "next")]
    """)


def test_a_bar_that_is_moved_by_hand_reports():
    run("""
        enter()
        from tqdm import tqdm
        bar = tqdm(total=10, disable=None)
        bar.update(4)
        bar.set_description("half")
        assert told() == [(4.0, 10.0, "half")], told()
        bar.close()
    """)


def test_outside_of_tasks_tqdm_prints_as_always():
    done = run("""
        from tqdm import tqdm
        list(tqdm(range(3), desc="plain"))
    """)
    assert "plain: 100%" in done.stderr


def test_a_file_may_be_given_by_position():
    run("""
        enter()
        from tqdm import tqdm
        for _ in tqdm(range(3), "epochs", 3, True, sys.stdout):
            pass
        assert told() == [(3.0, 3.0, "epochs")], told()
    """)


def test_tqdm_write_is_output():
    run("""
        enter()
        from tqdm import tqdm
        for _ in tqdm(range(1)):
            tqdm.write("hello")
        assert [p.text for p in current.reports.output.take()] == ["hello\\n"]
    """)


def test_tqdm_that_was_imported_before_is_changed_too():
    done = subprocess.run(
        [sys.executable, "-c", "import tqdm\n" + SETUP + "enter(); list(tqdm.tqdm('ab')); assert told()"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
