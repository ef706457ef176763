"""How results are shown."""

import subprocess
import sys
from types import SimpleNamespace

import pytest
from IPython.core.events import EventManager, available_events
from IPython.core.formatters import DisplayFormatter

from kernels_ext.widgets import display
from nbqueue.client.cluster import Cluster
from nbqueue.client.graph import Graph
from nbqueue.client.group import GroupResult
from nbqueue.client.records import TaskRecord
from nbqueue.client.replies import Replies
from nbqueue.client.result import AsyncResult
from tests.kernels_ext.widgets.fakes import FakeGroup


@pytest.fixture
def notebook():
    shell = SimpleNamespace(kernel=object(), display_formatter=DisplayFormatter())
    shell.events = EventManager(shell, available_events)
    display.register(shell)
    yield shell
    display.unregister(shell)


def result(client, id="a1"):
    return AsyncResult(id, client, TaskRecord(id, "train"))


@pytest.fixture
def real_client(client):
    client.subscribe = lambda record, subscription, index: None
    return client


def test_a_notebook_shows_a_live_widget_and_nothing_else(page, notebook, real_client):
    assert notebook.display_formatter.format(result(real_client)) == ({}, {})
    assert len(page.outputs) == 1


def test_the_same_result_shown_twice_is_the_same_widget(page, notebook, real_client):
    for _ in range(2):
        notebook.display_formatter.format(result(real_client, "shown twice"))
    first, second = page.outputs
    assert first.display_id == second.display_id


def test_a_group_is_shown_as_a_grid(page, notebook, client):
    group = FakeGroup(client, 3)
    notebook.display_formatter.format(GroupResult("g", group.children, "train"))
    assert "train ×3" in page.outputs[0].data["text/plain"]


def test_an_attached_cluster_is_shown_with_the_newest_of_its_tasks(
    page, notebook, real_client, monkeypatch, capsys
):
    one, group = result(real_client, "of a cluster"), FakeGroup(real_client, 3)
    items = [one, GroupResult("of a cluster too", group.children, "train")]
    monkeypatch.setattr(Cluster, "newest", lambda self, limit: items[-limit:])
    monkeypatch.setattr(Cluster, "__repr__", lambda self: "<Cluster>")
    notebook.display_formatter.format(Cluster(real_client))
    assert "<Cluster>" in capsys.readouterr().out
    assert page.outputs == []
    notebook.display_formatter.format(Cluster(real_client, shown=2))
    first, second = (output.data["text/plain"] for output in page.outputs)
    assert "<Cluster>" in capsys.readouterr().out
    assert "train  PENDING" in first
    assert "train ×3" in second


def test_nothing_is_left_behind(notebook):
    display.unregister(notebook)
    formatter = notebook.display_formatter.ipython_display_formatter
    assert AsyncResult not in formatter
    assert GroupResult not in formatter
    assert Cluster not in formatter
    assert display._settle not in notebook.events.callbacks["post_run_cell"]


def test_a_terminal_shows_text_and_loads_no_widgets(tmp_path):
    script = """
import sys
from IPython.testing.globalipapp import start_ipython
shell = start_ipython()
shell.run_line_magic("load_ext", "nbqueue")
from nbqueue.client.records import TaskRecord
from nbqueue.client.replies import Replies
from nbqueue.client.result import AsyncResult
data, _ = shell.display_formatter.format(AsyncResult("a1", None, TaskRecord("a1", "train", "default")))
assert data["text/plain"].split()[1:3] == ["train", "PENDING"], data
assert set(data) == {"text/plain"}, data
assert "ipywidgets" not in sys.modules and "anywidget" not in sys.modules
"""
    environment = {"IPYTHONDIR": str(tmp_path), "HOME": str(tmp_path), "PYTHONPATH": ":".join(sys.path)}
    subprocess.run([sys.executable, "-c", script], check=True, env=environment, timeout=60)


def test_replies_of_workers_are_a_table_in_which_names_are_escaped(notebook):
    replies = Replies({"w": [{"id": "1", "name": "<b>f"}]})
    shown, _ = notebook.display_formatter.format(replies)
    assert "<td>w</td><td>1</td><td>&lt;b&gt;f</td>" in shown["text/html"]
    assert shown["text/plain"] == repr(dict(replies))


def test_the_last_of_a_chain_is_shown_as_a_grid_of_its_steps(page, notebook, real_client):
    first = AsyncResult("s1", real_client, TaskRecord("s1", "load"))
    header = GroupResult(
        "g1", [AsyncResult(f"m{n}", real_client, TaskRecord(f"m{n}", "fit")) for n in (1, 2)]
    )
    header.parent = first
    last = AsyncResult("s2", real_client, TaskRecord("s2", "best"), parent=header)
    for _ in range(2):
        notebook.display_formatter.format(last)
    shown, again = page.outputs
    assert "load → fit → best ×4" in shown.data["text/plain"]
    assert shown.display_id == again.display_id


def test_a_graph_is_a_picture_where_pictures_are_shown(notebook):
    row = {"id": "a", "name": "<b>x</b>", "state": "SUCCESS", "group": "", "from": []}
    data, _ = notebook.display_formatter.format(Graph([row]))
    assert "&lt;b&gt;x" in data["image/svg+xml"]
    assert "<b>" not in data["image/svg+xml"]
    assert data["text/plain"] == "<b>x</b>[a]  SUCCESS"
