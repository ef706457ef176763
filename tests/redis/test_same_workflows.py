"""Workflows end in Redis as in nbqueue's own broker, whatever they are made of: both are given the same."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nbqueue import messages as m
from nbqueue.states import FAILURE, SUCCESS
from tests.core.test_workflow import Scene
from tests.redis.server import RedisServer
from tests.redis.stage import Stage

MOST = 9


@st.composite
def plans(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Tasks, each after some of those before it."""
    nodes: list[dict[str, Any]] = []
    for number in range(draw(st.integers(2, MOST))):
        before = st.lists(st.integers(0, number - 1), max_size=3) if number else st.just([])
        after = draw(before)
        on = draw(st.sampled_from([SUCCESS, SUCCESS, FAILURE])) if len(set(after)) == 1 else SUCCESS
        nodes.append(
            {
                "after": after,
                "on": on,
                "takes": 0 if on == FAILURE or len(after) == 1 else list(range(len(after))),
                "optional": draw(st.booleans()) if len(set(after)) == 1 else False,
                "fails": (fails := draw(st.integers(0, 3)) == 0),
                "by": draw(st.none() | st.integers(0, number - 1)) if number and not fails else None,
            }
        )
    return nodes


def in_our_broker(nodes: Sequence[dict[str, Any]]) -> list[Any]:
    scene = Scene()
    records: list[Any] = []
    for node in nodes:
        step = None
        if node["after"]:
            step = m.Step([records[n].id for n in node["after"]], node["on"], node["takes"], node["optional"])
        records.append(scene.task(0.1, fails=node["fails"], step=step))
        if node["by"] is not None:
            scene.world.replaced[records[-1].id] = records[node["by"]].id
    scene.settle(*records)
    return _told([record.outcome for record in records])


def in_redis(nodes: Sequence[dict[str, Any]], stage: Stage) -> list[Any]:
    ids: list[str] = []
    for node in nodes:
        step = None
        if node["after"]:
            step = m.Step([ids[n] for n in node["after"]], node["on"], node["takes"], node["optional"])
        ids.append(stage.task(fails=node["fails"], held=step is None, step=step))
        if node["by"] is not None:
            stage.replaced[ids[-1]] = ids[node["by"]]
    stage.until(lambda: set(ids) <= stage.accepted)
    stage.release(*ids)
    return _told(stage.settle(*ids))


def _told(outcomes: Sequence[m.Outcome]) -> list[Any]:
    """What does not depend on which of two came first."""
    return [(o.state, o.failure and o.failure.type, bool(o.origin)) for o in outcomes]


@pytest.fixture(scope="module")
def stage(server: RedisServer) -> Any:
    made = Stage(f"{server.url}?app=same")
    yield made
    made.close()


@given(nodes=plans())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_they_end_as_in_our_own_broker(stage: Stage, nodes: list[dict[str, Any]]) -> None:
    assert in_redis(nodes, stage) == in_our_broker(nodes)
