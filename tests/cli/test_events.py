"""``nbqueue events``: a line for each."""

import json
import threading
import time

import pytest
from click.testing import CliRunner

from nbqueue import App
from nbqueue.cli.events import line
from nbqueue.cli.main import cli
from nbqueue.testing import InProcessCluster


@pytest.mark.parametrize("as_json", [False, True])
def test_what_happens_is_shown_until_the_limit(as_json: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    with InProcessCluster() as cluster:
        monkeypatch.setenv("NBQUEUE_BROKER", cluster.url)
        app = App("t", broker=cluster.url)
        done = threading.Event()

        @app.task
        def f() -> None: ...

        def work() -> None:
            while not done.is_set():
                f.delay().get(20.0)
                time.sleep(0.05)

        thread = threading.Thread(target=work)
        thread.start()
        words = ["events", "-n", "2", "-e", "task-succeeded", "-t", "20", *(["-j"] if as_json else [])]
        result = CliRunner().invoke(cli, words, prog_name="nbqueue")
        done.set()
        thread.join()
        app.close()
    lines = result.output.splitlines()
    assert len(lines) == 2, result.output
    if as_json:
        assert json.loads(lines[0])["type"] == "task-succeeded"
    else:
        assert "task-succeeded" in lines[0]
        assert " on in-process  pid=" in lines[0]


def test_a_line_has_the_time_the_task_and_where() -> None:
    event = {
        "type": "task-failed",
        "timestamp": 0.25,
        "uuid": "id",
        "name": "f",
        "hostname": "w",
        "exception": "x" * 300,
    }
    text = line(event)
    assert text[8:] == f".250  task-failed       f[id] on w  exception={'x' * 199}…"
