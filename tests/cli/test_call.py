"""``nbqueue call``, ``result`` and ``conf check``, over a broker in this process."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from nbqueue import App
from nbqueue.cli.main import cli
from nbqueue.testing import InProcessCluster


@pytest.fixture(scope="module")
def cluster() -> Iterator[InProcessCluster]:
    app = App("tasks", set_as_current=False)
    app.task(name="tasks.add")(lambda x, y=1: x + y)
    app.task(name="tasks.fail")(lambda: 1 / 0)
    app.task(name="tasks.say")(lambda: "hello")
    with InProcessCluster(tasks=[app]) as made:
        yield made


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments)


def test_a_call_prints_its_id_and_result_its_value(cluster: InProcessCluster) -> None:
    called = run("call", "tasks.add", "-a", "[2]", "-k", '{"y": 3}', "--connect", cluster.url)
    assert called.exit_code == 0, called.output
    assert re.fullmatch(r"[0-9a-f-]{36}\n", called.stdout)
    shown = run("result", called.stdout.strip(), "--connect", cluster.url)
    assert (shown.exit_code, shown.stdout) == (0, "5\n")


def test_a_call_may_wait_for_its_value(cluster: InProcessCluster) -> None:
    assert run("call", "tasks.say", "--wait", "--connect", cluster.url).stdout == "hello\n"


def test_a_task_that_failed_prints_its_traceback_and_ends_with_1(cluster: InProcessCluster) -> None:
    failed = run("call", "tasks.fail", "--wait", "--connect", cluster.url)
    assert failed.exit_code == 1
    assert "ZeroDivisionError" in failed.stderr
    id = run("call", "tasks.fail", "--connect", cluster.url).stdout.strip()
    shown = run("result", id, "--traceback", "--connect", cluster.url)
    assert shown.exit_code == 0
    assert "ZeroDivisionError" in shown.stdout


def test_an_id_that_nobody_knows_ends_with_1(cluster: InProcessCluster) -> None:
    shown = run("result", "unknown", "--connect", cluster.url)
    assert shown.exit_code == 1
    assert "no record" in shown.stderr


@pytest.mark.parametrize(
    "arguments", [("-a", "2"), ("-a", "[2"), ("-k", "[]"), ("--eta", "soon"), ("--expires", "x")]
)
def test_what_cannot_be_is_refused(cluster: InProcessCluster, arguments: tuple[str, str]) -> None:
    assert run("call", "tasks.add", *arguments, "--connect", cluster.url).exit_code == 2


# ── conf check ───────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def write(folder: Path, config: str) -> str:
    """The name of a module with an application that is configured by that."""
    name = f"nbq_{re.sub('[^a-z0-9]', '_', folder.name)}"
    (folder / f"{name}_config.py").write_text(config)
    (folder / f"{name}.py").write_text(
        "from nbqueue import App\n"
        "app = App('tasks', set_as_current=False)\n"
        f"app.config_from_object('{name}_config')\n"
        "@app.task(name='tasks.add')\ndef add(): ...\n"
    )
    return name


@pytest.mark.parametrize("before", [True, False])
def test_a_configuration_that_can_be_is_ok(folder: Path, before: bool) -> None:
    name = write(folder, "HOURS = 2\ntask_serializer = 'json'\nCELERYD_PREFETCH_MULTIPLIER = 1")
    checked = run("-A", name, "conf", "check") if before else run("conf", "check", "-A", name)
    assert checked.exit_code == 0, checked.output
    assert f"OK: 1 settings from {name}_config." in checked.stdout
    assert "HOURS is no setting" in checked.stderr
    assert f"{name}_config" in run("conf", "-A", name).stdout


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ("result_backed = 'rpc://'", "did you mean 'result_backend'"),
        ("task_serializer = 'yaml'", "json or msgpack is expected"),
        ("task_annotations = {'tasks.add': {'nonsense': 1}}", "nonsense"),
        ("task_routes = {'tasks.add': 5}", "task_routes"),
    ],
)
def test_a_mistake_in_a_configuration_is_told(folder: Path, config: str, told: str) -> None:
    checked = run("conf", "check", "-A", write(folder, config))
    assert checked.exit_code == 78
    assert told in checked.stderr


def test_a_module_that_is_not_there_is_told(folder: Path) -> None:
    name = write(folder, "")
    (folder / f"{name}_config.py").unlink()
    checked = run("conf", "check", "-A", name)
    assert checked.exit_code == 78
    assert f"there is no module '{name}_config'" in checked.stderr


def test_no_password_is_shown(folder: Path) -> None:
    name = write(folder, "broker_url = 'amqp://guest:secret@there//'\ntask_routes = {'a': 'b'}")
    shown = run("conf", "-A", name).stdout
    assert "amqp://guest:***@there//" in shown
    assert "secret" not in shown
    assert "{'a': 'b'}" in shown
