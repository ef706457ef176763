"""Type checkers know what tasks take and give.  The sample passes pyright too."""

import re
import subprocess
import sys
from pathlib import Path

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
