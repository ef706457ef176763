"""Files that tasks come from are watched by their modification times."""

import importlib
import os
import sys

import pytest

from nbqueue.worker import autoreload
from nbqueue.worker.autoreload import PERIOD, Watch, files


@pytest.fixture
def module(tmp_path, monkeypatch):
    path = tmp_path / "tasks_to_watch.py"
    path.write_text("x = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module("tasks_to_watch")
    yield path
    del sys.modules["tasks_to_watch"]


def touch(path):
    later = path.stat().st_mtime + 10
    os.utime(path, (later, later))


def test_a_file_that_changes_is_named_once(module):
    watch = Watch()
    assert watch.changed(0) == ""
    touch(module)
    assert watch.changed(PERIOD) == str(module)
    assert watch.changed(2 * PERIOD) == ""


def test_it_looks_once_a_period(module):
    watch = Watch()
    watch.changed(100)
    touch(module)
    assert watch.changed(100 + PERIOD / 2) == ""
    assert watch.changed(100 + PERIOD) == str(module)


def test_a_file_that_is_gone_for_a_moment_has_not_changed(module):
    watch = Watch()
    text = module.read_text()
    module.unlink()
    assert watch.changed(0) == ""
    module.write_text(text)
    touch(module)
    assert watch.changed(PERIOD) == str(module)


def test_what_is_installed_is_not_watched(module):
    watched = set(files())
    assert str(module) in watched
    assert pytest.__file__ not in watched
    assert os.__file__ not in watched
    assert autoreload.__file__ in watched  # as in a developer's own checkout
