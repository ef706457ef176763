"""The examples of docs/howto/outside.md do what the page says."""

import re
import sys
from pathlib import Path

import pytest

import nbqueue
from nbqueue.testing import InProcessCluster

PAGE = (Path(__file__).parents[2] / "docs" / "howto" / "outside.md").read_text("utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
LIMIT = 20.0


def test_a_module_with_tasks_is_used_by_a_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module, session, _ = EXAMPLES
    (tmp_path / "tasks.py").write_text(module)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "tasks", raising=False)
    with InProcessCluster() as cluster:
        monkeypatch.setenv("NBQUEUE_BROKER", cluster.url)
        lines = [line.removeprefix(">>> ") for line in session.splitlines()]
        names: dict[str, object] = {}
        exec(lines[0], names)
        assert eval(lines[1], names) == int(lines[2])
        sys.modules.pop("tasks").app.close()


def test_an_executor_of_the_standard_library_has_workers() -> None:
    app = nbqueue.default_app()
    with InProcessCluster() as cluster:
        app.conf.broker = cluster.url
        names: dict[str, object] = {"__name__": "__main__"}
        exec(EXAMPLES[2], names)
        assert names["squares"] == [0, 1, 4, 9, 16]
        assert names["future"].result(LIMIT) == 144
        app.close()
    app.conf.broker = None
