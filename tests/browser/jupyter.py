"""A Jupyter server of the tests' own, and notebooks open in a browser: what a person does, as functions."""

import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import nbformat
from playwright.sync_api import Locator, Page

TOKEN = "tests"
FRONT_ENDS = {"JupyterLab": "lab/tree", "Notebook 7": "notebooks"}
KERNELSPEC = {"name": "python3", "display_name": "Python 3", "language": "python"}

#: the first cell of the tests
START = "%load_ext nbqueue\nimport time, nbqueue"

READY = (
    "() => globalThis.jupyterapp?.shell?.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'"
)
#: add a cell at the end and run it; do not wait for it
RUN = """source => {
    const panel = jupyterapp.shell.currentWidget;
    const cells = panel.model.sharedModel;
    cells.insertCell(cells.cells.length, {cell_type: 'code', source});
    panel.content.activeCellIndex = cells.cells.length - 1;
    jupyterapp.commands.execute('notebook:run-cell');
    return cells.cells.length - 1;
}"""
IDLE = """index => {
    const cell = jupyterapp.shell.currentWidget.content.widgets[index].model;
    return cell.executionState === 'idle' && cell.executionCount !== null;
}"""


class Server:
    """A Jupyter server that serves one folder."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.folder = folder
        port = _free_port()
        self._address = f"http://127.0.0.1:{port}"
        self._log = (folder / "server.log").open("wb")
        options = {
            "ServerApp.ip": "127.0.0.1",
            "ServerApp.port": port,
            "ServerApp.port_retries": 0,
            "ServerApp.root_dir": folder,
            "ServerApp.open_browser": False,
            "IdentityProvider.token": TOKEN,
            "LabApp.expose_app_in_browser": True,
            "JupyterNotebookApp.expose_app_in_browser": True,
        }
        arguments = [f"--{name}={value}" for name, value in options.items()]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", "--allow-root", *arguments],
            cwd=folder,
            env=dict(environment),
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        self._wait_until_it_answers()

    def url(self, front_end: str, name: str) -> str:
        return f"{self._address}/{FRONT_ENDS[front_end]}/{name}?token={TOKEN}&reset"

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(20)
        self._log.close()

    def _wait_until_it_answers(self) -> None:
        wait_for(self._answers, 30, "the Jupyter server")

    def _answers(self) -> bool:
        assert self._process.poll() is None, (self.folder / "server.log").read_text()
        try:
            urllib.request.urlopen(f"{self._address}/api?token={TOKEN}", timeout=5).close()
        except (urllib.error.URLError, ConnectionError):
            return False
        return True


class Notebook:
    """A notebook that is open in a page."""

    def __init__(self, server: Server, page: Page, front_end: str, name: str) -> None:
        self.page = page
        self.front_end = front_end
        self._server = server
        self._name = name
        self.path = server.folder / name
        if not self.path.exists():
            nbformat.write(nbformat.v4.new_notebook(metadata={"kernelspec": KERNELSPEC}), self.path)
        self.open()

    def open(self) -> None:
        """Load the page (again)."""
        self.page.goto(self._server.url(self.front_end, self._name))
        self.page.wait_for_function(READY, timeout=30_000)

    def start(self, source: str) -> "Cell":
        """Run a new cell at the end; returns at once."""
        return Cell(self, self.page.evaluate(RUN, source))

    def run(self, source: str) -> "Cell":
        """Run a new cell at the end, to its end."""
        cell = self.start(source)
        cell.wait()
        return cell

    def save(self) -> Any:
        """Save, and return the content of the file."""
        self.page.evaluate("() => jupyterapp.commands.execute('docmanager:save')")
        return json.loads(self.path.read_text())

    def shut_down_kernel(self) -> None:
        self.page.evaluate("() => jupyterapp.shell.currentWidget.sessionContext.shutdown()")


class Cell:
    """A cell of an open notebook."""

    def __init__(self, notebook: Notebook, index: int) -> None:
        self.notebook = notebook
        self.index = index

    def wait(self) -> None:
        """Until it has run."""
        self.notebook.page.wait_for_function(IDLE, arg=self.index, timeout=30_000)

    @property
    def running(self) -> bool:
        return not self.notebook.page.evaluate(IDLE, self.index)

    @property
    def output(self) -> Locator:
        """What stands below it."""
        return self.notebook.page.locator(f".jp-Cell[data-windowed-list-index='{self.index}'] .jp-OutputArea")

    @property
    def card(self) -> Locator:
        """Its widget."""
        return self.output.locator(".nbq-card").first


def wait_for(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Look every 50 ms until it is so."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.05)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
