"""The files of docs/howto/service are ones that their readers accept, and that say what nbqueue takes."""

import configparser
import plistlib
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from nbqueue.cli.main import cli

FOLDER = Path(__file__).parents[2] / "docs" / "howto" / "service"
PAGE = (FOLDER.parent / "run-as-a-service.md").read_text("utf-8")
#: seconds that a worker is given for what it runs
AN_HOUR = 3600


def check(command: list[str]) -> None:
    """Parse a command line as nbqueue does."""
    name, *arguments = command
    found = cli.get_command(cli.make_context("nbqueue", [name]), name)
    assert found is not None, command
    found.make_context(name, arguments)
    assert "NBQUEUE_KEY" not in " ".join(command)


def program(line: str) -> list[str]:
    path, *arguments = shlex.split(line)
    assert path == "/opt/nbqueue/bin/nbqueue"
    return arguments


def unit(name: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str
    parser.read(FOLDER / name)
    return parser


def test_the_page_names_every_file() -> None:
    named = set(re.findall(r"\(service/([^)]+)\)", PAGE))
    assert named == {path.name for path in FOLDER.iterdir()}


@pytest.mark.parametrize("name", ["nbqueue-broker.service", "nbqueue-worker.service"])
def test_units_are_systemds(name: str, tmp_path: Path) -> None:
    check(program(unit(name)["Service"]["ExecStart"].replace("%p@%H", "w@host")))
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("there is no systemd-analyze here")
    nbqueue = str(Path(sys.executable).with_name("nbqueue"))
    copy = tmp_path / name
    copy.write_text((FOLDER / name).read_text().replace("/opt/nbqueue/bin/nbqueue", nbqueue))
    done = subprocess.run([analyze, "verify", "--man=no", str(copy)], capture_output=True, text=True)
    about_ours = [line for line in done.stderr.splitlines() if name in line]
    assert about_ours == []


def test_a_unit_lets_what_runs_be_finished() -> None:
    service = unit("nbqueue-worker.service")["Service"]
    assert (service["KillMode"], service["TimeoutStopSec"]) == ("mixed", "1h")


def test_supervisords_file_lets_what_runs_be_finished() -> None:
    parser = configparser.ConfigParser(inline_comment_prefixes=(" ;",), interpolation=None)
    parser.read(FOLDER / "supervisord.conf")
    for section in parser.sections():
        check(program(parser[section]["command"]))
    worker = parser["program:nbqueue-worker"]
    assert (worker["stopsignal"], worker.getint("stopwaitsecs")) == ("TERM", AN_HOUR)
    assert not worker.getboolean("stopasgroup")


def test_launchds_file_lets_what_runs_be_finished() -> None:
    job = plistlib.loads((FOLDER / "org.nbqueue.worker.plist").read_bytes())
    assert job["ProgramArguments"][0] == "/opt/nbqueue/bin/nbqueue"
    check(job["ProgramArguments"][1:])
    assert (job["ExitTimeOut"], job["KeepAlive"]) == (AN_HOUR, {"SuccessfulExit": False})


def test_compose_runs_what_the_image_has() -> None:
    services = yaml.safe_load((FOLDER / "compose.yaml").read_text())["services"]
    for service in services.values():
        check(service["command"])
    assert services["worker"]["stop_grace_period"] == "1h"
    assert 'ENTRYPOINT ["nbqueue"]' in (FOLDER / "Dockerfile").read_text()


def test_kubernetes_objects_belong_together() -> None:
    found: dict[str, Any] = {
        f"{thing['kind']}/{thing['metadata']['name']}": thing
        for thing in yaml.safe_load_all((FOLDER / "kubernetes.yaml").read_text())
    }
    broker, workers = found["StatefulSet/nbqueue-broker"]["spec"], found["Deployment/nbqueue-worker"]["spec"]
    service = found["Service/nbqueue"]["spec"]
    for spec in (broker, workers):
        assert spec["selector"]["matchLabels"] == spec["template"]["metadata"]["labels"]
        (container,) = spec["template"]["spec"]["containers"]
        check(container["args"])
    assert broker["replicas"] == 1
    assert service["selector"] == broker["selector"]["matchLabels"]
    args = workers["template"]["spec"]["containers"][0]["args"]
    assert args[args.index("--connect") + 1] == f"nbqueue:{service['ports'][0]['port']}"
    (volume,) = broker["template"]["spec"]["volumes"]
    assert f"PersistentVolumeClaim/{volume['persistentVolumeClaim']['claimName']}" in found
    assert workers["template"]["spec"]["terminationGracePeriodSeconds"] == AN_HOUR
