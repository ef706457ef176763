"""Binder's files, checked without Docker: postBuild in a fresh environment, then the quick start in it."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
BINDER = REPOSITORY / "binder"
NEEDED = (
    "LICENSE",
    "README.md",
    "constraints.txt",
    "pyproject.toml",
    "binder",
    "kernels_ext",
    "nbqueue",
    "notebooks",
)


@pytest.mark.parametrize("name", ["postBuild", "start"])
def test_the_scripts_are_executable_and_stop_at_the_first_error(name: str) -> None:
    script = BINDER / name

    assert os.access(script, os.X_OK)
    assert "set -euo pipefail" in script.read_text()


def test_start_becomes_the_command_that_it_is_given() -> None:
    command = [str(BINDER / "start"), "sh", "-c", "echo $NBQUEUE_IDLE_TIMEOUT $0 $1", "lab", "--port=1"]

    assert subprocess.check_output(command, text=True) == "0 lab --port=1\n"


@pytest.fixture
def runtime_dir() -> Iterator[str]:
    """A short name: the path of a socket has room for 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="nbq-") as folder:
        yield folder


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_quick_start_runs_in_what_post_build_has_made(tmp_path: Path, runtime_dir: str) -> None:
    """The package is installed, not linked: what the wheel forgets is missed here."""
    image = tmp_path / "image"
    image.mkdir()
    for name in NEEDED:
        (shutil.copytree if (REPOSITORY / name).is_dir() else shutil.copy)(REPOSITORY / name, image / name)
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "env"], check=True)
    env = {
        **os.environ,
        "PATH": f"{tmp_path / 'env' / 'bin'}:{os.environ['PATH']}",
        "NBQUEUE_RUNTIME_DIR": runtime_dir,
        "NBQUEUE_DATA_DIR": str(tmp_path / "data"),
        "JUPYTER_PREFER_ENV_PATH": "1",
    }
    env.pop("PYTHONPATH", None)

    subprocess.run(["binder/postBuild"], cwd=image, env=env, check=True)
    shutil.rmtree(image / "nbqueue")
    shutil.rmtree(image / "kernels_ext")
    try:
        subprocess.run(["binder/start", "python", "notebooks/demo.py"], cwd=image, env=env, check=True)
    finally:
        subprocess.run(["nbqueue", "stop"], cwd=image, env=env, check=False)
