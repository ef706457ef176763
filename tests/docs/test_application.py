"""docs/howto/application.md: its files make a project, which real processes work in."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nbqueue import App
from nbqueue.client.registry import set_current_application
from nbqueue.client.routes import Routes
from nbqueue.testing import InProcessCluster

PAGE = (Path(__file__).parents[2] / "docs" / "howto" / "application.md").read_text("utf-8")
EXAMPLES = dict(re.findall(r"```python\n# (\S+)\n(.*?)```", PAGE, re.DOTALL))
LIMIT = 20.0


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The folder that the page shows; the package is called by a name that no other test has."""
    (tmp_path / "proj").mkdir()
    (tmp_path / "proj" / "__init__.py").touch()
    for name, source in EXAMPLES.items():
        (tmp_path / name).write_text(source)
    return tmp_path


@pytest.fixture
def folders(tmp_path: Path) -> Iterator[dict[str, str]]:
    """An environment with a local cluster of its own."""
    own = {
        **os.environ,
        "NBQUEUE_DATA_DIR": str(tmp_path / "d"),
        "NBQUEUE_RUNTIME_DIR": f"/tmp/nbq-{os.getpid()}",
        "NBQUEUE_BROKER_PATIENCE": "5",
    }
    yield own
    subprocess.run([sys.executable, "-m", "nbqueue", "stop"], env=own, capture_output=True, check=True)


def run(project: Path, *command: str, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=project, env=env, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_settings_of_the_project_can_be(project: Path) -> None:
    assert "OK: 4 settings from code, celeryconfig" in run(project, "nbqueue", "conf", "check", "-A", "proj")
    assert re.search(r"result_expires +3600.0 +celeryconfig", run(project, "nbqueue", "-A", "proj", "conf"))
    assert re.search(r"result_expires +3600.0 +celeryconfig", run(project, "proj.celery", "conf"))


def test_a_worker_of_the_project_has_its_tasks(project: Path, folders: dict[str, str]) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "nbqueue", "worker", "-A", "proj", "-Q", "default,web", "-c", "1"],
        cwd=project,
        env=folders,
        stderr=subprocess.PIPE,
        text=True,
    ) as worker:
        assert worker.stderr is not None
        try:
            for line in worker.stderr:
                if "ready." in line:
                    break
            call = ("nbqueue", "call", "--wait", "-t", "20", "-A", "proj")
            assert run(project, *call, "proj.tasks.add", "-a", "[2, 3]", env=folders) == "5\n"
            assert run(project, *call, "proj.tasks.fetch", "-a", '["u"]', env=folders) == "page u, run 1\n"
            status = json.loads(run(project, "nbqueue", "status", "--json", env=folders))
            (seen,) = status["workers"]
            assert {"proj.tasks.add", "proj.tasks.fetch"} <= set(seen["registered"])
        finally:
            worker.terminate()


# ── the other examples ───────────────────────────────────────────────────────────────────────────


@pytest.fixture
def app() -> Iterator[App]:
    with InProcessCluster(queues=("default", "web")) as cluster:
        made = App("proj", broker=cluster.url)
        yield made
        made.close()
    set_current_application(None)


def executed(name: str, **names: Any) -> dict[str, Any]:
    source = re.sub(r"^from \.\w+ import .*$", "", EXAMPLES[name], flags=re.MULTILINE)
    names = {"__name__": "proj", **names}
    exec(source, names)
    return names


def test_the_first_route_that_matches_counts() -> None:
    routes = Routes(executed("routes.py")["task_routes"])
    assert routes.options("proj.tasks.fetch", (), {}, {}) == {"queue": "web"}
    assert routes.options("proj.tasks.fetch", tuple(range(11)), {}, {}) == {"queue": "large"}
    assert routes.options("video.cut", (), {}, {}) == {"queue": "gpu", "priority": 7}
    assert routes.options("sms.send", (), {}, {}) == {"queue": "outbox"}
    assert routes.options("other", (), {}, {}) == {}


def test_the_folder_keeps_values(tmp_path: Path) -> None:
    from nbqueue.results.base import StoredValue

    folder = executed("proj/backends.py")["Folder"](f"proj.backends:Folder://{tmp_path}")
    folder.store([StoredValue("one", 7, b"value")], 0)
    assert (folder.load("one", 7), folder.load("one", 8), folder.load("two", 7)) == (b"value", None, None)
    folder.forget(["one", "two"])
    assert folder.load("one", 7) is None


def test_tasks_of_a_class_share_what_it_has(app: App) -> None:
    base = executed("proj/base.py")["DatabaseTask"]
    names = executed("proj/users.py", app=app, DatabaseTask=base)
    assert names["count"].delay().get(LIMIT) == 1
    assert names["add"].delay(1, 2).get(LIMIT) == 3
    assert names["add"].max_retries == 5
