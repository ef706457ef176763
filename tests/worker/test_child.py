"""What a supervisor knows of an executor process."""

import os

import pytest

from nbqueue.worker import child
from nbqueue.worker.options import WorkerOptions


def test_a_process_that_cannot_be_started_leaves_no_descriptors(monkeypatch):
    def fail(*args):
        raise OSError("no more processes")

    monkeypatch.setattr(child, "_spawn", fail)
    before = os.listdir("/proc/self/fd")
    for _ in range(3):
        with pytest.raises(OSError, match="no more processes"):
            child.Child(WorkerOptions(url="zmq://", concurrency=1), "w1", lambda: None)
    assert os.listdir("/proc/self/fd") == before
