"""Run the quick start in a real kernel, and tell what it did.

``make demo`` is this.  The kernel is one like JupyterLab's; each heading of the notebook is printed as
its cells begin, then what they show, as far as a terminal can show it.
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
LINES = 12


def execute(path: Path, told: "Narrator | None" = None, timeout: float = 300) -> NotebookNode:
    """Run the notebook from its first cell to its last in a kernel of this environment.

    ``timeout`` is in seconds, for one cell.  Returns the notebook with its outputs; the file stays as it is.

    Raises
    ------
    nbclient.exceptions.CellExecutionError
        A cell raised that is not tagged ``raises-exception``.
    """
    notebook = nbformat.read(path, as_version=4)
    hooks = {"on_cell_start": told.cell, "on_cell_executed": told.outputs} if told else {}
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
    """Prints headings and outputs as the cells come by."""

    def cell(self, cell: NotebookNode, **_: object) -> None:
        if cell.cell_type == "markdown":
            for heading in re.findall(r"^#+ (.+)$", cell.source, re.MULTILINE):
                print(f"\n{heading}", flush=True)

    def outputs(self, cell: NotebookNode, **_: object) -> None:
        for output in cell.get("outputs", ()):
            for line in shorten(text_of(output)):
                print(f"    {line}", flush=True)


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
    began = time.monotonic()
    try:
        execute(NOTEBOOK, Narrator())
    except nbclient.exceptions.CellExecutionError as error:
        sys.exit(f"\nThe quick start did not run to its end.\n{error}")
    print(f"\nDone in {time.monotonic() - began:.0f} s. To see it live, with its plots: make lab")


if __name__ == "__main__":
    main()
