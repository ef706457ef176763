"""What ``-A`` finds."""

import textwrap
from pathlib import Path
from typing import Any

import pytest

from nbqueue.exceptions import ConfigurationError
from nbqueue.launch import apps

APP = "from nbqueue import App as Celery\n{name} = Celery('{main}', set_as_current=False)\n"


class Project:
    """A folder of modules that no other test has."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.prefix = f"nbq_{folder.name.replace('-', '_')}"

    def write(self, name: str, source: str) -> None:
        path = self.folder / f"{self.prefix}_{name}.py"
        path.write_text(textwrap.dedent(source))

    def find(self, name: str) -> Any:
        return apps.find(f"{self.prefix}_{name}")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.syspath_prepend(tmp_path)
    return Project(tmp_path)


@pytest.mark.parametrize("name", ["app", "celery", "anything"])
def test_the_application_of_a_module_is_found_whatever_it_is_called(project: Project, name: str) -> None:
    project.write(f"m{name}", APP.format(name=name, main=name))
    assert project.find(f"m{name}").main == name


def test_one_called_app_comes_before_one_called_celery_and_any_other(project: Project) -> None:
    project.write("m", "".join(APP.format(name=n, main=n) for n in ("first", "celery", "app")))
    assert project.find("m").main == "app"
    assert project.find("m:first").main == "first"
    assert project.find("m.celery").main == "celery"


def test_that_of_a_package_stands_in_its_module_celery(project: Project) -> None:
    package = project.folder / f"{project.prefix}_proj"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "celery.py").write_text(APP.format(name="app", main="proj"))
    (package / "tasks.py").write_text(
        "from .celery import app\n\n@app.task\ndef add(x, y):\n    return x + y\n"
    )
    assert project.find("proj").main == "proj"
    assert project.find("proj.celery").main == "proj"
    assert project.find("proj.celery:app").main == "proj"


def test_a_module_without_one_is_itself(project: Project) -> None:
    project.write("plain", "x = 1")
    assert project.find("plain").x == 1
    assert not apps.is_app(project.find("plain"))


@pytest.mark.parametrize("place", ["missing", "m:nothing", "m.nothing"])
def test_what_is_not_there_is_named(project: Project, place: str) -> None:
    project.write("m", "x = 1")
    with pytest.raises(ConfigurationError, match="no"):
        project.find(place)


def test_a_module_that_lacks_what_it_imports_shows_its_own_error(project: Project) -> None:
    project.write("broken", "import nbq_not_installed")
    with pytest.raises(ModuleNotFoundError, match="nbq_not_installed"):
        project.find("broken")
