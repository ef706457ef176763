"""docs/howto/routing.md and monitoring.md say what there is, and their examples run."""

import re
import threading
from pathlib import Path

import pytest

from nbqueue import App
from nbqueue.cli import remote
from nbqueue.client.control import Control
from nbqueue.core import census, commands
from nbqueue.testing import InProcessCluster

FOLDER = Path(__file__).parents[2] / "docs" / "howto"
ROUTING, MONITORING = ((FOLDER / name).read_text("utf-8") for name in ("routing.md", "monitoring.md"))


@pytest.fixture
def names():
    with InProcessCluster(tags=("gpu", "linux"), resources={"gpu": 2.0, "memory": 24e9}) as cluster:
        app = App("tasks", broker=cluster.url)
        yield {"__name__": "__main__", "app": app}
        app.close()


def test_the_examples_of_routing_run(names):
    for example in re.findall(r"```python\n(.*?)```", ROUTING, re.DOTALL):
        exec(example, names)
    names["train"].delay(0.1).get(20.0)
    names["fetch"].delay("x").get(20.0)


def test_the_examples_of_asking_run(names, capsys):
    asking, hearing, monitoring = re.findall(r"```python\n(.*?)```", MONITORING, re.DOTALL)
    exec(monitoring, names)
    monitor = threading.Thread(target=names["my_monitor"], args=(names["app"], 12), daemon=True)
    monitor.start()
    while monitor.is_alive():
        names["app"].task(lambda: 1 / 0, name="fails").delay().get(20.0, propagate=False)
    task = names["app"].task(lambda: None)
    names["result"] = task.delay()
    exec(asking, names)
    compile(hearing, "monitoring.md", "exec")
    assert "failed on in-process: ZeroDivisionError" in capsys.readouterr().out


def test_every_question_and_command_is_told():
    told = set(re.findall(r"`(\w+)(?: ID…)?`", MONITORING.split("## Tell workers")[0]))
    assert set(remote._QUESTIONS) <= told
    assert set(remote._QUESTIONS) == commands.ASKED | census.TOPICS.keys()
    told_of = MONITORING.split("## Tell workers")[1]
    for command in remote._COMMANDS:
        assert command in told_of or command.replace("pool_", "pool ") in told_of or command == "ping"
        assert hasattr(Control, command), command
