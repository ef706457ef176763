"""The examples of docs/howto/workflows.md do what the page says."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import nbqueue
from nbqueue.testing import InProcessCluster

PAGE = (Path(__file__).parents[2] / "docs" / "howto" / "workflows.md").read_text("utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    app = nbqueue.default_app()
    with InProcessCluster(executors=2) as cluster:
        monkeypatch.setenv("NBQUEUE_BROKER", cluster.url)  # for tasks that send others
        app.conf.broker = cluster.url
        yield {"__name__": "__main__", "nbqueue": nbqueue}
    app.conf.broker = None


def test_the_examples_give_what_is_written_beside_them(names: dict[str, Any]) -> None:
    shown = 0
    for example in EXAMPLES:
        for statement in ast.parse(example).body:
            source = ast.get_source_segment(example, statement) or ""
            line = example.splitlines()[(statement.end_lineno or 1) - 1]
            if isinstance(statement, ast.Expr) and "→" in line:
                shown += 1
                assert eval(source, names) == ast.literal_eval(line.rpartition("→")[2].strip()), source
            else:
                lines = example.splitlines()
                decorated = getattr(statement, "decorator_list", [])
                first = min([statement.lineno, *(d.lineno for d in decorated)]) - 1
                exec("\n".join(lines[first : statement.end_lineno]), names)
    assert shown >= 14, "the page's arrows are read"
