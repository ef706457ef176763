"""The pages that are drawn from the code say what the code says."""

import importlib.util
import json
import subprocess
import sys
import xml.etree.ElementTree
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import CliRunner

from nbqueue.cli.main import cli
from nbqueue.core.lifecycle import TRANSITIONS

SCRIPT = Path(__file__).parents[2] / "docs" / "generate.py"


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_pages_in_docs_are_those_that_the_code_makes(generate: ModuleType) -> None:
    # in a process of its own: a command keeps the help option of the context in which it was first used
    program = f"import json, runpy; print(json.dumps(runpy.run_path({str(SCRIPT)!r})['pages']()))"
    made = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    pages: dict[str, str] = json.loads(made.stdout)
    stale = [name for name, text in pages.items() if (generate.FOLDER / name).read_text("utf-8") != text]

    assert not stale, "run `make docs`"


def test_the_help_in_docs_is_what_a_person_sees(generate: ModuleType) -> None:
    shown = CliRunner().invoke(cli, ["-h"], prog_name="nbqueue", terminal_width=90)

    assert shown.output in generate.pages()["command-line.md"]


def test_the_drawing_of_the_states_has_every_state_and_event(generate: ModuleType) -> None:
    drawn = xml.etree.ElementTree.fromstring(generate.states_drawing()).itertext()
    words = {word for text in drawn for word in text.split(", ")}

    assert set(TRANSITIONS) | {event for steps in TRANSITIONS.values() for event in steps} <= words
