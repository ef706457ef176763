"""What is left of widgets in a notebook that is executed without a browser, and in pages made from it."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbconvert import HTMLExporter, MarkdownExporter

from kernels_ext.widgets.base import VIEW

ROOT = Path(__file__).parents[3]
CELLS = [
    """
from kernels_ext.widgets.display import register, show_group, show_result
from tests.kernels_ext.widgets.fakes import FakeClient, FakeGroup, FakeResult
register(get_ipython())
client = FakeClient()
result, long = FakeResult(client, "a1"), FakeResult(client, "b2", name="long")
group = FakeGroup(client, 20, "fit")
""",
    "show_result(result)",
    "show_group(group)",
    "show_result(long)",
    """
result.becomes(output="<b>bold</b>\\n")
result.succeeds("the value")
group[3].fails(ValueError("bad sample"))
for other in group:
    if other is not group[3]:
        other.succeeds(1)
long.starts()
""",
]


@pytest.fixture(scope="module")
def notebook(tmp_path_factory):
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR", "JUPYTER_CONFIG_DIR", "IPYTHONDIR"):
            patch.setenv(name, str(folder / name))
        patch.setenv("PYTHONPATH", str(ROOT))
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
        return NotebookClient(notebook, kernel_name="python3", timeout=60).execute()


def data(notebook, index):
    [output] = notebook.cells[index].outputs
    return output.data


def test_what_is_finished_is_saved_as_html_and_text(notebook):
    assert set(data(notebook, 1)) == set(data(notebook, 2)) == {"text/html", "text/plain"}
    assert data(notebook, 1)["text/plain"].startswith("✓ train  SUCCESS")
    assert data(notebook, 2)["text/plain"] == "✗ fit ×20  20/20 done, 1 failed"


def test_what_still_runs_is_saved_as_it_was_when_the_last_cell_ended(notebook):
    assert VIEW in data(notebook, 3)
    assert data(notebook, 3)["text/plain"].startswith("● long  STARTED")


def test_a_web_page_made_from_it_shows_how_it_ended(notebook):
    page, _ = HTMLExporter().from_notebook_node(notebook)
    for part in ("SUCCESS", "the value", "&lt;b&gt;bold&lt;/b&gt;", "ValueError: bad sample"):
        assert part in page


def test_a_text_made_from_it_shows_how_it_ended(notebook):
    for cell in notebook.cells:
        for output in cell.outputs:
            output.data.pop("text/html", None)
    text, _ = MarkdownExporter().from_notebook_node(notebook)
    assert "✓ train  SUCCESS" in text
