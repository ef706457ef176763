"""``nbqueue top``: what it draws, in terminals of several sizes, and how it ends."""

import io
import os
import pty
import subprocess
import sys
import time
from typing import Any

import pytest
from click.testing import CliRunner
from rich.console import Console

from nbqueue.cli.main import cli
from nbqueue.cli.picture import Picture
from nbqueue.testing import InProcessCluster


def look(done: int, **queues: dict[str, int]) -> dict[str, Any]:
    task = {"id": "0123456789", "name": "tasks.train", "queue": "default", "since": 1000.0, "retries": 0}
    tasks = [{**task, "progress": [30, 100, ""]}, {**task, "name": "[red]f", "progress": None}]
    executors = [{"pid": pid, "slots": 1, "held": 1, "tasks": [t]} for pid, t in enumerate(tasks)]
    worker = {
        "name": "worker@host", "host": "host", "pid": 7, "load": [1.0, 0.5, 0.25], "tags": ["gpu"],
        "resources": {"gpu": [1.0, 2.0], "memory": [2e9, 16e9]}, "total": {"tasks.train": done},
        "executors": executors,
    }  # fmt: skip
    counts = {"ready": 5, "later": 1, "running": 2, "workers": 2}
    return {
        "time": 1065.0, "unfinished": 8, "records": 9, "paused": "", "workers": [worker],
        "queues": {"default": counts, **queues},
    }  # fmt: skip


def drawn(picture: Picture, width: int, height: int = 30) -> list[str]:
    console = Console(width=width, record=True, markup=False, file=io.StringIO())
    console.print(picture.drawn(width, height))
    return console.export_text().splitlines()


@pytest.mark.parametrize("width", [80, 100, 120, 200])
def test_it_fits_the_terminal(width: int) -> None:
    picture = Picture("zmq://127.0.0.1:5000")
    picture.take(look(10), 1.0)
    picture.take(look(30), 3.0)
    lines = drawn(picture, width)
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    for part in ("2/2", "10.0", "1 min 5 s", "30%", "memory 2/16 GB", "[red]f"):
        assert part in text, part


def test_what_does_not_fit_is_counted() -> None:
    picture = Picture("")
    queues = {f"q{n}": {"ready": 1, "later": 0, "running": 0, "workers": 0} for n in range(50)}
    picture.take(look(0, **queues), 1.0)
    lines = drawn(picture, 80, height=24)
    assert len(lines) <= 24
    assert any("more" in line for line in lines)


def test_there_may_be_nothing() -> None:
    picture = Picture("")
    picture.take({**look(0), "workers": [], "queues": {}}, 1.0)
    assert any("No workers." in line for line in drawn(picture, 80))


def test_without_a_terminal_it_is_shown_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with InProcessCluster() as cluster:
        monkeypatch.setenv("NBQUEUE_BROKER", cluster.url)
        result = CliRunner().invoke(cli, ["top"], prog_name="nbqueue")
    assert result.exit_code == 0, result.output
    assert "in-process" in result.output


PROGRAM = """
import sys
from nbqueue.testing import InProcessCluster
import io
import os
with InProcessCluster() as cluster:
    os.environ["NBQUEUE_BROKER"] = cluster.url
    from nbqueue.cli.main import cli
    cli(["top"], standalone_mode=False)
"""


@pytest.mark.parametrize("key", [b"q", b"\x1b"])
def test_a_key_ends_it(key: bytes) -> None:
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "80", "LINES": "24"}
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdin=theirs, stdout=theirs, stderr=theirs, env=environment
    )
    os.close(theirs)
    seen = b""
    deadline = time.monotonic() + 30.0
    while b"q quits" not in seen and time.monotonic() < deadline:
        seen += os.read(ours, 65536)
    os.write(ours, key)
    try:
        while os.read(ours, 65536):  # what it still writes has to be read
            pass
    except OSError:  # the other end is closed
        pass
    os.close(ours)
    assert process.wait(30.0) == 0
