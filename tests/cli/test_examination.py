import sys
import time

import pytest

from nbqueue._version import __version__
from nbqueue.cli.examination import examine, examine_status

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


def status(workers=(), queues=None, version=__version__):
    broker = {"pid": 41, "host": "here", "version": version, "address": "zmq://127.0.0.1:5560"}
    return {"broker": {**broker, "time": time.time()}, "workers": list(workers), "queues": queues or {}}


def worker(**changes):
    known = {"name": "w1", "host": "here", "pid": 42, "python": PYTHON, "env": sys.prefix, "local": True}
    return {**known, "queues": ["default"], "children": [{"pid": 43, "task": None}], **changes}


def waiting(count):
    return {"ready": count, "scheduled": 0, "running": 0}


def faults(found):
    return [(finding.text, finding.advice) for finding in found if finding.ok is False]


def test_a_broker_with_a_worker_of_ours_is_healthy():
    assert not faults(examine_status(status([worker()], {"default": waiting(3)})))


@pytest.mark.parametrize(
    ("found", "text", "advice"),
    [
        (status(), "no worker is connected", "nbqueue start"),
        (status([worker()], version="0.0.0"), "it is nbqueue 0.0.0, this is", "same version"),
        (status([worker(python="2.7")]), f"{PYTHON}; the workers have 2.7", f"with Python {PYTHON}"),
        (status([worker(children=[])]), "no process that runs tasks", "log"),
        (status([worker()], {"gpu": waiting(2)}), "queue 'gpu' holds 2 tasks", "nbqueue worker -Q gpu"),
    ],
    ids=["no worker", "other version", "other python", "no executors", "no consumer"],
)  # fmt: skip
def test_each_reason_why_tasks_wait_is_named_with_what_to_do(found, text, advice):
    ((fault, remedy),) = faults(examine_status(found))
    assert text in fault
    assert advice in remedy


def test_workers_of_another_environment_are_mentioned():
    notes = [finding.text for finding in examine_status(status([worker(env="/other")])) if finding.ok is None]
    assert notes == [f"no worker runs in this environment, {sys.prefix}"]


@pytest.mark.parametrize(("offset", "word"), [(-60, "behind"), (60, "ahead")])
def test_a_clock_that_differs_is_mentioned(offset, word):
    found = status([worker()])
    found["broker"]["time"] = time.time() + offset
    notes = [finding.text for finding in examine_status(found) if finding.ok is None]
    assert notes == [f"the clock on here is 60 s {word}"]


def test_without_a_broker_it_says_how_to_start_one(folders):
    ((fault, _),) = faults(examine("", ""))
    assert "`nbqueue start`" in fault


def test_a_variable_that_nothing_reads_is_mentioned(folders, monkeypatch):
    monkeypatch.setenv("NBQUEUE_IDLE_TIMOUT", "5")
    notes = [(finding.text, finding.advice) for finding in examine("", "") if finding.ok is None]
    assert notes == [
        ("NBQUEUE_IDLE_TIMOUT is set, but nothing reads it", "did you mean NBQUEUE_IDLE_TIMEOUT?")
    ]


def test_a_folder_that_others_can_use_is_found(folders):
    folders.runtime.mkdir(mode=0o777)
    folders.runtime.chmod(0o777)
    texts = [fault for fault, _ in faults(examine("", ""))]
    assert any(str(folders.runtime) in text and "chmod 700" in text for text in texts)
