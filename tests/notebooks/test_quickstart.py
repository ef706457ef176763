"""The quick start does real work, and shows what it promises; it is run once, in a real kernel."""

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator

import nbformat
import pytest
from nbformat import NotebookNode

from notebooks.demo import NOTEBOOK, execute, text_of

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def notebook() -> Iterator[NotebookNode]:
    """The executed notebook; its cluster has folders of its own and ends with the tests."""
    with tempfile.TemporaryDirectory(prefix="nbq-") as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("NBQUEUE_RUNTIME_DIR", folder)
        patch.setenv("NBQUEUE_DATA_DIR", f"{folder}/data")
        yield execute(NOTEBOOK)
        subprocess.run([sys.executable, "-m", "nbqueue", "stop"], check=True)


def outputs_of(notebook: NotebookNode, code: str) -> str:
    """What the cell shows that begins with this code."""
    [cell] = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.startswith(code)]
    return "\n".join(text_of(output) for output in cell.outputs)


def test_it_is_committed_without_outputs_and_with_a_kernelspec() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)

    assert notebook.metadata.kernelspec.name == "python3"
    assert not [cell for cell in notebook.cells if cell.get("outputs") or cell.get("execution_count")]


def test_the_kernel_is_free_while_64_fits_run(notebook: NotebookNode) -> None:
    done, count = re.findall(r"\d+", outputs_of(notebook, 'f"{fits.completed_count()}'))

    assert int(done) < int(count) == 64


def test_the_best_model_reads_the_digits(notebook: NotebookNode) -> None:
    [accuracy] = re.findall(r"accuracy ([\d.]+)%", outputs_of(notebook, "scores ="))

    assert 96 < float(accuracy) < 100


def test_the_outcome_is_plotted(notebook: NotebookNode) -> None:
    plots = [
        cell
        for cell in notebook.cells
        for output in cell.get("outputs", ())
        if "image/png" in output.get("data", {})
    ]

    assert len(plots) >= 2


def test_a_submitted_cell_sets_a_name_of_the_notebook(notebook: NotebookNode) -> None:
    assert "of 1797 digits read correctly" in outputs_of(notebook, "await")
    assert outputs_of(notebook, "{digit:").count("%") == 10


def test_the_failed_task_shows_its_traceback_with_the_lines_of_its_cell(notebook: NotebookNode) -> None:
    raised = re.sub(r"\x1b\[[0-9;]*m", "", outputs_of(notebook, "failed.get()"))

    assert "ZeroDivisionError" in raised
    assert re.search(r"-+> 5 +return int\(found\) / int\(mine\.sum\(\)\)", raised)
    assert "in recall(" in raised


@pytest.mark.parametrize(
    ("code", "shown"),
    [
        ("fits =", "64/64 done"),
        ("sizes =", "SUCCESS"),
        ("failed =", "ZeroDivisionError: division by zero"),
        ("search =", "REVOKED"),
    ],
)
def test_a_live_view_is_saved_as_it_was_at_the_end(notebook: NotebookNode, code: str, shown: str) -> None:
    assert shown in outputs_of(notebook, code)


def test_the_cancelled_task_is_revoked(notebook: NotebookNode) -> None:
    assert outputs_of(notebook, "search.state") == "'REVOKED'"
