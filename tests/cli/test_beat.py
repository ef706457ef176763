"""``nbqueue beat``, over a broker in this process and over one of its own."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from click.testing import CliRunner, Result

from nbqueue import App
from nbqueue.cli.main import cli
from nbqueue.launch.ask import ask
from nbqueue.schedules import crontab
from nbqueue.testing import InProcessCluster
from nbqueue.wire import keys
from tests.launch.isolation import Folders


@pytest.fixture
def cluster() -> Iterator[InProcessCluster]:
    with InProcessCluster() as made:
        yield made


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> App:
    """The application of a module that can be named by -A."""
    module = ModuleType("proj")
    app = App("proj", set_as_current=False)
    vars(module)["app"] = app
    monkeypatch.setitem(sys.modules, "proj", module)
    app.conf.beat_schedule = {
        "nightly": {"task": "proj.tidy", "schedule": crontab(minute=30, hour=2)},
        "often": {"task": "proj.poll", "schedule": 90, "options": {"queue": "polls"}},
    }
    return app


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments)


def test_it_tells_the_broker_and_shows_what_fires_when(cluster: InProcessCluster, app: App) -> None:
    done = run("-A", "proj", "beat", "--connect", cluster.url)
    assert done.exit_code == 0, done.output
    head, nightly, often, last = done.stdout.splitlines()
    assert head.split() == ["Name", "Application", "Schedule", "Task", "Queue", "Next", "Last"]
    assert nightly.split()[:9] == ["nightly", "proj", "30", "2", "*", "*", "*", "proj.tidy", "default"]
    assert "02:30:00 UTC, in " in nightly
    assert often.split()[:7] == ["often", "proj", "every", "1.5", "minutes", "proj.poll", "polls"]
    assert "in 1 min" in often
    assert last == "The broker keeps them, and fires them by itself."


def test_without_an_application_it_lists_all(cluster: InProcessCluster, app: App) -> None:
    assert run("beat", "--connect", cluster.url).stdout == "There are no periodic tasks.\n"
    assert run("beat", "-A", "proj", "-q", "--connect", cluster.url).stdout == ""
    assert len(run("beat", "--connect", cluster.url).stdout.splitlines()) == 4
    app.conf.beat_schedule = {}
    assert len(run("beat", "--list", "-A", "proj", "--connect", cluster.url).stdout.splitlines()) == 4
    assert run("beat", "-A", "proj", "--connect", cluster.url).stdout == "There are no periodic tasks.\n"


def test_an_entry_is_removed_by_its_name(cluster: InProcessCluster, app: App) -> None:
    run("beat", "-A", "proj", "--connect", cluster.url)
    removed = run("beat", "--remove", "nightly", "--connect", cluster.url)
    assert removed.stdout == "nightly was removed; what it has fired goes on.\n"
    again = run("beat", "--remove", "nightly", "--connect", cluster.url)
    assert again.exit_code == 2
    assert "there is no periodic task 'nightly'; there are: proj/often" in again.stderr
    assert run("beat", "--remove", "proj/often", "--connect", cluster.url).exit_code == 0


def test_a_name_that_several_applications_have_needs_the_applications(
    cluster: InProcessCluster, app: App
) -> None:
    run("beat", "-A", "proj", "--connect", cluster.url)
    app.main = "other"
    del app.schedule_name
    run("beat", "-A", "proj", "--connect", cluster.url)
    refused = run("beat", "--remove", "often", "--connect", cluster.url)
    assert refused.exit_code == 2
    assert "other/often or proj/often" in refused.stderr
    assert run("beat", "--remove", "other/often", "--connect", cluster.url).exit_code == 0
    assert [row["app"] for row in ask(cluster.url, "periodic") if row["name"] == "often"] == ["proj"]


def test_celerys_options_are_taken_and_said_to_do_nothing(cluster: InProcessCluster, app: App) -> None:
    done = run("-A", "proj", "beat", "-l", "INFO", "-s", "/var/beat", "--detach", "--connect", cluster.url)
    assert done.exit_code == 0
    assert "--schedule has no effect: the broker keeps the schedule in its journal." in done.stderr
    assert "--detach has no effect" in done.stderr


def test_a_schedule_that_cannot_be_is_an_error(cluster: InProcessCluster, app: App) -> None:
    app.conf.beat_schedule = {"nightly": {"schedule": 1}}
    failed = run("-A", "proj", "beat", "--connect", cluster.url)
    assert failed.exit_code != 0
    assert "beat_schedule['nightly'] says no 'task'" in failed.stderr


def test_a_worker_brings_its_applications_schedule_along(folders: Folders, tmp_path: Path) -> None:
    (tmp_path / "tasks.py").write_text(
        "from nbqueue import App as Celery\n"
        "app = Celery('tasks')\n"
        "@app.on_after_configure.connect\n"
        "def setup_periodic_tasks(sender, **kwargs):\n"
        "    sender.add_periodic_task(0.2, add, (2, 2), name='adds')\n"
        "@app.task\n"
        "def add(x, y):\n"
        "    return x + y\n"
    )
    command = [sys.executable, "-m", "nbqueue", "-A", "tasks", "worker", "-B", "-c", "1", "-l", "INFO"]
    worker = subprocess.Popen(
        command, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert worker.stderr is not None
        deadline = time.monotonic() + 60
        while not (entry := kept(folders)) or not entry["last_id"].startswith("tasks/adds:"):
            assert time.monotonic() < deadline, "it does not fire"
            assert worker.poll() is None
            time.sleep(0.05)
        connection = keys.running(folders.data)
        assert connection is not None
        result = App(broker=connection.url, set_as_current=False).AsyncResult(entry["last_id"])
        assert result.get(30) == 4
    finally:
        worker.terminate()
        worker.communicate(timeout=20)


def test_a_worker_whose_module_has_no_application_says_nothing_of_it(
    cluster: InProcessCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "plain", ModuleType("plain"))
    assert run("beat", "-A", "plain", "--connect", cluster.url).exit_code == 2
    quiet = run("beat", "-A", "plain", "--quiet", "--connect", cluster.url)
    assert (quiet.exit_code, quiet.output) == (0, "")


def kept(folders: Folders) -> dict[str, Any]:
    connection = keys.running(folders.data)
    rows = [] if connection is None else ask(connection.url, "periodic")
    return dict(rows[0]) if rows else {}
