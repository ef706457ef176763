"""Every test process has folders of its own, so that tests may run at once and never meet a real cluster."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from nbqueue.launch import teardown


@pytest.fixture(scope="session", autouse=True)
def own_folders() -> Iterator[Path]:
    """Data and runtime folders of this test process; short, because sockets live there."""
    folder = Path(tempfile.mkdtemp(prefix="nbq-"))
    os.environ["NBQUEUE_DATA_DIR"] = str(folder / "data")
    os.environ["NBQUEUE_RUNTIME_DIR"] = str(folder / "run")
    for name in (
        "NBQUEUE_BROKER",
        "NBQUEUE_KEY",
        "NBQUEUE_KEY_FILE",
        "NBQUEUE_SIGNING_KEY",
        "CELERY_BROKER_URL",
    ):
        os.environ.pop(name, None)
    yield folder
    os.environ["NBQUEUE_DATA_DIR"] = str(folder / "data")
    os.environ["NBQUEUE_RUNTIME_DIR"] = str(folder / "run")
    teardown.stop(5.0)
    shutil.rmtree(folder, ignore_errors=True)
