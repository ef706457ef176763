"""Type checkers know what tasks take and give."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

SAMPLE = Path(__file__).with_name("sample.py")
WRONG = [number for number, line in enumerate(SAMPLE.read_text().splitlines(), 1) if line.endswith("# error")]


def errors(*command: str) -> list[int]:
    """The lines in which a type checker finds something wrong."""
    done = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True)
    found = re.findall(r"sample\.py:(\d+):.*error", done.stdout)
    assert done.returncode in (0, 1), done.stderr
    return sorted({int(line) for line in found})


def test_mypy_knows_the_arguments_and_the_value(tmp_path: Path) -> None:
    options = ("--strict", "--no-error-summary", "--cache-dir", str(tmp_path), "--config-file", "")
    assert errors("mypy", *options, str(SAMPLE)) == WRONG


def test_pyright_knows_the_same(tmp_path: Path) -> None:
    pytest.importorskip("pyright", reason="it is one of the [test] extra")
    there = subprocess.run([sys.executable, "-m", "pyright", "--version"], capture_output=True, text=True)
    if there.returncode != 0 and "CI" not in os.environ:
        pytest.skip("pyright cannot fetch what it runs on (node, its npm package)")
    assert errors("pyright", "--pythonpath", sys.executable, str(SAMPLE)) == WRONG
