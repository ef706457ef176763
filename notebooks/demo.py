"""Run the quick start in a real kernel, and tell what it did.

``make demo`` is this.  The kernel is one like JupyterLab's.
"""

import re
import sys
import time
from pathlib import Path

import nbclient
import nbformat
from nbformat import NotebookNode

NOTEBOOK = Path(__file__).with_name("quickstart.ipynb")
ESCAPES = re.compile(r"\x1b\[[0-9;]*m")
#: lines shown of one output
LINES = 18


def execute(path: Path, told: "Narrator | None" = None, timeout: float = 300) -> NotebookNode:
    """Run the notebook from its first cell to its last in a kernel of this environment.

    ``timeout`` is in seconds, for one cell.  Returns the notebook with its outputs; the file stays as it is.

    Raises
    ------
    nbclient.exceptions.CellExecutionError
        A cell raised that is not tagged ``raises-exception``.
    """
    notebook = nbformat.read(path, as_version=4)
    hooks = {"on_cell_start": told.cell} if told else {}
    client = nbclient.NotebookClient(
        notebook,
        timeout=timeout,
        kernel_name="python3",
        extra_arguments=["--log-level=ERROR"],
        resources={"metadata": {"path": path.parent}},
        **hooks,
    )
    return client.execute()


class Narrator:
    """Prints each heading as the notebook comes to it, and what the cells below show once they are all done.

    Not earlier, because a live view goes on changing while later cells run.
    """

    def __init__(self) -> None:
        self._cells: list[NotebookNode] = []

    def cell(self, cell: NotebookNode, **_: object) -> None:
        headings = re.findall(r"^#+ (.+)$", cell.source, re.MULTILINE) if cell.cell_type == "markdown" else []
        if headings:
            self.outputs()
            print("", *headings, sep="\n", flush=True)
        self._cells.append(cell)

    def outputs(self) -> None:
        for output in (output for cell in self._cells for output in cell.get("outputs", ())):
            print(*(f"    {line}" for line in shorten(text_of(output))), sep="\n", flush=True)
        self._cells.clear()


def text_of(output: NotebookNode) -> str:
    """What a terminal can show of an output."""
    if output.output_type == "error":
        return "\n".join(output.traceback)
    if output.output_type == "stream":
        return str(output.text)
    if "image/png" in output.data:
        return f"[a plot: {output.data.get('text/plain', '')}]"
    return str(output.data.get("text/plain", ""))


def shorten(text: str) -> list[str]:
    """Its lines, the middle ones left out where there are many."""
    lines = ESCAPES.sub("", text).strip("\n").splitlines()
    if len(lines) <= LINES:
        return lines
    return [*lines[: LINES // 2], "…", *lines[-LINES // 2 :]]


def main() -> None:
    began, narrator = time.monotonic(), Narrator()
    try:
        execute(NOTEBOOK, narrator)
    except nbclient.exceptions.CellExecutionError as error:
        sys.exit(f"\nThe quick start did not run to its end.\n{error}")
    narrator.outputs()
    print(f"\nDone in {time.monotonic() - began:.0f} s. To see it live, with its plots: make lab")


if __name__ == "__main__":
    main()
