"""The examples of docs/howto/hooks.md, generators.md and workers.md do what the pages say."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import nbqueue
from nbqueue import signals
from nbqueue.cli.worker import worker
from nbqueue.signals import Signal
from nbqueue.testing import InProcessCluster

HOWTO = Path(__file__).parents[2] / "docs" / "howto"
LIMIT = 20.0


def examples(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (HOWTO / page).read_text("utf-8"), re.DOTALL)


@pytest.fixture
def names() -> Iterator[dict[str, Any]]:
    """The names of a notebook whose default application has a cluster."""
    app = nbqueue.default_app()
    with InProcessCluster() as cluster:
        app.conf.broker = cluster.url
        yield {"__name__": "__main__", "nbqueue": nbqueue}
        app.close()
    app.conf.broker = None


def test_signals(names: dict[str, Any]) -> None:
    names |= {"events": []}
    connect, headers, _ = examples("hooks.md")
    exec(connect, names)
    exec(headers, names)
    try:
        signals.worker_process_init.send(None)

        def pay() -> None:
            raise ValueError("no money")

        def tenant(self: Any) -> Any:
            return self.request.tenant

        result = nbqueue.task(pay, name="tasks.pay").delay()
        with pytest.raises(ValueError, match="no money"):
            result.get(LIMIT)
        assert names["events"] == ["process", "tasks.pay failed: no money", "pay!"]
        assert nbqueue.task(tenant, bind=True).delay().get(LIMIT) == "blue"
    finally:
        for name in ("connect_to_database", "tell_somebody", "only_for_one_task", "add_tenant"):
            for signal in (s for s in vars(signals).values() if isinstance(s, Signal)):
                signal.disconnect(names[name])
                signal.disconnect(names[name], sender="tasks.pay")


def test_what_is_costly_is_made_once_a_process(names: dict[str, Any]) -> None:
    loads: list[str] = []
    names |= {"load": lambda name: loads.append(name) or len(loads)}
    exec(examples("hooks.md")[2], names)
    assert [names["model"](), names["model"]()] == [1, 1]


def test_items_are_read_as_they_come(names: dict[str, Any]) -> None:
    names |= {"seen": []}
    exec(examples("generators.md")[0], names)
    assert names["seen"] == ["page 0", "page 1", "page 2"]


def test_loggers_of_tasks(names: dict[str, Any]) -> None:
    exec(examples("workers.md")[0], names)
    assert names["logger"].name == "__main__"


def test_every_option_that_the_page_names_is_one() -> None:
    named = set(re.findall(r"`?(--[a-z][a-z-]+)", (HOWTO / "workers.md").read_text("utf-8")))
    assert named <= {option for parameter in worker.params for option in parameter.opts}
