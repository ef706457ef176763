"""The examples of docs/howto/retry.md do what the page says."""

import io
import re
import urllib.request
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

import nbqueue
from nbqueue.testing import InProcessCluster
from nbqueue.wire.shipment import TaskOptions

PAGE = (Path(__file__).parents[2] / "docs" / "howto" / "retry.md").read_text("utf-8")
LIMIT = 20.0

#: what the examples call; each fails, or is not ready, the first time
HELPERS = """
def calls():
    with open(log, "a") as file:
        file.write(".")
        return file.tell()

def send(path):
    if calls() == 1:
        raise TimeoutError(path)
    return f"sent {path}"

def is_finished(job):
    return calls() > 1

def result_of(job):
    return f"result of {job}"
"""


@pytest.fixture
def notebook(tmp_path: Path) -> Iterator[dict[str, Any]]:
    """The names of a notebook that has run the page's examples, with pauses that nobody has to wait for."""
    app = nbqueue.default_app()
    names = {"__name__": "__main__", "nbqueue": nbqueue, "urllib": urllib, "log": str(tmp_path / "log")}
    exec(HELPERS, names)
    for example in re.findall(r"```python\n(@.*?)```", PAGE, re.DOTALL):
        exec(example.replace("countdown=30", "countdown=0.01").replace("backoff=2", "backoff=0.01"), names)
    with InProcessCluster() as cluster:
        app.conf.broker = cluster.url
        yield names
        app.close()
    app.conf.broker = None


def test_any_exception_is_followed_by_another_run(
    notebook: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([OSError("not there"), io.BytesIO(b"page")])

    def urlopen(url: str, timeout: float) -> Any:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    result = notebook["fetch"].delay("http://example.org")
    assert result.get(LIMIT) == b"page"
    assert result.retries == 1


@pytest.mark.parametrize(("task", "value"), [("upload", "sent x"), ("collect", "result of x")])
def test_the_other_examples_run_again(notebook: dict[str, Any], task: str, value: str) -> None:
    result = notebook[task].delay("x")
    assert result.get(LIMIT) == value
    assert result.retries == 1


def test_the_table_has_the_defaults_of_the_code() -> None:
    told = dict(re.findall(r"^\| `(\w+)` \| `(.+?)` \|", PAGE, re.MULTILINE))
    defaults = {field.name: repr(field.default) for field in fields(TaskOptions)}
    assert told == {name: defaults[name] for name in told}
    assert told.keys() == defaults.keys() - {"name", "bind", "base"}
