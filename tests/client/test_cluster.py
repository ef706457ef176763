"""The cluster as a whole, and what it says of its tasks."""

import os
import re
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from nbqueue import App
from nbqueue.client.client import Client
from nbqueue.client.cluster import Cluster
from nbqueue.testing import InProcessCluster
from nbqueue.transports import transport

LIMIT = 20.0


@pytest.fixture
def app() -> Iterator[App]:
    with InProcessCluster(executors=1) as cluster:
        app = App(broker=cluster.url)
        yield app
        app.close()


@pytest.fixture
def restarted(app: App) -> Iterator[Cluster]:
    """The cluster, as a client sees it that has sent nothing."""
    client = Client(transport(app.client.url), app.conf)
    yield Cluster(client)
    client.close()


def test_results_show_name_state_and_the_whole_id(app: App, restarted: Cluster, tmp_path: Path) -> None:
    go = str(tmp_path / "go")

    def slow() -> None:
        while not os.path.exists(go):
            time.sleep(0.01)

    done = app.task(lambda: 1, name="quick").delay()
    done.get(LIMIT)
    running = app.task(slow, name="slow").delay()
    while running.state != "STARTED":
        time.sleep(0.01)
    waiting = app.task(lambda: 2, name="later").delay()
    waiting.wait_accepted(LIMIT)
    assert repr(restarted.results()) == (
        f"[<AsyncResult quick SUCCESS {done.id}>, <AsyncResult slow STARTED {running.id}>,"
        f" <AsyncResult later PENDING {waiting.id}>]"
    )
    assert repr(running) == f"<AsyncResult slow STARTED {running.id}>"
    seen = restarted.results()
    assert list(restarted) == seen
    assert repr(restarted).endswith("3 tasks on record: .results(), .groups()>")
    Path(go).touch()
    assert seen[2].get(LIMIT) == 2
    assert repr(seen[2]) == f"<AsyncResult later SUCCESS {waiting.id}>"


def test_why_counts_the_tasks_before_it(app: App, tmp_path: Path) -> None:
    go = str(tmp_path / "go")

    def wait() -> None:
        while not os.path.exists(go):
            time.sleep(0.01)

    running = app.task(wait, name="wait").delay()
    while running.state != "STARTED":
        time.sleep(0.01)
    waiting = app.task(abs).map([1, 2, 3])
    assert [result.why() for result in waiting] == [
        "next, when a worker is free",
        "waiting for a free worker, 1 task is before it",
        "waiting for a free worker, 2 tasks are before it",
    ]
    Path(go).touch()


def test_groups_show_their_name(app: App, restarted: Cluster) -> None:
    group = app.task(lambda x: x, name="square").map([1, 2])
    group.get(LIMIT)
    assert repr(group) == repr(restarted.groups()[0]) == f"<GroupResult square 2 tasks {group.id}>"
    assert re.fullmatch(r"<GroupResult square 1 task .*>", repr(app.task(abs, name="square").map([1])))


def test_a_list_that_leaves_tasks_out_says_so(app: App, restarted: Cluster) -> None:
    group = app.task(lambda x: x, name="f").map(range(3))
    group.get(LIMIT)
    with pytest.warns(UserWarning, match=r"more than these 2 tasks: results\(limit=…\)") as caught:
        assert restarted.results(limit=2) == group[1:]
    assert caught[0].filename == __file__
    with pytest.warns(UserWarning, match=r"more than these 1 task: groups\(limit=…\)"):
        restarted.groups(limit=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert restarted.results(limit=3) == list(group)
