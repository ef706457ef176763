"""A local cluster of a test's own: in folders that no other test knows, and ended with the test."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from nbqueue.launch import teardown


class Folders(NamedTuple):
    """Where the cluster of a test lives."""

    data: Path
    runtime: Path


@pytest.fixture
def folders(monkeypatch: pytest.MonkeyPatch) -> Iterator[Folders]:
    """Own folders, with short paths (sockets lie there); what runs there at the end is stopped."""
    root = Path(tempfile.mkdtemp(prefix="nbq-"))
    found = Folders(root / "data", root / "run")
    for name in ("NBQUEUE_KEY", "NBQUEUE_KEY_FILE", "NBQUEUE_BROKER", "CELERY_BROKER_URL", "NBQUEUE_WORKERS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NBQUEUE_DATA_DIR", str(found.data))
    monkeypatch.setenv("NBQUEUE_RUNTIME_DIR", str(found.runtime))
    monkeypatch.setattr("nbqueue.wire.keys._remembered", {})
    yield found
    monkeypatch.setenv("NBQUEUE_DATA_DIR", str(found.data))
    monkeypatch.setenv("NBQUEUE_RUNTIME_DIR", str(found.runtime))
    teardown.stop(5.0)
    shutil.rmtree(root, ignore_errors=True)
