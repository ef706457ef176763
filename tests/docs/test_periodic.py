"""The examples of docs/howto/periodic.md do what the page says."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from nbqueue.exceptions import ConfigurationError
from nbqueue.schedules import crontab, maybe_schedule, schedule
from nbqueue.testing import InProcessCluster

PAGE = (Path(__file__).parents[2] / "docs" / "howto" / "periodic.md").read_text("utf-8")
NOTEBOOK, REMOVAL, MODULE, HANDLER = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with InProcessCluster() as cluster:
        monkeypatch.setenv("NBQUEUE_BROKER", cluster.url)
        yield cluster.url


def test_the_notebook_has_periodic_tasks_at_once_and_can_remove_them(url: str) -> None:
    names = {"__name__": "__main__"}
    exec(NOTEBOOK, names)
    kept = names["app"].periodic_tasks()
    assert {task.name: task.schedule for task in kept} == {
        "fetch ACME": "every 1 minute",
        "prices.fetch('INDEX')": "30 7 * * mon-fri",
    }
    exec(REMOVAL, names)
    (left,) = names["app"].periodic_tasks()
    assert left.name == "prices.fetch('INDEX')"


def test_the_module_has_them_when_somebody_says_so(url: str) -> None:
    names = {"__name__": "tasks"}
    exec("from nbqueue import App\nfrom nbqueue.schedules import crontab\n" + MODULE + HANDLER, names)
    app = names["app"]
    assert app.periodic_tasks() == []
    kept = {task.name: task for task in app.beat()}
    assert sorted(kept) == ["add every 10", "add-every-30-seconds", "add-every-monday-morning"]
    monday = kept["add-every-monday-morning"]
    assert (monday.queue, f"{monday.next_run_at:%H:%M %w}") == ("early", "07:30 1")
    assert str(monday.next_run_at.tzinfo) == "Europe/London"


def test_each_schedule_of_the_table_can_be_had() -> None:
    (table,) = re.findall(r"\| schedule \| fires \|\n(.*?)\n\n", PAGE, re.DOTALL)
    examples = [
        code for row in table.splitlines()[1:] for code in re.findall(r"`([^`]+)`", row.split("|")[1])
    ]
    assert len(examples) == 6
    names = {"crontab": crontab, "schedule": schedule}
    exec("from datetime import timedelta", names)
    for example in examples:
        assert maybe_schedule(eval(example, names)).timetable().text
    with pytest.raises(ConfigurationError):
        crontab(day_of_week="sat-mo")
