"""One Jupyter server, one local cluster and one Chromium for all tests of this folder.

Where Chromium is missing the tests are skipped, but on CI they fail.  Screenshots, of failures and those
that tests take, go to the folder named by NBQUEUE_SCREENSHOTS; without it only those of failures are taken.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.browser.jupyter import FRONT_ENDS, START, Notebook, Server

ROOT = Path(__file__).parents[2]
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
#: no question about news in front of the notebook
LAB_SETTINGS = {"@jupyterlab/apputils-extension:notification": {"fetchNews": "false"}}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)
            item.add_marker(pytest.mark.xdist_group("browser"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    if report.when == "call" and report.failed and "page" in item.funcargs:
        item.funcargs["page"].screenshot(path=_screenshots() / f"failed {item.name}.png")
    return report


def _screenshots() -> Path:
    folder = Path(os.environ.get("NBQUEUE_SCREENSHOTS", tempfile.gettempdir()))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def chromium() -> str:
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None and os.environ.get("CI"):
        pytest.fail("there is no Chromium on this CI machine; on Debian: apt-get install chromium")
    if found is None:
        pytest.skip("there is no Chromium here; on Debian: apt-get install chromium")
    return found


@pytest.fixture(scope="session")
def browser(chromium: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Of the server and its kernels: nothing is shared with the person who runs the tests."""
    folder = tmp_path_factory.mktemp("home")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("NBQUEUE", "CELERY"))}
    own = {
        **kept,
        "JUPYTER_CONFIG_DIR": str(folder / "config"),
        "JUPYTER_DATA_DIR": str(folder / "data"),
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
        "IPYTHONDIR": str(folder / "ipython"),
        "NBQUEUE_DATA_DIR": os.environ["NBQUEUE_DATA_DIR"] + "-browser",
        "NBQUEUE_RUNTIME_DIR": os.environ["NBQUEUE_RUNTIME_DIR"] + "-browser",
        "NBQUEUE_WORKERS": "2",
        "PYTHONPATH": str(ROOT),
    }
    settings = folder / "config" / "labconfig" / "default_setting_overrides.json"
    settings.parent.mkdir(parents=True)
    settings.write_text(json.dumps(LAB_SETTINGS))
    yield own
    subprocess.run([sys.executable, "-m", "nbqueue", "stop"], env=own, check=False, timeout=60)


@pytest.fixture(scope="session")
def server(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("server"), environment)
    yield server
    server.close()


@pytest.fixture(scope="module")
def page(browser: Browser) -> Iterator[Page]:
    page = browser.new_page(viewport={"width": 1100, "height": 900})
    page.errors = []
    page.on("pageerror", lambda error: page.errors.append(error.stack))
    yield page
    page.close()


@pytest.fixture(scope="module", params=list(FRONT_ENDS))
def notebook(request: pytest.FixtureRequest, server: Server, page: Page) -> Notebook:
    """A notebook with nbqueue loaded, open in one front end after the other; shared by a module's tests."""
    name = f"{request.module.__name__.rpartition('.')[2]}-{request.param.replace(' ', '-')}.ipynb"
    notebook = Notebook(server, page, request.param, name)
    notebook.run(START)
    return notebook


@pytest.fixture
def shot(page: Page) -> Callable[[str], object]:
    """Take a screenshot of that name, for people to look at."""
    wanted = "NBQUEUE_SCREENSHOTS" in os.environ
    return lambda name: wanted and page.screenshot(path=_screenshots() / f"{name}.png")
